"""The filters that need a network: what they reject, and why."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from evonas.language.graph import Graph
from evonas.language.zoo import FOUND, PUBLISHED, ROWS, zoo
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.candidate import Accept, Reject
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.trial.network_filters import SIGNAL_LIMITS, EarlyFilter, QualityFilter, SignalFilter, filters_of
from evonas.workers.trial.signal_propagation import Signal, measure_signal, signal_fault
from evonas.workers.trial.trial import Trial
from tests.plain_training import plain_accuracy, plainly_trained
from tests.test_evaluate import QUICK


@pytest.fixture(scope="module")
def data() -> DataSet:
    torch.set_num_threads(1)
    return load_dataset("digits")


def trial(text: str, data: DataSet, protocol: EvaluationProtocol = QUICK) -> Trial:
    return Trial(LayerFactory(Graph.parse(text)), protocol, data)


@pytest.mark.parametrize("name", [row.name for row in (*PUBLISHED, *FOUND)])
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
    assert signal_fault(GOOD, SIGNAL_LIMITS) is None
    assert signal_fault(replace(GOOD, **{name: low}), SIGNAL_LIMITS) is None
    assert signal_fault(replace(GOOD, **{name: low - 0.01}), SIGNAL_LIMITS) == f"{name} too low"
    assert signal_fault(replace(GOOD, **{name: high + 0.01}), SIGNAL_LIMITS) == f"{name} too high"
    assert signal_fault(replace(GOOD, finite=False), SIGNAL_LIMITS) == "not finite at initialisation"


class _Features(nn.Module):
    """A network whose features are known: the images, flattened and scaled."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.first, self.last = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.first.weight, 3.0)
        nn.init.constant_(self.last.weight, -0.5)
        self.unused = nn.Linear(4, 3)  # as squeeze-and-excitation has: the classifier is the last one
        self.classifier = nn.Linear(4, 3)
        self.classifier.bias.data -= 500.0  # so that the largest logit in size is negative

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        gate = self.unused(images.flatten(1)).sum() * 0.0
        logits: torch.Tensor = self.classifier(self.scale * self.last(self.first(images)).flatten(1)) + gate
        return logits


def test_measurements_of_a_network_that_can_be_checked_by_hand() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(32, 1, 2, 2), torch.randint(3, (32,))
    model = _Features(100.0)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    signal = measure_signal(model, images, labels)
    pixels = images.double().numpy().reshape(32, 4)
    rms, spread = np.sqrt(np.mean(pixels**2)), np.sqrt(np.mean((pixels - pixels.mean(0)) ** 2))
    # The features are 100 · 3 · -0.5 times the pixels. By the chain rule, the slope by a convolution's one weight is
    # the other's weight times one sum.
    classes, bias = (model.classifier.get_parameter(name).detach().double().numpy() for name in ("weight", "bias"))
    logits = -150 * pixels @ classes.T + bias
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    wrong = (shares - np.eye(3)[labels.numpy()]) / 32
    common = 100 * abs(np.sum(wrong @ classes * pixels))
    # float32 passes through a network: six digits.
    assert signal.scale == pytest.approx(math.log10(150 * rms), abs=1e-5)
    assert signal.diversity == pytest.approx(math.log10(spread / rms), abs=1e-5)
    assert signal.gradient == pytest.approx(math.log10(common * math.hypot(3, 0.5)), abs=1e-4)
    # The first is common · 0.5 over a weight of 3, the last common · 3 over one of 0.5.
    assert signal.balance == pytest.approx(math.log10((0.5 / 3) / (3 / 0.5)), abs=1e-5)
    assert signal.logits == pytest.approx(-logits.min(), rel=1e-5)
    # Equal images are alike exactly, up to the rounding of their mean.
    assert measure_signal(model, images[:1].expand(8, 1, 2, 2), labels[:8]).diversity < -6
    # The model is not changed.
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not measure_signal(model, images * float("inf"), labels).finite


def test_the_signal_is_that_of_the_first_batch_at_the_start(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        "evonas.workers.trial.network_filters.measure_signal", lambda model, *batch: seen.extend(batch) or GOOD
    )
    assert SignalFilter().judge(trial("x / std_bwh(x)", data)) == Accept()
    expected = data.batches(QUICK.seed, QUICK.batch)[0]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_early_and_quality_accept_and_reject_by_their_floor(data: DataSet) -> None:
    """Their values equal those of a training that is written out, after the steps of each filter."""
    protocol = replace(QUICK, steps=14, batch=32, backend="reference")
    one = trial("x / std_bwh(x)", data, protocol)
    early = EarlyFilter(12, 0.0).judge(one)
    assert isinstance(early, Accept) and one.first.step == 12
    # In each of ten batches of 32, and among the validation images, one may lie on the border to within rounding.
    plain = plainly_trained(one.layer, data, protocol, 13)
    assert early.value == pytest.approx(sum(plain.found[2:12]) / 10, abs=1 / 320 + 1e-9)
    assert EarlyFilter(12, 1.1).judge(one) == Reject("at chance", early.value)
    quality = QualityFilter(13, 0.0).judge(one)
    assert isinstance(quality, Accept) and one.first.step == 13
    found, other = (plain_accuracy(plain.model, part.images, part.labels) for part in (data.validation, data.test))
    assert quality.value == pytest.approx(found, abs=2 / len(data.validation)) and abs(found - other) > 0.005
    assert QualityFilter(13, 1.1).judge(one) == Reject("low accuracy", quality.value)
    # An accuracy that equals the floor is enough.
    assert QualityFilter(13, quality.value).judge(one) == quality
    assert EarlyFilter(13, one.first.train_accuracy()).judge(one) == Accept(one.first.train_accuracy())
    assert EarlyFilter(2, 0.0).name == "early-2" and QualityFilter(3, 0.0).name == "quality"


def test_what_diverges_is_rejected_with_that_reason(data: DataSet) -> None:
    for judge in (EarlyFilter(5, 0.0), QualityFilter(5, 0.0)):
        assert judge.judge(trial("exp(exp(x))", data)) == Reject("training diverged")


def test_the_protocol_chooses_the_filters() -> None:
    names = [judge.name for judge in filters_of(EvaluationProtocol())]
    assert names[0] == "signal" and names[-1] == "quality" and len(set(names)) == len(names)
    assert [judge.name for judge in filters_of(QUICK)] == ["signal", "early-2", "quality"]
    assert [judge.name for judge in filters_of(replace(QUICK, signal=False))] == ["early-2", "quality"]
    # Early stages come before the quality test, which comes no later than the end of training.
    late = replace(QUICK, early_steps=(2, 3, 4), early_floors=(0.0, 0.1, 0.2))
    assert filters_of(late)[1:] == [EarlyFilter(2, 0.0), QualityFilter(3, 0.0)]
    assert filters_of(replace(late, steps=2))[1:] == [QualityFilter(2, 0.0)]
    assert filters_of(replace(late, quality_step=9))[1:] == [
        EarlyFilter(2, 0.0),
        EarlyFilter(3, 0.1),
        QualityFilter(4, 0.0),
    ]
    assert [j.name for j in filters_of(replace(QUICK, early_steps=(), early_floors=()))] == ["signal", "quality"]
