"""Proposals of your own: `evonas search --propose examples/propose.py:gated`.

The function is called for a share of the candidates (`--set proposed=0.5`) with the scored layers, best first, and a
NumPy generator. It returns an expression, a graph, a `Proposal`, which says where a layer came from, or None. This is
where to ask a language model, with the best layers and their scores in its prompt. What is no layer of the search space
is counted and left out; a layer of the default space has ten operations at most.
"""

from collections.abc import Sequence

import numpy as np

from evonas.settings.proposals import KnownLayer, Proposal

_GATES = "sigmoid(x)", "sigmoid(v1 * x)", "tanh(x)", "max(0, x)", "sigmoid(x / std_wh(x))"


def gated(known: Sequence[KnownLayer], rng: np.random.Generator) -> Proposal | None:
    """Multiply one of the ten best layers by a gate."""
    if not known:
        return None
    layer, gate = known[int(rng.integers(min(10, len(known))))], _GATES[int(rng.integers(len(_GATES)))]
    return Proposal(f"({layer.graph.written()}) * {gate}", layer.index, f"times {gate}")
