"""Training in stages: reproducible, reports divergence, orders layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UsageError
from evonas.workers.anchors import ANCHORS
from evonas.workers.data import DataSet, load_dataset
from evonas.workers.training import Training, TrainingSettings
from tests.test_anchors import BatchNormRelu


class Relu:
    """No normalisation at all."""

    def norm_act(self, channels: int) -> nn.Module:
        return nn.ReLU()

    def norm(self, channels: int) -> nn.Module:
        return nn.Identity()


class Blow(nn.Module):
    """Multiplies what it gets by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Diverging(Relu):
    def norm_act(self, channels: int) -> nn.Module:
        return Blow(1e4)


class NotANumber(Relu):
    def norm_act(self, channels: int) -> nn.Module:
        return Blow(float("nan"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load_dataset("digits")


SHORT = TrainingSettings(steps=12, batch=32)


@pytest.mark.parametrize("name", ANCHORS)
def test_reproducible_to_the_bit_whatever_the_random_state_and_stages(name: str, digits: DataSet) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = Training(name, BatchNormRelu(), digits, SHORT, seed=3)
    assert one.advance(12)
    scores = one.accuracy("validation", 400), one.accuracy("test", 100)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    two = Training(name, BatchNormRelu(), digits, SHORT, seed=3)
    assert two.advance(5) and two.step == 5
    two.accuracy("validation", 100)  # looking in between changes nothing
    assert two.advance(12) and two.step == 12
    assert one.losses == two.losses and len(one.losses) == 12
    assert scores == (two.accuracy("validation", 400), two.accuracy("test", 100))
    for a, b in zip(one.model.state_dict().values(), two.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_another_seed_is_another_training(digits: DataSet) -> None:
    losses = []
    for seed in (0, 1, -1):
        training = Training("resnet-small", BatchNormRelu(), digits, SHORT, seed)
        training.advance(2)
        losses.append(training.losses[1])
    assert len(set(losses)) == 3


def test_advancing_to_a_step_already_done_does_nothing(digits: DataSet) -> None:
    training = Training("resnet-small", BatchNormRelu(), digits, SHORT, 0)
    assert training.advance(3) and training.advance(2) and training.step == 3 == len(training.losses)


@pytest.mark.parametrize("layer", [Diverging(), NotANumber()])
def test_divergence_is_reported_and_stays(layer: Relu, digits: DataSet) -> None:
    training = Training("resnet-small", layer, digits, SHORT, 0)
    assert not training.advance(12)
    assert training.diverged and training.step < 12
    step, losses = training.step, list(training.losses)
    assert not training.advance(12)
    assert training.step == step and len(training.losses) == len(losses) == step + 1
    training.accuracy("validation", 50)  # still answers


def test_outputs_that_are_not_finite_count_as_wrong(digits: DataSet) -> None:
    # argmax takes NaN for the largest, so class 0 would be "found" in a tenth of the images.
    training = Training("resnet-small", NotANumber(), digits, SHORT, 0)
    assert training.accuracy("validation", 200) == 0.0


def test_a_model_goes_back_to_training_mode_after_scoring(digits: DataSet) -> None:
    training = Training("resnet-small", BatchNormRelu(), digits, SHORT, 0)
    training.accuracy("validation", 10)
    assert training.model.training


def test_normalisation_learns_more_than_relu_alone(digits: DataSet) -> None:
    settings = TrainingSettings(steps=60)
    trainings = [Training("resnet-small", layer, digits, settings, 0) for layer in (BatchNormRelu(), Relu())]
    for training in trainings:
        training.advance(60)
    normalised, plain = (training.accuracy("validation") for training in trainings)
    # Chance is 0.1. Over seeds the two are some 0.3 apart with a spread of some 0.05.
    assert normalised > plain + 0.1 and normalised > 0.25
    assert trainings[0].train_accuracy() > 0.25


def test_train_accuracy_before_the_first_step_is_zero(digits: DataSet) -> None:
    assert Training("resnet-small", Relu(), digits, SHORT, 0).train_accuracy() == 0.0


def test_learning_rate_schedules() -> None:
    assert TrainingSettings(schedule="constant").lr_at(99) == 0.1
    cosine = TrainingSettings(steps=10, lr=0.2, schedule="cosine")
    rates = [cosine.lr_at(step) for step in range(12)]
    assert rates[0] == 0.2 and rates[5] == pytest.approx(0.1) and rates[10] == rates[11] == pytest.approx(0)
    assert rates[:11] == sorted(rates[:11], reverse=True)


@pytest.mark.parametrize(
    "bad",
    [{"steps": 0}, {"batch": 0}, {"lr": float("inf")}, {"lr": 0.0}, {"momentum": 0.0}, {"weight_decay": -1.0},
     {"schedule": "step"}],
)  # fmt: skip
def test_settings_out_of_range_are_named(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        TrainingSettings(**bad)  # type: ignore[arg-type]
