"""The cheap filters: everything that turns a proposal away before a network is built for it.

They run in order of cost, in the coordinator. Nine in ten random graphs ignore their input or are constant on every
plane, which a walk over the nodes finds, mostly before anything is rewritten; most of the rest are duplicates, which
takes the canonical form, or a probe of a few hundred numbers. A filter answers Accept or Reject; exceptions are faults
of ours.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from time import thread_time
from typing import TYPE_CHECKING

import numpy as np

from evonas.judging.functional_key import ProbeResponse, functional_key, respond
from evonas.judging.start_twins import Twins
from evonas.language.graph import X
from evonas.language.varying_axes import varies_on_planes
from evonas.settings.candidate import Accept, Reject, Verdict

if TYPE_CHECKING:
    from evonas.language.graph import Graph
    from evonas.settings.candidate import Known

STRUCTURAL, DUPLICATE, NUMERICAL, FUNCTIONAL = "structural", "duplicate", "numerical", "functional"
TWIN = "twin"
CHEAP_FILTERS = (STRUCTURAL, DUPLICATE, NUMERICAL, FUNCTIONAL, TWIN)
"""Names of the cheap filters in the order in which they run."""

SELECTION, SAMPLING, CANONICAL = "selection", "sampling", "canonical form"
"""What takes time beside the filters: choosing parents, making graphs, rewriting those that a walk did not reject."""

FLAT = 1e-9
"""Variation or gradient below this share of the largest value counts as none; rounding leaves 1e-16."""


def structural(graph: Graph) -> Verdict:
    """Rejects a graph whose output does not depend on x, or is one number on every plane.

    A statistic depends on x, but a layer that hands on nothing else takes everything from a network that is
    not in its averages; of 20 such candidates trained to the quality test, none passed.
    """
    if X not in graph.live:
        return Reject("ignores its input")
    if not varies_on_planes(graph.nodes, graph.live):
        return Reject("constant on every plane")
    return Accept()


def numerical(response: ProbeResponse) -> Verdict:
    """Rejects a response that is not finite, that does not vary, or that has no gradient."""
    output, gradient = response.output, response.gradient
    largest, steepest = np.abs(output).max(), np.abs(gradient).max()  # NaN and infinity stay visible in a maximum
    if not np.isfinite(largest):
        return Reject("value not finite")
    if not np.isfinite(steepest):
        return Reject("gradient not finite")
    with np.errstate(over="ignore"):
        spread = output.max((0, 2, 3)) - output.min((0, 2, 3))
    if spread.max() <= FLAT * largest:
        return Reject("constant output")
    if steepest <= FLAT * largest:
        return Reject("no gradient")
    return Accept()


@dataclass(frozen=True, slots=True)
class Passed:
    """A proposal that passed every cheap filter, with its keys."""

    key: str
    functional_key: str


@dataclass
class Tally:
    """What the cheap filters did on the way to one candidate.

    Attributes:
        discarded: rejected proposals by filter.
        seconds: core-seconds of the calling thread by stage: the filters, `SELECTION`, `SAMPLING` and `CANONICAL`.
    """

    discarded: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _since: float = field(default_factory=thread_time)

    def spent(self, stage: str) -> None:
        """Counts the time since the last call, or since the tally was made, for a stage that ends here."""
        now = thread_time()
        self.seconds[stage] += now - self._since
        self._since = now


class CheapFilters:
    """The cheap filters in order, and what they know of all candidates so far.

    Args:
        twins: tolerance of the comparison at the start of training (`evonas/judging/start_twins.py`); 0 for none.
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
        verdict = structural(graph)
        tally.spent(STRUCTURAL)
        if isinstance(verdict, Reject):
            return self._rejected(STRUCTURAL, verdict, tally)
        canonical = graph.canonical
        tally.spent(CANONICAL)
        verdict = structural(canonical)
        tally.spent(STRUCTURAL)
        if isinstance(verdict, Reject):
            return self._rejected(STRUCTURAL, verdict, tally)
        key = graph.key
        tally.spent(DUPLICATE)
        if key in self._keys:
            return self._rejected(DUPLICATE, Reject("the same graph as an earlier candidate"), tally)
        responses = respond(canonical)
        verdicts = [numerical(response) for response in responses]
        tally.spent(NUMERICAL)
        for verdict in verdicts:
            if isinstance(verdict, Reject):
                return self._rejected(NUMERICAL, verdict, tally)
        functional = functional_key(responses)
        tally.spent(FUNCTIONAL)
        if functional in self._functional_keys:
            return self._rejected(FUNCTIONAL, Reject("the same function as an earlier candidate"), tally)
        twin = self._twins.resembles(canonical)
        tally.spent(TWIN)
        if twin:
            return self._rejected(TWIN, Reject("starts as an earlier candidate does"), tally)
        return Passed(key, functional)

    def _rejected(self, name: str, verdict: Reject, tally: Tally) -> tuple[str, Reject]:
        tally.discarded[name] += 1
        return name, verdict


class RecallingFilters(CheapFilters):
    """The cheap filters of a search that may be resumed."""

    @property
    def start(self) -> bytes | None:
        """What the graph that was remembered last responds where training starts; see `Candidate.start`."""
        return self._twins.latest

    def recall(self, known: Known) -> bool:
        """Counts later graphs as duplicates or twins of a candidate of an earlier session.

        Returns:
            Whether that is all; else what it responds at the start of training is not on record, and it should be
            remembered from its graph.
        """
        self._keys.add(known.key)
        self._functional_keys.add(known.functional_key)
        if known.start is None:
            return self._twins.tolerance == 0.0
        self._twins.recall(known.start)
        return True
