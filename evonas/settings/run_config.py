"""The configuration of a run: everything that determines it, as one value that is recorded with it.

Two runs with equal configurations draw the same candidates, whatever the number of workers. Settings that may differ
from one session to the next (workers, storage, the address of Ray) are not part of it.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from evonas.errors import UsageError, shorten, unknown
from evonas.language.zoo import zoo
from evonas.settings.evaluation_protocol import EvaluationProtocol, check_integers, check_number
from evonas.settings.objectives import ANCHOR_ACCURACIES
from evonas.settings.search_space import SearchSpace

STRATEGIES = ("families", "pareto", "average", "nsga2", "random")
"""The ways to choose parents; `random` chooses none."""

REFERENCES = ("bn-relu", "bn-swish", "gn-relu", "evonorm-b0", "evonorm-b1", "evonorm-s0")
"""The published layers that layers for images are compared with; the first is the one that a layer has to beat."""
FLOOR_LAYERS = ("bn-relu", "bn-swish", "gn-relu", "evonorm-b0", "evonorm-s0")
"""The published layers whose median the floors of a run on images follow (`evonas.judging.floors`): five of different
kinds, so that one that does not suit a task, or two, do not decide."""

SEED_STEP = 1_000_003
"""Distance of the seeds of one rung from those of the next: a prime, so that no two runs' seeds meet by a pattern."""

MOST_CHOICES = 1000
"""More proposals than these for one candidate could not be made (`evonas.evolution.propose.MAX_PROPOSALS`)."""


@dataclass(frozen=True)
class RunConfig:
    """The configuration of a search.

    Attributes:
        space: the search space.
        budget: distinct candidates to judge.
        seed: the seed of every random choice of the run.
        strategy: one of `STRATEGIES`.
        population: size of the sliding window, which holds the newest scored candidates.
        tournament: share of the window that enters a tournament of `pareto` and `average`.
        smallest_tournament: least number of candidates in a tournament, if the window has that many.
        survivors: number of candidates of the window that survive under `nsga2`.
        families: number of the best families among which `families` chooses that of a parent.
        of_one_root: the largest share of those families whose best members may descend from one seed graph or random
            graph.
        of_one_kind: the largest share of those families, of the candidates that earn longer training, and of the
            finalists that may have the same statistics (`evonas.judging.families.Family`).
        fresh: probability that a candidate is a new random graph rather than an offspring.
        mutations: number of mutations that separate an offspring from its parent; of edits, the largest number.
        mutation: what a mutation does: it redraws a "node" with its arguments, as in the paper, or a "part" of one; an
            "edit" redraws a part or, as often, inserts a node.
        stride: smallest and largest relative distance from its parent, at the start of training, of an offspring that
            is judged in any case (`evonas.judging.start_twins.start_distance`); empty for all distances.
        strays: probability that an offspring at another distance is judged, and that a candidate is not chosen among
            several proposals.
        propose: the name of a user's function that proposes layers (`evonas.settings.proposals`); empty for none.
        proposed: probability that a candidate is what this function proposes.
        choices: the number of offspring of a parent, or of random graphs, of which the most promising one is judged
            (`evonas/judging/prospects.py`); 1 for no choice.
        twins: relative distance of outputs at the start of training within which a candidate counts as a twin of an
            earlier one (`evonas/judging/start_twins.py`); 0 disables the comparison.
        lookahead: candidate i is drawn from the results of candidates up to i − lookahead.
        rungs: steps of the longer trainings that good candidates earn, as rising or equal multiples of the protocol's
            steps, each with a seed of its own (`evonas/judging/rungs.py`); empty for none.
        rung_anchors: on how many of the protocol's anchors, from the first, each rung trains; a rung without a number
            trains on all. The last rung trains on the target, if there is one.
        target_anchors: the networks that layers are for, if these are too large to train every candidate on: those of
            the last rung and of the verification, in place of the protocol's. Empty for the protocol's.
        rung_rates: the learning rate of each rung, as a multiple of the protocol's; a rung without a number has the
            protocol's own. A candidate that diverges on a rung goes no further.
        promotion: share of the candidates on a rung that go on to the next.
        rung_lookahead: the result of a longer training counts from so many candidates later on.
        seed_graphs: JSON of graphs to judge first, in order.
        core_minutes: no more candidates are drawn once all workers together have spent this many core-minutes; None
            for no limit.
        max_attempts: how often a candidate is tried if its worker fails.
        deadline: seconds after which a candidate's evaluation is stopped and counts as failed; a longer training may
            take as many times that as it has more steps.
        protocol: how candidates are judged and scored.
        references: the names of the published layers that layers are compared with, during the search and in its
            verdict; a layer is recommended if it is better than the first.
        floor_layers: the names of those whose median the floors follow, where the protocol's are shares.
        finalists: the largest number of layers that are verified after the search, the best of each family; 0 for none.
        verify_seeds: the number of fresh seeds with which a verified layer is trained at each stage.
        verify_steps: training steps of a verification; None for those of the last rung, or twice those of the protocol.

    Raises:
        UsageError: a setting is out of its range.
    """

    space: SearchSpace
    budget: int = 5000
    seed: int = 0
    strategy: str = "pareto"
    population: int = 2500
    tournament: float = 0.05
    smallest_tournament: int = 20
    survivors: int = 50
    families: int = 12
    of_one_root: float = 1.0
    of_one_kind: float = 1.0
    fresh: float = 0.5
    mutations: int = 2
    mutation: Literal["node", "part", "edit"] = "node"
    stride: tuple[float, ...] = ()
    strays: float = 0.2
    propose: str = ""
    proposed: float = 0.5
    choices: int = 1
    lookahead: int = 16
    rungs: tuple[int, ...] = ()
    rung_anchors: tuple[int, ...] = ()
    rung_rates: tuple[float, ...] = ()
    target_anchors: tuple[str, ...] = ()
    promotion: float = 0.25
    rung_lookahead: int = 100
    twins: float = 0.02
    seed_graphs: tuple[str, ...] = ()
    core_minutes: float | None = None
    max_attempts: int = 2
    deadline: float = 300.0
    protocol: EvaluationProtocol = field(default_factory=EvaluationProtocol)
    references: tuple[str, ...] = REFERENCES
    floor_layers: tuple[str, ...] = FLOOR_LAYERS
    finalists: int = 0
    verify_seeds: int = 5
    verify_steps: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.space, SearchSpace):
            raise UsageError(f"space must be a SearchSpace, not {shorten(self.space)}")
        check_integers(self, budget=1, population=1, smallest_tournament=1, survivors=2, mutations=1)
        check_integers(self, lookahead=1, max_attempts=1, seed=0, families=1, rung_lookahead=1)
        check_number(self, "promotion", above=0.0, below=1.0)
        if list(self.rungs) != sorted(self.rungs) or not all(_is_multiple(rung) for rung in self.rungs):
            raise UsageError(f"rungs must be whole numbers that do not fall, such as [2, 4], not {shorten(self.rungs)}")
        if not all(_is_multiple(count) for count in self.rung_anchors):
            raise UsageError(
                f"rung_anchors must be whole numbers from 1, such as [1, 3], not {shorten(self.rung_anchors)}"
            )
        if not all(_is_rate(rate) for rate in self.rung_rates):
            raise UsageError(f"rung_rates must be positive numbers, such as [2.0, 1.0], not {shorten(self.rung_rates)}")
        if self.target_anchors and self.protocol.score:
            raise UsageError(f"target_anchors are networks of evonas, and {self.protocol.score} trains its own")
        for name in ("references", "floor_layers"):
            _check_published(name, getattr(self, name))
        check_integers(self, finalists=0, verify_seeds=1)
        if self.verify_steps is not None:
            check_integers(self, verify_steps=1)
        check_number(self, "tournament", least=0.0, most=1.0)
        check_number(self, "fresh", least=0.0, most=1.0)
        check_number(self, "of_one_root", above=0.0, most=1.0)
        check_number(self, "of_one_kind", above=0.0, most=1.0)
        if self.stride and not _is_range(self.stride):
            raise UsageError(f"stride must be two rising numbers, such as [0.3, 0.6], not {shorten(self.stride)}")
        check_number(self, "strays", least=0.0, most=1.0)
        check_number(self, "twins", least=0.0, most=1.0)
        check_number(self, "proposed", least=0.0, most=1.0)
        check_integers(self, choices=1)
        check_number(self, "choices", least=1, most=MOST_CHOICES)
        check_number(self, "deadline", above=0.0)
        if self.core_minutes is not None:
            check_number(self, "core_minutes", above=0.0)
        if self.mutation not in ("node", "part", "edit"):
            raise UsageError(f"mutation must be node, part or edit, not {shorten(self.mutation)}")
        if self.strategy not in STRATEGIES:
            raise UsageError(f"unknown strategy {shorten(self.strategy)}; known: {', '.join(STRATEGIES)}")
        if self.strategy == "average" and self.protocol.objectives != (ANCHOR_ACCURACIES,):
            raise UsageError(
                "the strategy average compares mean accuracies only; use pareto or nsga2 for other objectives"
            )

    def on_rung(self, rung: int) -> EvaluationProtocol:
        """The protocol of a rung, from 1: other steps, a seed of its own, perhaps fewer anchors and another rate.

        Filters, hurdles and further objectives belong to the first evaluation alone.
        """
        counts, rates = self.rung_anchors[rung - 1 : rung], self.rung_rates[rung - 1 : rung]
        anchors = self.protocol.anchors[: counts[0]] if counts else self.protocol.anchors
        return dataclasses.replace(
            self.protocol,
            anchors=self.verified_on if rung == len(self.rungs) and self.target_anchors else anchors,
            steps=self.rungs[rung - 1] * self.protocol.steps,
            lr=rates[0] * self.protocol.lr if rates else self.protocol.lr,
            seed=(self.protocol.seed + rung * SEED_STEP) % 2**63,
            objectives=(ANCHOR_ACCURACIES,),
            hurdle_steps=(),
            hurdle_ends=None,
        )

    @property
    def verified_on(self) -> tuple[str, ...]:
        """The networks of the verification: the target's, or those of the search."""
        return self.target_anchors or self.protocol.anchors

    @property
    def uses_ladder(self) -> bool:
        """Whether the run keeps what is known of every scored candidate (`evonas.judging.rungs.Ladder`)."""
        return bool(self.rungs) or self.strategy == "families"

    def to_json(self) -> str:
        """The configuration as JSON; `from_json` is its inverse."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> RunConfig:
        """The configuration from the JSON that `to_json` wrote.

        Raises:
            UsageError: the text is not a configuration of this version.
        """
        try:
            return RunConfig.from_dict(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(f"the run's recorded configuration cannot be read: {shorten(str(error), 200)}") from None

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> RunConfig:
        """The configuration from nested mappings of field names to values.

        Raises:
            UsageError: a setting is out of range.
            TypeError: a setting that is a list is none, or not one of text.
        """
        config = _rebuild(RunConfig, document)
        assert isinstance(config, RunConfig)  # _rebuild returns an instance of the class that it is given
        return config


def _check_published(setting: str, names: tuple[str, ...]) -> None:
    if not names or len(set(names)) < len(names):
        raise UsageError(f"{setting} must be names of published layers, at least one and each once")
    for name in names:
        if name not in zoo:
            raise unknown(f"layer in {setting}", name, zoo)


def _is_multiple(rung: object) -> bool:
    return isinstance(rung, int) and not isinstance(rung, bool) and rung >= 1


def _is_rate(rate: object) -> bool:
    return isinstance(rate, int | float) and not isinstance(rate, bool) and 0.0 < rate < inf


def _is_range(values: tuple[object, ...]) -> bool:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) == 2 and 0 <= numbers[0] <= numbers[1]


def _rebuild(cls: type, document: Mapping[str, Any]) -> Any:
    """An instance of a dataclass from the document that `asdict` and JSON made of it."""
    hints = typing.get_type_hints(cls)
    values = {}
    for name, value in document.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            values[name] = _rebuild(typing.cast("type", hint), value)
        elif typing.get_origin(hint) is tuple:
            if isinstance(value, str) or not isinstance(value, Iterable):  # each letter of a text would be an item
                raise TypeError(f"{name} must be a list, not {shorten(value)}")
            values[name] = tuple(value)
            if typing.get_args(hint)[0] is str and not all(isinstance(item, str) for item in values[name]):
                raise TypeError(f"{name} must be a list of text, not {shorten(value)}")
        else:
            values[name] = value
    return cls(**values)
