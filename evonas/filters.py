"""The cheap filters: everything that turns a proposal away before a network is built for it.

They run in order of cost, in the coordinator. About seven in ten random graphs ignore their input, which
a walk over the nodes finds; most of the rest are constants or duplicates, which takes rewriting or a
probe of a few hundred numbers. A filter answers Accept or Reject; exceptions are faults of ours.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from evonas.candidate import Accept, Reject, Verdict
from evonas.extent import Extent, extents
from evonas.fingerprint import PROBES, Response, functional_key, respond
from evonas.graph import X
from evonas.twins import Twins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evonas.graph import Graph

STRUCTURAL, DUPLICATE, NUMERICAL, FUNCTIONAL = "structural", "duplicate", "numerical", "functional"
TWIN = "twin"
CHEAP_FILTERS = (STRUCTURAL, DUPLICATE, NUMERICAL, FUNCTIONAL, TWIN)
"""Names of the cheap filters in the order in which they run."""

FLAT = 1e-9
"""Variation or gradient below this share of the largest value counts as none; rounding leaves 1e-16."""


def structural(graph: Graph) -> Verdict:
    """Rejects a graph whose output does not depend on x, or is one number on every plane.

    A statistic depends on x, but a layer that hands on nothing else takes everything from a network that is
    not in its averages; of 20 such candidates trained to the quality test, none passed.
    """
    if X not in graph.live or X not in graph.canonical.live:
        return Reject("ignores its input")
    canonical = graph.canonical
    if not extents(canonical)[canonical.output] & Extent.PLANE:
        return Reject("constant on every plane")
    return Accept()


def numerical(response: Response) -> Verdict:
    """Rejects a response that is not finite, that does not vary, or that has no gradient."""
    output, gradient = response.output, response.gradient
    if not bool(torch.isfinite(output).all()):
        return Reject("value not finite")
    if not bool(torch.isfinite(gradient).all()):
        return Reject("gradient not finite")
    spread = output.amax((0, 2, 3)) - output.amin((0, 2, 3))
    if bool((spread <= FLAT * output.abs().amax()).all()):
        return Reject("constant output")
    if float(gradient.abs().max()) <= FLAT * float(output.abs().max()):
        return Reject("no gradient")
    return Accept()


@dataclass(frozen=True, slots=True)
class Passed:
    """A proposal that passed every cheap filter, with its keys."""

    key: str
    functional_key: str


@dataclass
class Tally:
    """What the cheap filters did on the way to one candidate."""

    discarded: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time spent in the block to `seconds[name]`."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start


class CheapFilters:
    """The cheap filters in order, and what they know of all candidates so far.

    Args:
        twins: tolerance of the comparison at the start of training (`evonas/twins.py`); 0 for none.
    """

    def __init__(self, twins: float = 0.0) -> None:
        self._keys: set[str] = set()
        self._functional_keys: set[str] = set()
        self._twins = Twins(twins)

    def remember(self, graph: Graph, key: str, functional_key: str) -> None:
        """Counts later graphs with either key as duplicates, and those that start alike as twins."""
        self._keys.add(key)
        self._functional_keys.add(functional_key)
        self._twins.add(graph.canonical)

    def judge(self, graph: Graph, tally: Tally) -> Passed | tuple[str, Reject]:
        """The keys of a graph that passes, or the name of the filter that rejects it and its verdict."""
        with tally.timed(STRUCTURAL):
            verdict = structural(graph)
        if isinstance(verdict, Reject):
            return self._rejected(STRUCTURAL, verdict, tally)
        with tally.timed(DUPLICATE):
            key = graph.key
        if key in self._keys:
            return self._rejected(DUPLICATE, Reject("the same graph as an earlier candidate"), tally)
        responses: list[Response] = []
        with tally.timed(NUMERICAL):
            for number in range(PROBES):
                responses.append(respond(graph.canonical, number))
                verdict = numerical(responses[-1])
                if isinstance(verdict, Reject):
                    break
        if isinstance(verdict, Reject):
            return self._rejected(NUMERICAL, verdict, tally)
        with tally.timed(FUNCTIONAL):
            functional = functional_key(responses)
        if functional in self._functional_keys:
            return self._rejected(FUNCTIONAL, Reject("the same function as an earlier candidate"), tally)
        with tally.timed(TWIN):
            twin = self._twins.resembles(graph.canonical)
        if twin:
            return self._rejected(TWIN, Reject("starts as an earlier candidate does"), tally)
        return Passed(key, functional)

    def _rejected(self, name: str, verdict: Reject, tally: Tally) -> tuple[str, Reject]:
        tally.discarded[name] += 1
        return name, verdict
