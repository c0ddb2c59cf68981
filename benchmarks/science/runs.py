"""The searches of the study: strategies at equal compute, three seeds each, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from evonas.cli.live_display import LiveDisplay
from evonas.front.api import Result, execute
from evonas.front.assemble import configure
from evonas.front.make_executor import make_executor
from evonas.records.environment import environment
from evonas.records.run_info import RunStatus
from evonas.records.store import Store
from evonas.settings.run_config import RunConfig

REFERENCES = ("bn-relu", "bn-swish", "gn-relu", "evonorm-b0", "evonorm-s0")
BUDGET = 1_000_000
"""More candidates than any run comes to: compute ends it."""
RECORDED = (20, 40, 60, 80)
"""Steps at which runs without hurdles record what hurdles would look at."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to search.

    Attributes:
        label: what tables and pictures call it.
        settings: fields of `RunConfig` that differ from the default preset.
        protocol: fields of `Protocol` that differ.
    """

    label: str
    settings: dict[str, object]
    protocol: dict[str, object]


def _plain(strategy: str) -> Variant:
    recording = {"stability_steps": (), "hurdle_steps": RECORDED, "hurdle_quantile": 0.0}
    return Variant(strategy, {"strategy": strategy, "smallest_tournament": 2, "twins": 0.0}, recording)


STRATEGIES = tuple(_plain(strategy) for strategy in ("pareto", "average", "random"))
"""As the paper has them, but for the small anchors: no hurdles and no stability filter."""
MENDED = Variant(
    "mended",
    {"strategy": "pareto", "smallest_tournament": 20, "twins": 0.02},
    {"stability_steps": (5,), "hurdle_steps": (60,), "hurdle_quantile": 0.5},
)
"""What the study led to, and the default preset: see docs/SCIENCE.md."""
MENDED_RANDOM = replace(MENDED, label="random, mended", settings={**MENDED.settings, "strategy": "random"})
"""The same filters without evolution, which says how much of the gain is evolution's."""
VARIANTS = (*STRATEGIES, MENDED, MENDED_RANDOM)


def config_of(variant: Variant, seed: int, core_minutes: float) -> RunConfig:
    """The configuration of one run."""
    return configure(
        "evonorm",
        protocol=variant.protocol,
        settings={
            **variant.settings,
            "seed": seed,
            "core_minutes": core_minutes,
            "budget": BUDGET,
            # Other work on the machine may slow a candidate down; it shall not fail for that.
            "deadline": 3600.0,
        },
    )


def plan(
    store: Store, variants: Sequence[Variant], seeds: Sequence[int], core_minutes: float, workers: int | None
) -> Iterator[tuple[Variant, Result]]:
    """Every run, continued or begun where it is not finished; seed by seed, so that an early end is fair to all.

    Raises:
        KeyboardInterrupt: when stopped; what has finished is recorded.
    """
    for seed in seeds:
        for variant in variants:
            yield variant, _to_end(store, config_of(variant, seed, core_minutes), workers)


def recorded(
    store: Store, variants: Sequence[Variant], seeds: Sequence[int], core_minutes: float
) -> Iterator[tuple[Variant, Result]]:
    """Those of the planned runs that a store has, finished or not."""
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
    """The configuration without checkpoints that record and turn nobody away: they change no decision."""
    if config.protocol.hurdle_quantile > 0.0:
        return config
    return replace(config, protocol=replace(config.protocol, hurdle_steps=()))
