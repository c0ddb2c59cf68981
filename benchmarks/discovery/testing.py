"""The test: winners and published layers, trained longer than any search did, with seeds that nothing else uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from benchmarks.target.__main__ import UNSEEN, target_protocol
from benchmarks.training_rows import Job, Row
from evonas.front.result import Result
from evonas.language.zoo import FOUND, as_graph, zoo
from evonas.reruns.rerank_plan import unseen_anchor
from evonas.reruns.significance import holm, paired
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import REFERENCES, RunConfig
from evonas.setup.assemble import configure

PUBLISHED = REFERENCES
FIRST_SEED = 20_000
LONGER = 4
"""Times the steps of the longest training of the search."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What layers are compared by.

    Attributes:
        name: its name in records.
        protocol: that of the trainings, on the networks that count and on the unseen one, with any seed.
        unseen: the network that no search saw, and that is compared by itself; None for none.
        seeds: the number of trainings of each layer on each network.
    """

    name: str
    protocol: EvaluationProtocol
    unseen: str | None
    seeds: int

    @property
    def task(self) -> str:
        """What rows of trainings are known by: the name, with what else a change of the default may change."""
        target = ", with a target" if self.name == "pictures" else ""  # as it has had since the preset has one
        return f"{self.name}{target}, {self.protocol.steps} steps, rate {self.protocol.lr:g}"

    @property
    def anchors(self) -> tuple[str, ...]:
        """The networks whose mean counts."""
        return tuple(anchor for anchor in self.protocol.anchors if anchor != self.unseen)


def four_times_as_long(name: str, config: RunConfig, seeds: int = 10) -> Yardstick:
    """Return the task and the networks of a search, trained for four times as long as it trains any candidate."""
    return _trained(name, config, seeds, LONGER)


def as_long(config: RunConfig, seeds: int = 5) -> Yardstick:
    """Return the task and the networks of a search, trained for as long as it trains its best candidates."""
    found = _trained(config.protocol.data, config, seeds, 1)
    return replace(found, protocol=replace(found.protocol, anchors=found.anchors), unseen=None)


def _trained(name: str, config: RunConfig, seeds: int, times: int) -> Yardstick:
    protocol, unseen = config.protocol, unseen_anchor(config)
    longer = replace(
        protocol,
        anchors=(*config.verified_on, unseen) if unseen else config.verified_on,
        steps=times * max((1, *config.rungs)) * protocol.steps,
        hurdle_steps=(),
        hurdle_ends=None,
        objectives=("anchors",),
    )
    return Yardstick(name, longer, unseen, seeds)


def yardstick(name: str, data_dir: str | None) -> Yardstick:
    """Return a yardstick by name.

    Args:
        name: "crops", the default's task and networks; "pictures", those of the preset for pictures; or "target",
            CIFAR-10 on medium networks (`benchmarks.target`).
        data_dir: CIFAR-10 as a folder of images or an archive of one, for the latter two.
    """
    if name == "target":
        return Yardstick(name, target_protocol("image-folder", data_dir or "", 0), UNSEEN, 5)
    if name == "pictures":
        return four_times_as_long(name, configure(preset="pictures", protocol={"data_dir": data_dir}), 5)
    return four_times_as_long(name, configure())


YARDSTICKS = ("crops", "pictures", "target")


def winner_of(result: Result) -> str | None:
    """Return the expression of the layer that a search verified, or of its best layer if it verifies nothing.

    None if the search scored nothing, or verified none of its layers because all collapsed.
    """
    verdict = result.verdict
    if verdict is not None and not verdict.missing:
        return None if verdict.layer is None or verdict.collapsed else verdict.layer.expression
    best = result.best(1)
    return best[0].expression if best and not result.run.config.finalists else None


def found_before(rows: Sequence[Row], task: str) -> dict[str, str]:
    """Return how rows call the layers from which the default search starts and that evonas found, by their names."""
    names = {zoo[row.name].key: row.name for row in FOUND}
    layers = dict.fromkeys(row.layer for row in rows if row.protocol == task)
    return {names[key]: layer for layer in layers if (key := as_graph(layer).key) in names}


def jobs(layers: Iterable[str], by: Yardstick) -> list[Job]:
    """Return the trainings of some layers and of the published ones by a yardstick, seed by seed and none twice."""
    layers = dict.fromkeys([*PUBLISHED, *layers])
    seeds = range(FIRST_SEED, FIRST_SEED + by.seeds)
    return [Job(layer, by.task, replace(by.protocol, seed=seed)) for seed in seeds for layer in layers]


def by_seed(rows: Sequence[Row], task: str, layer: str, anchors: Sequence[str]) -> dict[int, float]:
    """Return a layer's mean accuracy over some anchors on a task, for each seed that all were trained with."""
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        if row.protocol == task and row.layer == layer and row.anchor in anchors:
            found.setdefault(row.seed, {})[row.anchor] = row.score
    return {seed: fmean(scores.values()) for seed, scores in found.items() if len(scores) == len(anchors)}


def comparisons(
    rows: Sequence[Row], task: str, winner: str, anchors: Sequence[str], others: Sequence[str] = PUBLISHED
) -> list[Mapping[str, Any]]:
    """Compare a winner with each published layer over the same seeds, corrected for the number of comparisons."""
    mine, found = by_seed(rows, task, winner, anchors), []
    for published in others:
        other = by_seed(rows, task, published, anchors)
        seeds = sorted(mine.keys() & other.keys())
        found.append((published, paired([mine[s] for s in seeds], [other[s] for s in seeds])))
    corrected = holm([None if one is None else one.p for _, one in found])
    return [
        {
            "published": published,
            "difference": None if one is None else one.difference,
            "interval": None if one is None or one.interval is None else [one.interval.low, one.interval.high],
            "pairs": 0 if one is None else one.pairs,
            "p": p,
        }
        for (published, one), p in zip(found, corrected, strict=True)
    ]
