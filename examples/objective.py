"""An objective of your own: `evonas search --objective anchors --objective examples/objective.py:depth`.

An objective is an `Objective` whose function `measure` is called by workers with the `Trial` of each scored candidate.
The run records its direction and unit.
"""

from evonas.language.graph import FIRST
from evonas.settings.objectives import Objective
from evonas.workers.trial.trial import Trial


def _longest_chain(trial: Trial) -> float:
    graph = trial.layer.graph.canonical
    depths = [0] * FIRST
    for node in graph.nodes:
        depths.append(1 + max(depths[argument] for argument in node.args))
    return float(depths[graph.output])


depth = Objective(
    name="depth",
    unit="operations",
    higher_is_better=False,
    meaning="Longest chain of operations, which a GPU cannot run at the same time.",
    measure=_longest_chain,
)
