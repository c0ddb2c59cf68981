"""The searches of the study: strategies at equal compute, with three seeds each, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from evonas.display.live_display import LiveDisplay
from evonas.front.api import execute
from evonas.front.result import Result
from evonas.records.environment import environment
from evonas.records.run_info import RunStatus
from evonas.records.store import Store
from evonas.settings.run_config import RunConfig
from evonas.setup.assemble import configure
from evonas.setup.make_executor import make_executor

REFERENCES = ("bn-relu", "bn-swish", "gn-relu", "evonorm-b0", "evonorm-s0")
BEFORE = Path(__file__).parent.parent / "before.toml"
"""The default preset at the time of the study, so that it can be repeated."""
BUDGET = 1_000_000
"""More candidates than any run draws, so that the compute limit ends it."""
RECORDED = (20, 40, 60, 80)
"""Steps at which runs without hurdles record the values that hurdles would compare."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of the search.

    Attributes:
        label: its name in tables and pictures.
        settings: fields of `RunConfig` that differ from the preset.
        protocol: fields of `EvaluationProtocol` that differ from it.
    """

    label: str
    settings: dict[str, object]
    protocol: dict[str, object]


def _plain(strategy: str) -> Variant:
    recording = {"stability_steps": (), "hurdle_steps": RECORDED, "hurdle_quantile": 0.0}
    return Variant(strategy, {"strategy": strategy, "smallest_tournament": 2, "twins": 0.0}, recording)


STRATEGIES = tuple(_plain(strategy) for strategy in ("pareto", "average", "random"))
"""The strategies as in the paper, except for the small anchors: without hurdles and stability filter."""
MENDED = Variant(
    "mended",
    {"strategy": "pareto", "smallest_tournament": 20, "twins": 0.02},
    {"stability_steps": (5,), "hurdle_steps": (60,), "hurdle_quantile": 0.5},
)
"""The result of the study, which was the default preset; see docs/FIRST_STUDY.md."""
MENDED_RANDOM = replace(MENDED, label="random, mended", settings={**MENDED.settings, "strategy": "random"})
"""The same filters without evolution, which shows how much evolution contributes."""
VARIANTS = (*STRATEGIES, MENDED, MENDED_RANDOM)


def config_of(variant: Variant, seed: int, core_minutes: float) -> RunConfig:
    """Return the configuration of one run."""
    return configure(
        "evonorm",
        preset=str(BEFORE),
        protocol=variant.protocol,
        settings={
            **variant.settings,
            "seed": seed,
            "core_minutes": core_minutes,
            "budget": BUDGET,
            # Other load on the machine may slow a candidate down, which must not make it fail.
            "deadline": 3600.0,
            "finalists": 0,  # the study retrains layers itself, and knows runs by their configuration
        },
    )


def plan(
    store: Store, variants: Sequence[Variant], seeds: Sequence[int], core_minutes: float, workers: int | None
) -> Iterator[tuple[Variant, Result]]:
    """Execute or continue every unfinished run, and yield all. Runs go seed by seed, so that an early end is fair.

    Raises:
        KeyboardInterrupt: A run was interrupted; finished runs are recorded.
    """
    for seed in seeds:
        for variant in variants:
            yield variant, _to_end(store, config_of(variant, seed, core_minutes), workers)


def recorded(
    store: Store, variants: Sequence[Variant], seeds: Sequence[int], core_minutes: float
) -> Iterator[tuple[Variant, Result]]:
    """Yield the planned runs that a store has, finished or not."""
    for seed in seeds:
        for variant in variants:
            found = _recorded(store, config_of(variant, seed, core_minutes))
            if found is not None:
                yield variant, found


def _to_end(store: Store, config: RunConfig, workers: int | None) -> Result:
    known = _recorded(store, config)
    if known is not None and known.run.status is RunStatus.FINISHED:
        return known
    with make_executor("ray", config.protocol, deadline=config.deadline, workers=workers) as executor:
        run = store.create_run(config, environment()) if known is None else known.run
        with LiveDisplay(run, store, Console()) as watcher:
            result = execute(run, store, executor, [watcher], REFERENCES)
    if result.run.status is not RunStatus.FINISHED:
        raise KeyboardInterrupt
    return result


def _recorded(store: Store, config: RunConfig) -> Result | None:
    ids = [run.id for run in store.runs() if _decides(run.config) == _decides(config)]
    return Result(store, ids[-1]) if ids else None


def _decides(config: RunConfig) -> RunConfig:
    """Return the configuration without checkpoints that reject no candidate, because they change no decision."""
    if config.protocol.hurdle_quantile > 0.0:
        return config
    return replace(config, protocol=replace(config.protocol, hurdle_steps=()))
