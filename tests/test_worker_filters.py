"""The filters that need a network: what they turn away, and why."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from evonas.candidate import Accept, Reject
from evonas.graph import Graph
from evonas.layer import LayerFactory
from evonas.protocol import Protocol
from evonas.published import ROWS, zoo
from evonas.workers.data import DataSet, load_dataset
from evonas.workers.filters import SIGNAL_LIMITS, EarlyFilter, QualityFilter, SignalFilter, filters_of
from evonas.workers.signal import Signal, measure, unfit
from evonas.workers.trial import Trial
from tests.test_evaluate import QUICK


@pytest.fixture(scope="module")
def data() -> DataSet:
    torch.set_num_threads(1)
    return load_dataset("digits")


def trial(text: str, data: DataSet, protocol: Protocol = QUICK) -> Trial:
    return Trial(LayerFactory(Graph.parse(text)), protocol, data)


@pytest.mark.parametrize("name", zoo)
def test_the_signal_filter_accepts_every_published_layer(name: str, data: DataSet) -> None:
    """With the batch of the default protocol, whose limits these are."""
    protocol = replace(QUICK, batch=64)
    layer = LayerFactory(zoo[name], Graph.parse(ROWS[name].linear) if ROWS[name].linear else None)
    for factory in (layer, LayerFactory(zoo[name])):
        assert isinstance(SignalFilter().judge(Trial(factory, protocol, data)), Accept)


HOPELESS = [
    ("v1 * square(square(x))", "finite at initialisation"),
    ("exp(square(x))", "finite at initialisation"),
    ("x * square(x)", ""),
    # All inputs of a batch become alike.
    ("mean_bwh(x) + v0 * x", "diversity too low"),
    # v0 starts at 0: no signal at all.
    ("v0 * x", "too low"),
    # Each layer multiplies by far more than 10.
    ("x * exp(exp(exp(exp(0))))", ""),
]


@pytest.mark.parametrize(("text", "words"), HOPELESS)
def test_the_signal_filter_rejects_what_no_training_rescues(text: str, words: str, data: DataSet) -> None:
    one = trial(text, data)
    verdict = SignalFilter().judge(one)
    assert isinstance(verdict, Reject) and words in verdict.reason and verdict.reason
    assert one.first.step == 0  # at the price of one forward and one backward pass


GOOD = Signal(finite=True, scale=0.0, diversity=0.0, gradient=0.0, balance=0.0, logits=1.0)


@pytest.mark.parametrize(("name", "low", "high"), SIGNAL_LIMITS)
def test_each_limit_is_kept_on_both_sides(name: str, low: float, high: float) -> None:
    assert unfit(GOOD, SIGNAL_LIMITS) is None
    assert unfit(replace(GOOD, **{name: low}), SIGNAL_LIMITS) is None
    assert unfit(replace(GOOD, **{name: low - 0.01}), SIGNAL_LIMITS) == f"{name} too low"
    assert unfit(replace(GOOD, **{name: high + 0.01}), SIGNAL_LIMITS) == f"{name} too high"
    assert unfit(replace(GOOD, finite=False), SIGNAL_LIMITS) == "not finite at initialisation"


class _Features(nn.Module):
    """A network whose features are known: the images, flattened and scaled."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.first, self.last = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.first.weight)
        nn.init.ones_(self.last.weight)
        self.classifier = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.scale * self.last(self.first(images)).flatten(1))
        return logits


def test_measurements_of_a_network_that_can_be_checked_by_hand() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(32, 1, 2, 2), torch.randint(3, (32,))
    model = _Features(100.0)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    signal = measure(model, images, labels)
    rms = float(images.square().mean().sqrt())
    spread = float((images - images.mean(0)).square().mean().sqrt())
    # float32 passes through a network: six digits.
    assert signal.scale == pytest.approx(2 + math.log10(rms), abs=1e-5)
    assert signal.diversity == pytest.approx(math.log10(spread / rms), abs=1e-5)
    assert signal.balance == pytest.approx(0.0, abs=1e-5)  # two equal convolutions in a row
    assert signal.logits == pytest.approx(float(model(images).detach().abs().max()), rel=1e-5)
    # Equal images are alike exactly, up to the rounding of their mean.
    assert measure(model, images[:1].expand(8, 1, 2, 2), labels[:8]).diversity < -6
    # The model is left as it was.
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not measure(model, images * float("inf"), labels).finite


def test_early_and_quality_accept_and_reject_by_their_floor(data: DataSet) -> None:
    one = trial("tanh(v1 * x)", data)
    early = EarlyFilter(2, 0.0).judge(one)
    assert isinstance(early, Accept) and early.value == one.first.train_accuracy()
    assert EarlyFilter(2, 1.1).judge(one) == Reject("at chance", early.value)
    quality = QualityFilter(3, 0.0).judge(one)
    assert isinstance(quality, Accept) and quality.value == one.first.accuracy("validation")
    assert QualityFilter(3, 1.1).judge(one) == Reject("low accuracy", quality.value)
    # An accuracy that equals the floor is enough.
    assert QualityFilter(3, quality.value).judge(one) == quality
    assert EarlyFilter(2, 0.0).name == "early-2" and QualityFilter(3, 0.0).name == "quality"


def test_what_diverges_is_rejected_with_that_reason(data: DataSet) -> None:
    for judge in (EarlyFilter(5, 0.0), QualityFilter(5, 0.0)):
        assert judge.judge(trial("exp(exp(x))", data)) == Reject("training diverged")


def test_the_protocol_chooses_the_filters() -> None:
    names = [judge.name for judge in filters_of(Protocol())]
    assert names[0] == "signal" and names[-1] == "quality" and len(set(names)) == len(names)
    assert [judge.name for judge in filters_of(QUICK)] == ["signal", "early-2", "quality"]
    assert [judge.name for judge in filters_of(replace(QUICK, signal=False))] == ["early-2", "quality"]
    assert [j.name for j in filters_of(replace(QUICK, early_steps=(), early_floors=()))] == ["signal", "quality"]
