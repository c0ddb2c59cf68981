"""Floors that follow from the task, trained on two to a thousand classes, balanced and not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evonas.evolution.executor import Task, published_task
from evonas.judging.floors import run_floors, turned_away
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import FLOOR_LAYERS
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.trial.evaluate import evaluate_task

PROTOCOL = EvaluationProtocol(
    data="npz",
    anchors=("resnet-small",),
    steps=60,
    signal=False,
    stability_steps=(),
    floors="published",
    early_steps=(10, 30),
    early_floors=(0.2, 0.25),
    quality_step=60,
    quality_floor=0.3,
    hurdle_steps=(),
)
STUCK = "tanh(v0 * x)"
"""Its output is 0 at the start, so that no gradient reaches the weights below and the network stays at chance."""


@dataclass(frozen=True)
class Measured:
    """What published layers have on a task, and the floors that follow."""

    data: DataSet
    values: Mapping[str, tuple[CheckpointValue, ...]]
    floors: Mapping[str, float]

    def judged(self, text: str) -> Evaluation:
        return evaluate_task(Task(0, 1, Graph.parse(text).to_json(), PROTOCOL, floors=self.floors), self.data)


def images(folder: Path, sizes: list[int], held: int) -> DataSet:
    """Classes of so many training images, each one random picture with noise; `held` are left for each other split."""
    rng = np.random.default_rng(len(sizes))
    pictures = rng.normal(128, 48, (len(sizes), 8, 8, 1))

    def split(labels: np.ndarray) -> np.ndarray:
        noisy = pictures[labels] + rng.normal(0, 24, (len(labels), 8, 8, 1))
        return noisy.clip(0, 255).astype(np.uint8)

    train = np.repeat(np.arange(len(sizes)), sizes)
    shares = np.array(sizes) / sum(sizes)
    other = rng.choice(len(sizes), size=held, p=shares)
    arrays = {"x_train": split(train), "y_train": train}
    for part in ("validation", "test"):
        arrays |= {f"x_{part}": split(other), f"y_{part}": other}
    np.savez(folder / "task.npz", **arrays)
    return load_dataset("npz", folder / "task.npz")


SIZES = {
    "two": [600, 600],
    "two unbalanced": [1100, 100],
    "19": [100] * 19,
    "19 unbalanced": [1200] + [40] * 18,
    "100": [30] * 100,
    "1000": [4] * 1000,
}


@pytest.fixture(scope="module", params=SIZES)
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    torch.set_num_threads(1)
    sizes = SIZES[request.param]
    data = images(tmp_path_factory.mktemp("task"), sizes, 500)
    tasks = [replace(published_task(name, -1, 1, PROTOCOL), measures="filters") for name in FLOOR_LAYERS]
    values = {name: evaluate_task(one, data).checkpoints for name, one in zip(FLOOR_LAYERS, tasks, strict=True)}
    floors = run_floors(PROTOCOL, values)
    assert floors is not None
    return Measured(data, values, floors)


def test_bn_relu_is_never_turned_away(task: Measured) -> None:
    assert turned_away("bn-relu", task.values["bn-relu"], PROTOCOL, task.floors) is None
    assert task.judged(zoo["bn-relu"].written()).status is Status.SCORED


def test_chance_is_the_most_frequent_class(task: Measured) -> None:
    *early, quality = task.values["bn-relu"]
    labels = task.data.train.labels.tolist()
    assert {value.chance for value in early} == {max(map(labels.count, set(labels))) / len(labels)}
    labels = task.data.validation.labels.tolist()
    assert quality.chance == max(map(labels.count, set(labels))) / len(labels)
    assert quality.images == 500
    assert [value.images for value in early] == [min(640, len(task.data.train))] * 2


def test_a_layer_at_chance_is_turned_away_where_published_layers_learn(task: Measured) -> None:
    """On a thousand classes they have not, after sixty steps; then nothing can be told, and nothing but worse falls."""
    evaluation = task.judged(STUCK)
    learned = task.data.classes < 1000
    assert (evaluation.status is Status.REJECTED) is learned
    assert (task.floors["quality"] > (task.values["bn-relu"][-1].chance or 0.0)) is learned
    if learned:
        assert evaluation.filters[-1].reason in ("at chance", "low accuracy")


def test_the_filters_of_a_published_layer_are_measured_in_the_training_that_scores_it(task: Measured) -> None:
    """So it is trained once for both, and its scores are those without filters."""
    plain = published_task("evonorm-s0", -1, 1, PROTOCOL)
    both = evaluate_task(replace(plain, measures="both"), task.data)
    assert both.checkpoints == task.values["evonorm-s0"]
    assert both.scores == {"resnet-small": both.checkpoints[-1].value}  # the quality filter judges after the last step
    assert both.scores == evaluate_task(plain, task.data).scores and both.filters == ()
    alone = evaluate_task(replace(plain, measures="filters"), task.data)
    assert (alone.status, alone.scores, alone.seconds) == (Status.SCORED, {}, {})
