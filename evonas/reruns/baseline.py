"""Trains given layers with several seeds on every anchor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal, Unpack

from evonas.errors import UsageError
from evonas.evolution.executor import Executor
from evonas.evolution.trainings import Progress, carry_out, training_task
from evonas.language.graph import Graph
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import configure, named_protocol
from evonas.setup.make_executor import Workers, make_executor


@dataclass(frozen=True, slots=True)
class Comparison:
    """A layer trained with several seeds.

    Attributes:
        layer: the layer's name or expression.
        scores: the accuracies on each anchor, one per seed, without trainings that failed.
        seconds: the core-seconds of one training on each anchor, averaged over seeds.
        failures: the reasons of trainings that failed.
    """

    layer: str
    scores: Mapping[str, Sequence[float]]
    seconds: Mapping[str, float]
    failures: Sequence[str] = ()

    def mean(self, anchor: str | None = None) -> float:
        """The mean accuracy over seeds, on one anchor, or over all anchors if `anchor` is None."""
        return fmean(self._values(anchor))

    def spread(self, anchor: str | None = None) -> float:
        """The standard deviation over seeds, of the mean over anchors if `anchor` is None; 0 for a single seed."""
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
        layers: published names, expressions or graphs. A published layer is placed as in its publication, with its
            own normalisation where a network has no activation.
        protocol: how to train, that of the default preset if None; its seed is replaced by each of `seeds`.
        seeds: the seeds of initial weights and batches.
        split: the split to score on.
        executor: as in `search`.
        progress: its `tick` is called with the number of trainings left.
        workers: `workers`, `ray_address`, `gpus_per_worker`, `cpus_per_worker`, `recycle_after`, as in `search`.

    Returns:
        One comparison per layer, in the order given.

    Raises:
        UsageError: if there is no layer or no seed, or the protocol or a layer is not valid.
    """
    protocol = configure().protocol if protocol is None else named_protocol(protocol)
    wanted = [(number, seed) for number in range(len(layers)) for seed in seeds]
    tasks = [
        training_task(layers[number], index, replace(protocol, seed=seed), split=split)
        for index, (number, seed) in enumerate(wanted)
    ]
    if not tasks:
        raise UsageError("there is nothing to train; name at least one layer and one seed")
    with make_executor(executor, protocol, **workers) as running:
        evaluations = sorted(carry_out(tasks, running, progress=progress), key=lambda e: e.index)
    comparisons = []
    for number, layer in enumerate(layers):
        of_layer = [e for e in evaluations if wanted[e.index][0] == number]
        scored = [e for e in of_layer if e.scores]
        comparisons.append(
            Comparison(
                layer if isinstance(layer, str) else layer.written(),
                {a: [e.scores[a] for e in scored] for a in protocol.anchors},
                {a: fmean([e.seconds[a] for e in scored]) if scored else 0.0 for a in protocol.anchors},
                [e.reason for e in of_layer if not e.scores],
            )
        )
    return comparisons
