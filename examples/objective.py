"""An objective of your own: `evonas search --objective anchors --objective examples/objective.py:depth`.

An objective is a value of `Objective` with a function `measure`, which workers call with the `Trial` of each candidate
that was scored. The run records its direction and unit.
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
    meaning="Operations one after the other, which a GPU cannot do at the same time.",
    measure=_longest_chain,
)
