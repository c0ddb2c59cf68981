"""Trains layers on small tasks that no search trains on, and compares them."""

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

TASK_REFERENCES = ("bn-relu", "gn-relu", "evonorm-b0", "evonorm-s0")
"""The published layers that are trained beside the given ones by default."""
BASELINE = TASK_REFERENCES[0]
"""The layer that all others are compared with."""


@dataclass(frozen=True, slots=True)
class TransferTask:
    """A task to train a layer on.

    Attributes:
        name: the task's name.
        measure: what is measured on the test images.
        larger_is_better: whether a larger value is better.
        steps: the default number of training steps.
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
"""The tasks: a U-Net on canvases of digits, a class-conditional GAN on digits, and a network that no search trains."""


@dataclass(frozen=True)
class TaskScores:
    """The scores of a layer on a task.

    Attributes:
        layer: the layer's name or expression.
        values: the measured value by seed, without trainings that diverged.
        diverged: the seeds whose trainings diverged.
        versus: the difference from `BASELINE` over the seeds that both have; None for that layer itself, and if there
            is no such seed.
    """

    layer: str
    values: Mapping[int, float]
    diverged: Sequence[int]
    versus: Paired | None

    @property
    def mean(self) -> float | None:
        """The mean over seeds; None if all trainings diverged."""
        return fmean(self.values.values()) if self.values else None

    @property
    def interval(self) -> Interval | None:
        """The confidence interval of the mean; None for fewer than two values."""
        return interval(list(self.values.values()))


def transfer(
    layers: Sequence[Graph | str],
    task: str,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int | None = None,
    references: Sequence[str] = TASK_REFERENCES,
    progress: Callable[[int], None] = lambda left: None,
) -> list[TaskScores]:
    """Trains a network for a task with each layer, and scores it on test images.

    Args:
        layers: published names, expressions or graphs.
        task: "segmentation", "generation" or "classification".
        seeds: the seeds of weights and batches, the same for every layer.
        steps: the number of training steps; the task's default if None.
        references: the published layers to train beside them.
        progress: called with the number of trainings left.

    Returns:
        The scores of each layer, best first; layers whose trainings all diverged come last.

    Raises:
        UsageError: if the task or a layer is unknown, or there is no layer, no seed or no step.
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


def _row(label: str, values: Mapping[int, float | None], baseline: Mapping[int, float | None]) -> TaskScores:
    known = {seed: value for seed, value in values.items() if value is not None}
    both = [(v, b) for seed, v in known.items() if (b := baseline.get(seed)) is not None]
    versus = paired([v for v, _ in both], [b for _, b in both]) if both and label != BASELINE else None
    return TaskScores(label, known, [seed for seed, value in values.items() if value is None], versus)


def _label(layer: Graph | str) -> str:
    return layer if isinstance(layer, str) else layer.written()
