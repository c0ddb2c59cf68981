"""Everything that determines a run, as one value that is recorded with it.

Two runs with equal configurations draw the same candidates, whatever the number of workers. What may
differ from one session to the next (workers, storage, where Ray is) is not part of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evonas.errors import UsageError, shorten
from evonas.space import SearchSpace

STRATEGIES = ("pareto", "average", "random")
"""How parents are chosen; `random` chooses none."""


@dataclass(frozen=True)
class Protocol:
    """How a candidate is judged and scored on a worker.

    Attributes:
        data: name of the data set.
        data_dir: its folder, for those that have one.
        anchors: names of the anchor networks; the filters use the first.
        steps, batch, lr, weight_decay, schedule: training of one anchor.
        signal: whether the signal-propagation filter runs.
        early_steps: steps of the first anchor after which a candidate at chance is turned away; those that
            the quality test comes before are left out.
        early_floors: accuracy on the last training batches that it needs by each of `early_steps`.
        quality_step: step of the first anchor at which the quality filter tests validation accuracy.
        quality_floor: accuracy under which the quality filter rejects; twice chance on ten classes.
        seed: of initial weights and batches; the same for all candidates of a run, so that they are
            compared on equal terms.
    """

    data: str = "digits"
    data_dir: str | None = None
    anchors: tuple[str, ...] = ("resnet-small", "mobilenet-small", "efficientnet-small")
    steps: int = 100
    batch: int = 64
    lr: float = 0.1
    weight_decay: float = 1e-4
    schedule: Literal["constant", "cosine"] = "cosine"
    signal: bool = True
    early_steps: tuple[int, ...] = (20, 60)
    early_floors: tuple[float, ...] = (0.1, 0.13)
    quality_step: int = 100
    quality_floor: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.anchors:
            raise UsageError("at least one anchor is needed to score a candidate")
        if len(self.early_steps) != len(self.early_floors):
            raise UsageError("early_steps and early_floors should be equally long")
        if list(self.early_steps) != sorted({step for step in self.early_steps if step > 0}):
            raise UsageError(f"early_steps should be positive and rise, not {self.early_steps}")
        _check_whole(self, steps=1, batch=1, quality_step=1, seed=0)


@dataclass(frozen=True)
class RunConfig:
    """The configuration of a search.

    Attributes:
        space: the search space.
        budget: distinct candidates to judge.
        seed: of every random choice of the run.
        strategy: one of `STRATEGIES`.
        population: size of the sliding window, the newest scored candidates.
        tournament: share of the window that enters a tournament.
        fresh: probability that a candidate is a new random graph rather than an offspring.
        mutations: mutations that separate an offspring from its parent.
        lookahead: candidate i sees the results of candidates up to i − lookahead.
        seed_graphs: JSON of graphs to judge first, in order.
        core_minutes: stop drawing once workers have spent this long in all; None for no limit.
        max_attempts: how often a candidate whose worker fails is tried.
        deadline: seconds after which a candidate's evaluation is stopped and counts as failed.
        protocol: how candidates are judged.
    """

    space: SearchSpace
    budget: int = 5000
    seed: int = 0
    strategy: str = "pareto"
    population: int = 2500
    tournament: float = 0.05
    fresh: float = 0.5
    mutations: int = 2
    lookahead: int = 16
    seed_graphs: tuple[str, ...] = ()
    core_minutes: float | None = None
    max_attempts: int = 2
    deadline: float = 300.0
    protocol: Protocol = field(default_factory=Protocol)

    def __post_init__(self) -> None:
        if not isinstance(self.space, SearchSpace):
            raise UsageError(f"space should be a search space, not {shorten(self.space)}")
        _check_whole(self, budget=1, population=1, mutations=1, lookahead=1, max_attempts=1, seed=0)
        for name in ("tournament", "fresh"):
            if not _is_number(getattr(self, name)) or not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} should be between 0 and 1, not {shorten(getattr(self, name))}")
        for name in ("deadline", "core_minutes"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value < math.inf):
                raise UsageError(f"{name} should be positive, not {shorten(value)}")
        if self.strategy not in STRATEGIES:
            raise UsageError(f"unknown strategy {shorten(self.strategy)}; known: {', '.join(STRATEGIES)}")

    def to_json(self) -> str:
        """The configuration as JSON; `from_json` is its inverse."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> RunConfig:
        """The configuration that `to_json` wrote.

        Raises:
            UsageError: when the text is not a configuration, for instance one of another version.
        """
        try:
            config = _rebuild(RunConfig, json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"the run's recorded configuration cannot be read: {error}") from None
        assert isinstance(config, RunConfig)  # _rebuild returns what it is asked for
        return config


def _check_whole(settings: object, **lowest: int) -> None:
    """Raises UsageError for a field that is no whole number of at least the given value, or beyond 63 bits."""
    for name, low in lowest.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"{name} should be a whole number, not {shorten(value)}")
        if value < low:
            raise UsageError(f"{name} should be at least {low}, not {value}")
        if value >= 1 << 63:
            raise UsageError(f"{name} should be below 2 to the power of 63, not {shorten(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rebuild(cls: type, document: Mapping[str, Any]) -> Any:
    """An instance of a dataclass from what `asdict` and JSON made of it."""
    hints = typing.get_type_hints(cls)
    values = {}
    for name, value in document.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            values[name] = _rebuild(typing.cast("type", hint), value)
        elif typing.get_origin(hint) is tuple:
            values[name] = tuple(value)
        else:
            values[name] = value
    return cls(**values)
