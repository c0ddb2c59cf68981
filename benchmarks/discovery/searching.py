"""The searches: one database for each variant and seed, so that each can be stopped and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import evonas
from benchmarks.science.runs import BEFORE
from evonas.errors import UsageError
from evonas.front.result import Result
from evonas.language.zoo import PUBLISHED
from evonas.records.run_info import RunStatus
from evonas.setup.assemble import open_storage


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to search.

    Attributes:
        label: its name in records.
        preset: a preset's name or file.
        settings: fields of `RunConfig` that differ from the preset.
        protocol: fields of `EvaluationProtocol` that differ from it.
        as_long_as: the label of another variant, with whose core-seconds its searches end; None for the budget alone.
    """

    label: str
    preset: str = "small"
    settings: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    as_long_as: str | None = None


FORMER: Mapping[str, Any] = {"of_one_kind": 1.0, "rung_rates": (2.0, 1.0)}
"""Further settings in which the former default differs."""

VARIANTS = {
    variant.label: variant
    for variant in (
        Variant("default"),
        Variant(
            "random",
            settings={"strategy": "random", "budget": 1_000_000},
            as_long_as="default",
        ),
        Variant("published", settings={"seed_graphs": tuple(row.name for row in PUBLISHED), **FORMER}),
        Variant("scratch", settings={"seed_graphs": ()}),
        Variant("before", preset=str(BEFORE)),
        Variant("pictures", preset="pictures"),
        Variant("pictures-small", preset="pictures", settings={"target_anchors": ()}),
        Variant("with-target", settings={"target_anchors": ("resnet-medium", "mobilenet-medium")}),
    )
}
"""The default; random search with the same filters, rungs and compute; the default as it was before it started from
layers that evonas had found; without any layer to start from; the default before rungs, families and photographs; the
preset for pictures, on CIFAR-10; the same without its target, on small networks alone; and the default with the target
of that preset."""


def path_of(folder: Path, label: str, seed: int) -> Path:
    """Return the database of one search."""
    return folder / f"{label}_{seed}.db"


def searched(folder: Path, variant: Variant, seed: int, workers: int | None, data_dir: str | None = None) -> Result:
    """Run a search, or continue or read it, and return its result; it includes the verification."""
    path = path_of(folder, variant.label, seed)
    store = open_storage(path)
    if store.run_ids():
        found = Result(store, 1)
        verified = found.verdict is not None and not found.verdict.missing
        done = found.run.status is RunStatus.FINISHED and (verified or not found.run.config.finalists)
        return found if done else evonas.resume(1, storage=store, workers=workers)
    settings = dict(variant.settings)
    if variant.as_long_as is not None:
        with open_storage(path_of(folder, variant.as_long_as, seed), create=False) as other:
            if other.run(1).status is not RunStatus.FINISHED:
                raise UsageError(f"the search {variant.as_long_as}, seed {seed}, has not ended; end it first")
            settings["core_minutes"] = other.summary(1).core_seconds / 60
    protocol = dict(variant.protocol) | ({"data_dir": data_dir} if variant.preset == "pictures" else {})
    return evonas.search(
        preset=variant.preset, seed=seed, protocol=protocol, storage=store, workers=workers, **settings
    )
