"""Objectives other than accuracy that need a network, and training in micro-batches."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from evonas.evolution.executor import Task
from evonas.language.graph import Graph
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.candidate import Status
from evonas.settings.objectives import OBJECTIVES
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.trial.evaluate import evaluate_task
from evonas.workers.trial.objective_measures import measure_objective
from evonas.workers.trial.training import Training
from evonas.workers.trial.trial import Trial
from tests.plain_training import plainly_trained
from tests.test_evaluate import QUICK


@pytest.fixture(scope="module")
def data() -> DataSet:
    torch.set_num_threads(1)
    return load_dataset("digits")


def trial(text: str, data: DataSet, batch: int = 16, backend: str = "auto") -> Trial:
    protocol = replace(QUICK, batch=batch, steps=6, backend=backend)  # type: ignore[arg-type]  # one of the four
    return Trial(LayerFactory(Graph.parse(text)), protocol, data)


def weights(training: Training) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in training.model.parameters()])


def test_every_objective_is_measured(data: DataSet) -> None:
    protocol = replace(QUICK, objectives=("anchors", *OBJECTIVES))
    graph = Graph.parse("x / std_bwh(x)")
    result = evaluate_task(Task(0, 1, graph.to_json(), protocol, filtered=False), data)
    assert result.status is Status.SCORED and set(result.measures) == set(OBJECTIVES)
    assert result.measures["size"] == len(graph.canonical.nodes)
    assert 0.0 <= result.measures["batch-4"] <= 1.0
    assert set(OBJECTIVES) <= set(result.seconds)  # what measuring cost is accounted for


def test_bytes_saved_are_those_of_activations_and_grow_with_the_batch(data: DataSet) -> None:
    few, many = (measure_objective("saved-bytes", trial("x / std_bwh(x)", data, batch)) for batch in (16, 32))
    assert 1.9 < many / few < 2.1  # statistics of a plane or a channel are the small rest
    plain, swish = (
        [measure_objective("saved-bytes", trial(text, data, backend=backend)) for backend in ("reference", "cpp")]
        for text in ("x / std_bwh(x)", "x * sigmoid(v1 * x) / std_bwh(x)")
    )
    assert swish[0] > 1.4 * plain[0]  # the reference keeps the sigmoid and the product too
    assert swish[1] == pytest.approx(plain[1], rel=0.05) and plain[1] < plain[0]  # kernels keep x


def test_bytes_saved_by_a_network_that_can_be_counted_by_hand() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Dropout(0.5))
    images, labels = torch.randn(16, 1, 2, 2), torch.randint(3, (16,))
    one: Any = SimpleNamespace(first=SimpleNamespace(model=model.eval(), batch=lambda step: (images, labels)))
    # In numbers of 4 bytes: the first map keeps the images; tanh its output, which the second map keeps as well;
    # dropout, which does something in training alone, its mask; the loss logarithms of shares, labels of 8 bytes and
    # a sum.
    kept = 16 * 4 + 16 * 3 + 16 * 3 + 16 * 3 + 2 * 16 + 1
    mask = 16 * 3 * 3  # a mask may be kept as bytes
    assert 4 * kept - mask <= measure_objective("saved-bytes", one) <= 4 * kept
    assert not model.training


def test_the_size_is_that_of_what_is_trained(data: DataSet) -> None:
    """Of seven nodes as written, only the statistic and the division remain in canonical form."""
    assert measure_objective("size", trial("-(-(x + 0)) / (std_bwh(x) + 0)", data)) == 2
    assert measure_objective("size", trial("tanh(x)", data)) == 1


@pytest.mark.parametrize(("finite", "value"), [(True, 0.625), (False, 0.0)])
def test_small_batches_train_the_first_anchor_to_the_end_and_meet_validation_images(finite: bool, value: float) -> None:
    asked: list[object] = []

    class Parted:
        def advance(self, to_step: int) -> bool:
            asked.append(to_step)
            return finite

        def accuracy(self, split: str) -> float:
            return {"validation": 0.625, "test": 0.75}[split]

    def training(anchor: str, micro_batch: int | None = None) -> Parted:
        asked.extend((anchor, micro_batch))
        return Parted()

    protocol = replace(QUICK, anchors=("resnet-small", "mobilenet-small"), steps=9)
    one: Any = SimpleNamespace(protocol=protocol, training=training)
    assert measure_objective("batch-4", one) == value and asked == ["resnet-small", 4, 9]


def test_measuring_bytes_leaves_the_network_as_it_was(data: DataSet) -> None:
    one = trial("x / std_bwh(x)", data)
    before = {name: value.clone() for name, value in one.first.model.state_dict().items()}
    measure_objective("saved-bytes", one)
    after = one.first.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_step_time_is_that_of_the_training_that_was_scored(data: DataSet) -> None:
    one = trial("x / std_bwh(x)", data)
    assert measure_objective("step-time", one) == math.inf
    one.first.advance(6)
    assert 0.0 < measure_objective("step-time", one) == one.first.step_seconds < 60.0


@pytest.mark.parametrize(("text", "same"), [("max(x, 0) / std_wh(x)", True), ("max(x, 0) / std_bwh(x)", False)])
def test_micro_batches_share_a_step_but_not_statistics(text: str, same: bool, data: DataSet) -> None:
    one = trial(text, data)
    whole, parted = one.first, one.training(one.protocol.anchors[0], micro_batch=4)
    assert whole.advance(1) and parted.advance(1)
    # Without batch statistics both are the mean gradient over the same 16 images, summed in another order.
    difference = float((weights(whole) - weights(parted)).abs().max())
    assert (difference < 1e-5) is same
    if same:
        assert parted.losses == pytest.approx(whole.losses, rel=1e-5)


def test_a_micro_batch_may_be_smaller_than_the_others(data: DataSet) -> None:
    one = trial("max(x, 0) / std_wh(x)", data, batch=10)
    whole, parted = one.first, one.training(one.protocol.anchors[0], micro_batch=4)
    assert whole.advance(1) and parted.advance(1)
    assert float((weights(whole) - weights(parted)).abs().max()) < 1e-5
    assert whole.advance(6) and parted.advance(6)
    plain = plainly_trained(one.layer, data, replace(one.protocol, backend="reference"), 6)
    assert plain.lately() > 1 / 60  # so that it means something
    # One of the sixty images may lie on the border between classes to within rounding.
    assert (whole.train_accuracy(), parted.train_accuracy()) == pytest.approx((plain.lately(),) * 2, abs=1 / 60 + 1e-6)
