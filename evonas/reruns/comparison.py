"""Training given layers with several seeds: baselines, and the final word on what a search found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal, Unpack

from evonas.errors import UsageError
from evonas.evolution.executor import Executor
from evonas.evolution.trainings import Progress, carry_out, training_task
from evonas.front.assemble import named_protocol
from evonas.front.make_executor import Workers, make_executor
from evonas.language.graph import Graph
from evonas.settings.evaluation_protocol import EvaluationProtocol


@dataclass(frozen=True, slots=True)
class Comparison:
    """A layer trained with several seeds.

    Attributes:
        layer: its name or expression.
        scores: accuracies by anchor, one a seed.
        seconds: core-seconds of one training, mean over seeds, by anchor.
        failures: reasons, where trainings failed.
    """

    layer: str
    scores: Mapping[str, Sequence[float]]
    seconds: Mapping[str, float]
    failures: Sequence[str] = ()

    def mean(self, anchor: str | None = None) -> float:
        """The mean over seeds, on one anchor or over all."""
        return fmean(self._values(anchor))

    def spread(self, anchor: str | None = None) -> float:
        """The standard deviation over seeds (of the mean over anchors when `anchor` is None)."""
        values = self._values(anchor)
        return stdev(values) if len(values) > 1 else 0.0

    def _values(self, anchor: str | None) -> list[float]:
        if anchor is not None:
            return list(self.scores[anchor])
        return [fmean(by_anchor) for by_anchor in zip(*self.scores.values(), strict=True)]


def baseline(
    layers: Sequence[Graph | str],
    *,
    protocol: EvaluationProtocol | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    split: Literal["validation", "test"] = "validation",
    executor: str | Executor = "ray",
    progress: Progress | None = None,
    **workers: Unpack[Workers],
) -> list[Comparison]:
    """Trains layers on every anchor with several seeds, without filters.

    Args:
        layers: published names, expressions or graphs. A published layer is placed as its publication
            does, with its own normalisation where a network has no activation.
        protocol: as in `search`; its seed is replaced by each of `seeds`.
        seeds: of initial weights and batches.
        split: which images to score on.
        executor: as in `search`.
        progress: its `tick` is called with the number of trainings left.
        workers: `workers`, `ray_address`, `gpus_per_worker`, `cpus_per_worker`, `recycle_after`, as in `search`.

    Returns:
        One comparison a layer, in the order given.
    """
    protocol = protocol or EvaluationProtocol()
    protocol = named_protocol(protocol)
    wanted = [(number, seed) for number in range(len(layers)) for seed in seeds]
    tasks = [
        training_task(layers[number], index, replace(protocol, seed=seed), split=split)
        for index, (number, seed) in enumerate(wanted)
    ]
    if not tasks:
        raise UsageError("there is nothing to compare: name at least one layer and one seed")
    with make_executor(executor, protocol, **workers) as running:
        evaluations = sorted(carry_out(tasks, running, progress=progress), key=lambda e: e.index)
    comparisons = []
    for number, layer in enumerate(layers):
        mine = [e for e in evaluations if wanted[e.index][0] == number]
        scored = [e for e in mine if e.scores]
        comparisons.append(
            Comparison(
                layer if isinstance(layer, str) else layer.written(),
                {a: [e.scores[a] for e in scored] for a in protocol.anchors},
                {a: fmean([e.seconds[a] for e in scored]) if scored else 0.0 for a in protocol.anchors},
                [e.reason for e in mine if not e.scores],
            )
        )
    return comparisons
