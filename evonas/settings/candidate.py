"""What a search produces: candidates, the outcomes of filters, and evaluations. All plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from statistics import fmean

from evonas.language.graph import Graph


@dataclass(frozen=True, slots=True)
class Accept:
    """A filter lets the candidate pass. `value` is what it measured, for the record."""

    value: float | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """A filter turns the candidate away, for a reason that is a short, countable phrase."""

    reason: str
    value: float | None = None


Verdict = Accept | Reject


class OriginKind(Enum):
    """Where a candidate's graph came from."""

    RANDOM = "random"
    MUTATION = "mutation"
    SEED = "seed"


@dataclass(frozen=True, slots=True)
class Origin:
    """How a graph was made: its parent's index and what each mutation replaced, where it has a parent."""

    kind: OriginKind
    parent: int | None = None
    mutations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A distinct graph that passed the cheap filters, number `index` of its run.

    Attributes:
        index: 0, 1, 2, … in the order of drawing.
        graph: the graph as drawn, with its dead nodes, on which mutation works.
        key: digest of the canonical form.
        functional_key: digest of the function, up to sign.
        origin: how the graph was made.
        discarded: how many proposals fell before this one was drawn, by filter.
        seconds: core-seconds spent on drawing it, proposals that fell included, by stage: the cheap filters and what
            `evonas.judging.cheap_filters` names beside them.
        start: what it responds where training starts (`evonas.judging.start_twins.sketch`); None if not asked.
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
class Known:
    """What later proposals are compared with of a candidate: its fields of the same names."""

    key: str
    functional_key: str
    start: bytes | None = None


FAILED_ATTEMPTS = "failed attempts"
"""Among an evaluation's seconds: what attempts that failed have cost."""
BUILDING = "building kernels"
"""Among an evaluation's seconds: making the layer's kernels, wherever in the evaluation that came up."""


class Status(Enum):
    """How an evaluation ended."""

    SCORED = "scored"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FilterOutcome:
    """One filter's verdict on one candidate, as recorded.

    Attributes:
        name: the filter.
        accepted: whether it let the candidate pass.
        reason: why not; empty when accepted.
        value: what it measured, if it measures.
        seconds: core-seconds that the judgement took.
    """

    name: str
    accepted: bool
    reason: str
    value: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What became of a candidate on a worker.

    Attributes:
        index: the candidate's.
        status: scored, rejected by a filter, or failed.
        scores: accuracy in 0..1 by anchor; empty unless scored.
        measures: further objectives by name, each in its own unit (`evonas.settings.objectives`); empty unless scored.
        filters: outcomes in the order in which they were reached.
        seconds: core-seconds of training by anchor, of measuring by further objective, and of what the constants
            `BUILDING` and `FAILED_ATTEMPTS` name.
        reason: why it failed, or which anchors' trainings of a scored one diverged, and why earlier attempts failed
            where it was tried again; empty otherwise.
        attempts: how often it was tried.
        wall: seconds from its start to its end on the worker.
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

    @property
    def mean(self) -> float:
        """The mean score over anchors; 0 where there is none."""
        return fmean(self.scores.values()) if self.scores else 0.0

    @property
    def core_seconds(self) -> float:
        """Everything the worker spent on the candidate."""
        return sum(self.seconds.values()) + sum(outcome.seconds for outcome in self.filters)
