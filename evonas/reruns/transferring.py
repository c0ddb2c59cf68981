"""Whether a layer serves where no search looked: small tasks beside the classification of a search's images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from evonas.errors import UsageError, unknown
from evonas.language.graph import Graph
from evonas.language.zoo import ROWS
from evonas.reruns.significance import Interval, Paired, interval, paired

if TYPE_CHECKING:
    from evonas.layers.layer_factory import LayerFactory

REFERENCES = ("bn-relu", "gn-relu", "evonorm-b0", "evonorm-s0")
"""Published layers that a layer is held beside."""
BASELINE = REFERENCES[0]


@dataclass(frozen=True, slots=True)
class TransferTask:
    """A task.

    Attributes:
        name: of the task.
        measure: what is measured on test images.
        larger_is_better: whether so.
        steps: of training, by default.
    """

    name: str
    measure: str
    larger_is_better: bool
    steps: int


TASKS: Mapping[str, TransferTask] = {
    task.name: task
    for task in (
        TransferTask("segmentation", "mean IoU", True, 800),
        TransferTask("generation", "Fréchet distance", False, 1000),
        TransferTask("classification", "accuracy", True, 100),
    )
}
"""A U-Net on canvases of digits; a class-conditional GAN on digits; a plain network that no search trains on."""


@dataclass(frozen=True)
class Transferred:
    """How a layer did on a task.

    Attributes:
        layer: its name or expression.
        values: what was measured, by seed; without trainings that diverged.
        diverged: seeds whose trainings did.
        versus: its difference from `BASELINE` over equal seeds; None for that layer itself.
    """

    layer: str
    values: Mapping[int, float]
    diverged: Sequence[int]
    versus: Paired | None

    @property
    def mean(self) -> float | None:
        """The mean over seeds; None where all diverged."""
        return fmean(self.values.values()) if self.values else None

    @property
    def interval(self) -> Interval | None:
        """Of the mean; None for fewer than two values."""
        return interval(list(self.values.values()))


def transfer(
    layers: Sequence[Graph | str],
    task: str,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int | None = None,
    references: Sequence[str] = REFERENCES,
    progress: Callable[[int], None] = lambda left: None,
) -> list[Transferred]:
    """Trains networks for a task with layers, and scores them on images that they were not trained on.

    Args:
        layers: published names, expressions or graphs.
        task: one of `TASKS`.
        seeds: of weights and batches, the same for every layer.
        steps: of training; the task's own when None.
        references: published layers to train beside them.
        progress: told how many trainings are left.

    Returns:
        One row a layer, best first; those of which every training diverged come last.

    Raises:
        UsageError: for an unknown task or layer, no layer, no seed, or no step.
    """
    from evonas.layers.layer_factory import LayerFactory

    if task not in TASKS:
        raise unknown("task", task, TASKS)
    for reference in references:
        if reference not in ROWS:
            raise unknown("layer", reference, ROWS)
    steps = TASKS[task].steps if steps is None else steps
    if not layers or not seeds or steps < 1:
        raise UsageError("transfer needs at least one layer, one seed and one step")
    train = _trainer(task, steps)
    wanted = {_label(layer): LayerFactory.of(layer) for layer in (*layers, *references)}
    found: dict[str, dict[int, float | None]] = {label: {} for label in wanted}
    left = len(wanted) * len(seeds)
    for seed in seeds:
        for label, factory in wanted.items():
            progress(left)
            found[label][seed] = train(factory, seed)
            left -= 1
    progress(0)
    rows = [_row(label, values, found.get(BASELINE, {})) for label, values in found.items()]
    sign = -1.0 if TASKS[task].larger_is_better else 1.0
    return sorted(rows, key=lambda row: (row.mean is None, sign * (row.mean or 0.0)))


def _trainer(task: str, steps: int) -> Callable[[LayerFactory, int], float | None]:
    if task == "segmentation":
        from evonas.workers.transfer.segmentation import segment

        return partial(segment, steps=steps)
    if task == "generation":
        from evonas.workers.transfer.generation import generate

        return partial(generate, steps=steps)
    from evonas.workers.transfer.classification import classify

    return partial(classify, steps=steps)


def _row(label: str, values: Mapping[int, float | None], baseline: Mapping[int, float | None]) -> Transferred:
    known = {seed: value for seed, value in values.items() if value is not None}
    both = [(v, b) for seed, v in known.items() if (b := baseline.get(seed)) is not None]
    versus = paired([v for v, _ in both], [b for _, b in both]) if both and label != BASELINE else None
    return Transferred(label, known, [seed for seed, value in values.items() if value is None], versus)


def _label(layer: Graph | str) -> str:
    return layer if isinstance(layer, str) else layer.written()
