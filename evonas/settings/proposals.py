"""Proposals of a user's own function: the hook for a language model, a grammar, or a rule of thumb.

`evonas search --propose FILE.py:NAME` calls the function for a share of the candidates (`RunConfig.proposed`), with
what the search knows and a random generator. What it returns goes through the same filters as any other graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, TypeAlias

from evonas.settings.plugins import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from evonas.language.graph import Graph


@dataclass(frozen=True, slots=True)
class KnownLayer:
    """A scored candidate, as a proposing function sees it.

    Attributes:
        index: its number in the run.
        graph: its canonical form; `graph.written()` is its expression.
        score: what candidates are compared by: with longer trainings, the mean accuracy that all of its trainings
            promise, less one standard deviation; otherwise its mean accuracy.
        scores: its accuracy on each anchor, of its first training.
    """

    index: int
    graph: Graph
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A layer that a function proposes, and where it came from.

    Attributes:
        layer: a graph, an expression or the name of a published layer.
        parent: the index of the scored candidate that it was made from, for the family tree and for the limits on
            layers with one ancestor; None for none.
        note: a few words on how it was made, which are recorded.
    """

    layer: Graph | str
    parent: int | None = None
    note: str = ""


Proposing: TypeAlias = "Callable[[Sequence[KnownLayer], np.random.Generator], Proposal | Graph | str | None]"
"""A function that proposes a layer, given the scored candidates, best first, and a generator that is keyed by the run's
seed and the number of the candidate; None if nothing comes to its mind."""


def _proposing(_: str, found: object) -> Proposing | None:
    if not callable(found) or isinstance(found, type):
        return None
    try:
        signature(found).bind([], None)
    except TypeError:
        return None
    except ValueError:  # some callables in C have no signature
        pass
    return found


PROPOSING_REGISTRY: Registry[Proposing] = Registry(
    "proposing function", {}, _proposing, "a function of the scored layers and a random generator"
)
