"""The values that a search produces: candidates, outcomes of filters, and evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import isnan
from statistics import fmean

from evonas.language.graph import Graph
from evonas.settings.checkpoint_value import CheckpointValue


@dataclass(frozen=True, slots=True)
class Accept:
    """A filter's verdict that the candidate passes. `value` is what the filter measured, for the record."""

    value: float | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """A filter's verdict that the candidate is rejected. `reason` is a short phrase, because reasons are counted."""

    reason: str
    value: float | None = None


Verdict = Accept | Reject


class OriginKind(Enum):
    """Where a candidate's graph came from."""

    RANDOM = "random"
    MUTATION = "mutation"
    SEED = "seed"
    PROPOSED = "proposed"


@dataclass(frozen=True, slots=True)
class Origin:
    """How a graph was made.

    Attributes:
        kind: where it came from.
        parent: the index of the candidate that it was made from; of a proposed graph there may be none.
        mutations: a description of each mutation; of a proposed graph the note that came with it, if any.
    """

    kind: OriginKind
    parent: int | None = None
    mutations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A distinct graph that passed the cheap filters.

    Attributes:
        index: its number in the run: 0, 1, 2, … in the order of drawing.
        graph: the graph as drawn, including its dead nodes, which mutations can connect.
        key: digest of the canonical form.
        functional_key: digest of the function, up to sign.
        origin: how the graph was made.
        discarded: the number of proposals that were rejected before this one was drawn, by filter.
        seconds: core-seconds spent on drawing it, including rejected proposals, by stage: the cheap filters, and the
            other stages that `evonas.judging.cheap_filters` names.
        start: sketch of its output at the start of training (`evonas.judging.start_twins.sketch`); None in a run that
            does not compare twins.
    """

    index: int
    graph: Graph
    key: str
    functional_key: str
    origin: Origin
    discarded: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    start: bytes | None = None


@dataclass(frozen=True, slots=True)
class CandidateKeys:
    """The fields of a `Candidate` by which duplicates and twins of it are recognised."""

    key: str
    functional_key: str
    start: bytes | None = None


FAILED_ATTEMPTS = "failed attempts"
"""The key in `Evaluation.seconds` for the cost of failed attempts."""
BUILDING = "building kernels"
"""The key in `Evaluation.seconds` for building the layer's kernels, at whichever stage that happened."""
LONGER = "longer training"
"""The name of the time that trainings on rungs took (`evonas.judging.rungs`), where times are added up by activity."""


DIVERGED = "training diverged"
"""The reason of a rejection because a loss, or what a training loop of the user's own reports, is not finite."""
QUALITY = "quality"
"""The name of the filter that compares the accuracy on the first anchor with a floor."""


class Status(Enum):
    """How an evaluation ended."""

    SCORED = "scored"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ending:
    """How the evaluation of a candidate ended, and how the candidate starts.

    Attributes:
        index: the candidate's index.
        start: `Candidate.start`.
        status: the status of its evaluation.
        stopped_by: the name of the filter that rejected it; None if none did.
        quality: its accuracy at the quality filter; None if it did not get there, or has none that is a number.
    """

    index: int
    start: bytes | None
    status: Status
    stopped_by: str | None
    quality: float | None


@dataclass(frozen=True, slots=True)
class FilterOutcome:
    """One filter's verdict on one candidate, as recorded.

    Attributes:
        name: the name of the filter.
        accepted: whether the candidate passed.
        reason: the reason for a rejection; empty when accepted.
        value: what the filter measured; None if it measures nothing.
        seconds: core-seconds that the filter took.
    """

    name: str
    accepted: bool
    reason: str
    value: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of evaluating a candidate on a worker.

    Attributes:
        index: the candidate's index.
        status: scored, rejected by a filter, or failed.
        scores: accuracy in 0..1 by anchor; empty unless scored.
        measures: further objectives by name, each in its own unit (`evonas.settings.objectives`); empty unless scored.
        filters: outcomes of filters, in the order in which they ran.
        seconds: core-seconds by activity: an anchor's name for its training, an objective's name for its measurement,
            and the constants `BUILDING` and `FAILED_ATTEMPTS`.
        reason: why the evaluation failed, on which anchors the training of a scored candidate diverged, and why earlier
            attempts failed; empty otherwise.
        attempts: the number of attempts.
        wall: wall time in seconds from start to end on the worker.
        rung: 0 for the evaluation of a new candidate, or the rung of a longer training (`evonas.judging.rungs`).
        checkpoints: what a published layer has at the filters, in their order, if its task asked for that.
    """

    index: int
    status: Status
    scores: Mapping[str, float] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    filters: tuple[FilterOutcome, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    attempts: int = 1
    wall: float = 0.0
    checkpoints: tuple[CheckpointValue, ...] = ()
    rung: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """The candidate's index and the rung: what identifies the evaluation within its run."""
        return self.index, self.rung

    @property
    def stopped_by(self) -> str | None:
        """The name of the filter that rejected the candidate; None if none did."""
        return next((outcome.name for outcome in self.filters if not outcome.accepted), None)

    @property
    def quality(self) -> float | None:
        """Its accuracy at the quality filter; None if it did not get there, or has none that is a number."""
        value = next((outcome.value for outcome in self.filters if outcome.name == QUALITY), None)
        return None if value is None or isnan(value) else value

    @property
    def mean(self) -> float:
        """The mean score over anchors; 0 without scores."""
        return fmean(self.scores.values()) if self.scores else 0.0

    @property
    def core_seconds(self) -> float:
        """Core-seconds that the worker spent on the candidate in total."""
        return sum(self.seconds.values()) + sum(outcome.seconds for outcome in self.filters)
