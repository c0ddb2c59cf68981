"""From a graph to a plan: which passes over x find which statistics, and what is written."""
