"""The cheap filters, which reject proposals before a network is built for them.

They run in the coordinator, in order of cost. Nine in ten random graphs ignore their input or are constant on every
plane; a walk over the nodes finds this, in most cases before the graph is rewritten. Most of the rest are duplicates,
which are found by the canonical form or by a probe of a few hundred numbers. A filter returns Accept or Reject;
an exception is a fault of ours.
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
from evonas.language.varying_axes import Extent, has_pointwise_path
from evonas.settings.candidate import Accept, Reject, Verdict

if TYPE_CHECKING:
    from evonas.language.graph import Graph
    from evonas.settings.candidate import CandidateKeys

STRUCTURAL, DUPLICATE, NUMERICAL, FUNCTIONAL = "structural", "duplicate", "numerical", "functional"
TWIN = "twin"
CHEAP_FILTERS = (STRUCTURAL, DUPLICATE, NUMERICAL, FUNCTIONAL, TWIN)
"""The names of the cheap filters, in the order in which they run."""

STRIDE = "stride"
"""The name of what leaves out offspring that differ too little or too much from their parent, in
`evonas/evolution/propose.py`."""

PROPOSAL = "proposal"
"""The name of what leaves out answers of a user's function that are no layer of the space, in
`evonas/evolution/propose.py`."""

PROSPECTS = "prospects"
"""The name of what chooses among proposals the one that promises most, in `evonas/evolution/propose.py`."""

SELECTION, SAMPLING, CANONICAL = "selection", "sampling", "canonical form"
"""The other stages that take time: choosing parents, making graphs, and rewriting those that the walk accepts."""

FLAT = 1e-9
"""The share of the largest value below which a variation or gradient counts as zero; rounding leaves about 1e-16."""


def structural(graph: Graph) -> Verdict:
    """Reject a graph whose output does not depend on x, or is made of statistics alone.

    A statistic depends on x, but a layer whose output is made of statistics only removes all other information from the
    network; of 20 such candidates trained to the quality test, none passed.
    """
    if X not in graph.live:
        return Reject("ignores its input")
    if not has_pointwise_path(graph.nodes, graph.live):
        varies = graph.extents[graph.output] & Extent.PLANE
        return Reject("made of statistics alone" if varies else "constant on every plane")
    return Accept()


def numerical(response: ProbeResponse) -> Verdict:
    """Reject a response that is not finite, does not vary, or has no gradient."""
    output, gradient = response.output, response.gradient
    largest, steepest = np.abs(output).max(), np.abs(gradient).max()  # a maximum propagates NaN and infinity
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
    """The rejections and core-seconds of the cheap filters while one candidate was drawn.

    Attributes:
        discarded: the number of rejected proposals, by filter.
        seconds: core-seconds of the calling thread, by stage: the filters, `SELECTION`, `SAMPLING` and `CANONICAL`.
    """

    discarded: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _since: float = field(default_factory=thread_time)

    def spent(self, stage: str) -> None:
        """Count the time since the last call, or since the tally was made, towards a stage that ends now."""
        now = thread_time()
        self.seconds[stage] += now - self._since
        self._since = now


class CheapFilters:
    """The cheap filters, and the keys of all candidates so far.

    Args:
        twins: the tolerance of the comparison of outputs at the start of training (`evonas/judging/start_twins.py`); 0
            disables it.
    """

    def __init__(self, twins: float = 0.0) -> None:
        self._keys: set[str] = set()
        self._functional_keys: set[str] = set()
        self._twins = Twins(twins)

    def remember(self, graph: Graph, key: str, functional_key: str) -> None:
        """Add a candidate: later graphs with one of its keys are duplicates, and those that start alike are twins."""
        self._keys.add(key)
        self._functional_keys.add(functional_key)
        self._twins.add(graph.canonical)

    def judge(self, graph: Graph, tally: Tally) -> Passed | tuple[str, Reject]:
        """The keys of a graph that passes, or the name and the verdict of the filter that rejects it."""
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


class ResumableFilters(CheapFilters):
    """The cheap filters of a search that may be resumed, which can be restored from recorded keys."""

    @property
    def start(self) -> bytes | None:
        """`Candidate.start` of the graph that was remembered last."""
        return self._twins.latest

    def recall(self, keys: CandidateKeys) -> bool:
        """Add a candidate of an earlier session by its recorded keys.

        Returns:
            Whether the record was complete. Otherwise it lacks the sketch of the candidate's output at the start of
            training, and `remember` must be called with its graph.
        """
        self._keys.add(keys.key)
        self._functional_keys.add(keys.functional_key)
        if keys.start is None:
            return self._twins.tolerance == 0.0
        if self._twins.tolerance > 0.0:  # without twins sketches may be recorded for other comparisons
            self._twins.recall(keys.start)
        return True
