"""From a graph to a plan and its schedule: which sweeps over x find which statistics, and what is written when."""
