"""Training in stages: reproducible, reports divergence, orders layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UsageError
from evonas.language.zoo import as_graph
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.make_executor import make_executor
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet, from_splits
from evonas.workers.data.splits import Split
from evonas.workers.trial.evaluate import load_data
from evonas.workers.trial.training import _LOSS_CHECK_STEPS, Training, lr_at
from tests.plain_training import plain_accuracy, plainly_trained
from tests.test_anchors import BatchNormRelu


class Relu:
    """No normalisation at all."""

    def norm_act(self, channels: int) -> nn.Module:
        return nn.ReLU()

    def norm(self, channels: int) -> nn.Module:
        return nn.Identity()


class Blow(nn.Module):
    """Multiplies its input by a constant."""

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


SHORT = EvaluationProtocol(steps=12, batch=32)
SMALL = SHORT.anchors


@pytest.mark.parametrize("name", SMALL)
def test_reproducible_to_the_bit_whatever_the_random_state_and_stages(name: str, digits: DataSet) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = Training(name, BatchNormRelu(), digits, replace(SHORT, seed=3))
    assert one.advance(12)
    scores = one.accuracy("validation", 400), one.accuracy("test", 100)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    two = Training(name, BatchNormRelu(), digits, replace(SHORT, seed=3))
    assert two.advance(5) and two.step == 5
    two.accuracy("validation", 100)  # looking in between changes nothing
    assert two.advance(12) and two.step == 12
    assert one.losses == two.losses and len(one.losses) == 12
    assert scores == (two.accuracy("validation", 400), two.accuracy("test", 100))
    for a, b in zip(one.model.state_dict().values(), two.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_another_seed_is_another_training(digits: DataSet) -> None:
    losses = []
    for seed in (0, 1, 2):
        training = Training("resnet-small", BatchNormRelu(), digits, replace(SHORT, seed=seed))
        training.advance(2)
        losses.append(training.losses[1])
    assert len(set(losses)) == 3


def test_advancing_to_a_step_already_done_does_nothing(digits: DataSet) -> None:
    training = Training("resnet-small", BatchNormRelu(), digits, SHORT)
    assert training.advance(3) and training.advance(2) and training.step == 3 == len(training.losses)


@pytest.mark.parametrize("layer", [Diverging(), NotANumber()])
def test_divergence_is_reported_and_stays(layer: Relu, digits: DataSet) -> None:
    training = Training("resnet-small", layer, digits, SHORT)
    assert not training.advance(12)
    assert training.diverged and training.step < 12
    step, losses = training.step, list(training.losses)
    assert not training.advance(12)
    assert training.step == step and len(training.losses) == len(losses) == step + 1
    training.accuracy("validation", 50)  # still answers


def test_outputs_that_are_not_finite_count_as_wrong(digits: DataSet) -> None:
    # argmax takes NaN for the largest, so class 0 would be "found" in a tenth of the images.
    training = Training("resnet-small", NotANumber(), digits, SHORT)
    assert training.accuracy("validation", 200) == 0.0


def test_a_model_goes_back_to_training_mode_after_scoring(digits: DataSet) -> None:
    training = Training("resnet-small", BatchNormRelu(), digits, SHORT)
    training.accuracy("validation", 10)
    assert training.model.training


def test_normalisation_learns_more_than_relu_alone(digits: DataSet) -> None:
    settings = EvaluationProtocol(steps=60)
    trainings = [Training("resnet-small", layer, digits, settings) for layer in (BatchNormRelu(), Relu())]
    for training in trainings:
        training.advance(60)
    normalised, plain = (training.accuracy("validation") for training in trainings)
    # Chance is 0.1. Over seeds the two are some 0.3 apart with a spread of some 0.05.
    assert normalised > plain + 0.1 and normalised > 0.25
    assert trainings[0].train_accuracy() > 0.25


def test_train_accuracy_before_the_first_step_is_zero(digits: DataSet) -> None:
    assert Training("resnet-small", Relu(), digits, SHORT).train_accuracy() == 0.0


def test_learning_rate_schedules() -> None:
    assert lr_at(EvaluationProtocol(schedule="constant"), 99) == 0.1
    cosine = EvaluationProtocol(steps=10, lr=0.2, schedule="cosine")
    rates = [lr_at(cosine, step) for step in range(12)]
    assert rates[0] == 0.2 and rates[5] == pytest.approx(0.1) and rates[10] == rates[11] == pytest.approx(0)
    assert rates[:11] == sorted(rates[:11], reverse=True)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_training_is_the_loop_that_the_protocol_describes(schedule: str, digits: DataSet) -> None:
    """Some steps in stages equal a loop written out: learning rates, momentum, decay, batches and accuracies."""
    protocol = replace(SHORT, seed=2, steps=14, weight_decay=0.01, backend="reference", schedule=schedule)  # type: ignore[arg-type]
    layer = LayerFactory(as_graph("evonorm-s0"))
    training = Training("resnet-small", layer, digits, protocol)
    assert training.advance(5) and training.advance(13)
    plain = plainly_trained(layer, digits, protocol, 13, "resnet-small")
    # Sums in another order: the 1e-6 of float32 is magnified some tenfold by each few steps at a rate of 0.1. A rate
    # that is one step early or late moves the second loss by 1e-2 and more.
    assert training.losses == pytest.approx(plain.losses, abs=1e-3)
    # One image of a batch may lie that close to the border between classes.
    assert training.train_accuracy() == pytest.approx(plain.lately(), abs=1 / 32 / 10 + 1e-9)
    assert training.train_accuracy() != pytest.approx(sum(plain.found) / 13, abs=0.005)  # ten of them, not all
    for split in ("validation", "test"):
        part: Split = getattr(digits, split)
        assert len(part) > 1000  # more than are evaluated at once
        expected = plain_accuracy(plain.model, part.images, part.labels)
        assert training.accuracy(split) == pytest.approx(expected, abs=3 / len(part))  # type: ignore[arg-type]
        first = plain_accuracy(plain.model, part.images[:250], part.labels[:250])
        assert training.accuracy(split, 250) == pytest.approx(first, abs=1 / 250 + 1e-9)  # type: ignore[arg-type]


def test_the_protocol_sets_the_optimiser(digits: DataSet) -> None:
    protocol = replace(SHORT, momentum=0.5, weight_decay=0.01, lr=0.05, schedule="constant")
    training = Training("resnet-small", BatchNormRelu(), digits, protocol)
    before = [weight.detach().clone() for weight in training.model.parameters()]
    images, labels = training.batch(0)
    nn.functional.cross_entropy(training.model(images), labels).backward()
    slopes = [weight.grad.clone() for weight in training.model.parameters() if weight.grad is not None]
    training = Training("resnet-small", BatchNormRelu(), digits, protocol)
    training.advance(1)
    for old, slope, new in zip(before, slopes, training.model.parameters(), strict=True):
        # The first step of Nesterov's method is (1 + momentum) times that of plain descent; float32 rounding
        # of numbers of about 1, and of slopes of up to some 1.
        torch.testing.assert_close(new, old - 0.05 * 1.5 * (slope + 0.01 * old), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("anchor", SMALL)  # at a rate of 0.1 without a warm-up, a full-size network may diverge
@pytest.mark.parametrize("layer", ["evonorm-b0", "gn-relu"])
def test_mixed_precision_trains(anchor: str, layer: str, digits: DataSet) -> None:
    types = []
    placed = LayerFactory(as_graph(layer))
    mixed = Training(anchor, placed, digits, replace(SHORT, precision="bfloat16"))
    next(m for m in mixed.model.modules() if isinstance(m, nn.Conv2d)).register_forward_hook(
        lambda _, inputs, output: types.append(output.dtype)
    )
    assert mixed.advance(12)
    assert set(types) == {torch.bfloat16} and {w.dtype for w in mixed.model.parameters()} == {torch.float32}
    assert 0.0 <= mixed.accuracy("validation", 400) <= 1.0 and len(types) == 14  # evaluated in the same type
    whole = Training(anchor, placed, digits, SHORT)
    whole.advance(12)
    # bfloat16 rounds by up to 1/256; at initialisation, before errors feed on themselves, that is a change
    # of the loss (some 2.3 nats) by a few hundredths.
    assert mixed.losses != whole.losses and mixed.losses[0] == pytest.approx(whole.losses[0], abs=0.1)


def test_float16_scales_its_loss(digits: DataSet) -> None:
    training = Training("resnet-small", BatchNormRelu(), digits, replace(SHORT, precision="float16"))
    before = [weight.detach().clone() for weight in training.model.parameters()]
    assert training.advance(4) and training.step == 4
    scale = training._scaler.get_scale() if training._scaler else 0.0
    assert 1.0 < scale <= 65536.0  # the start of PyTorch's scaler, halved by each gradient beyond float16
    moved = [not torch.equal(a, b) for a, b in zip(before, training.model.parameters(), strict=True)]
    assert all(moved) or scale == 65536.0 / 2**4


@pytest.mark.parametrize("anchor", SMALL)
def test_channels_last_is_the_same_training_up_to_rounding(anchor: str, digits: DataSet) -> None:
    layer = LayerFactory(as_graph("evonorm-s0"))
    one, two = (Training(anchor, layer, digits, replace(SHORT, channels_last=last)) for last in (False, True))
    weights = [m.weight for m in two.model.modules() if isinstance(m, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    one.advance(4), two.advance(4)
    # Sums in another order; four steps at a rate of 0.1 magnify the 1e-6 of float32 some hundredfold.
    assert one.losses == pytest.approx(two.losses, abs=1e-3)
    # An image or two of 400 may lie that close to the border between classes.
    assert one.accuracy("validation", 400) == pytest.approx(two.accuracy("validation", 400), abs=0.01)


def test_crops_and_mirror_images_are_trained_on(digits: DataSet) -> None:
    protocol = replace(SHORT, pad=1, crop=10, flip=True)
    training = Training("resnet-small", BatchNormRelu(), digits, protocol)
    assert training.batch(0)[0].shape == (32, 1, 10, 10)
    assert training.advance(2)
    again = Training("resnet-small", BatchNormRelu(), digits, protocol)
    again.advance(2)
    assert training.losses == again.losses
    assert training.accuracy("validation", 100) == again.accuracy("validation", 100)  # whole images


def test_raw_bytes_are_standardised_for_training_and_for_scoring() -> None:
    images = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8)
    images[30:] //= 4  # the classes differ in brightness, which is easily learned
    split = Split(images, torch.arange(60) // 30)
    data = from_splits("bytes", 2, split, split, split)
    training = Training("resnet-small", BatchNormRelu(), data, replace(SHORT, batch=20))
    seen = []
    training.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    training.advance(12)
    # Running statistics lag behind after a few steps, so a few images may be missed; chance is 0.5.
    assert training.accuracy("test") > 0.8
    # Batches of all images together are standardised exactly; the one of 60 to rounding.
    assert seen[-1].shape[0] == 60 and abs(float(seen[-1].mean())) < 1e-5


def test_the_time_of_a_step_is_the_median_without_the_first(digits: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training("resnet-small", BatchNormRelu(), digits, SHORT)
    assert training.step_seconds is None
    # The time at the start and end of each step: they take 100, 100, 100, 1, 2, 30 s, with pauses between.
    clock = map(float, [0, 100, 200, 300, 400, 500, 600, 601, 700, 702, 1000, 1030])
    monkeypatch.setattr("evonas.workers.trial.training.perf_counter", lambda: next(clock))
    training.advance(3)
    assert training.step_seconds == 100.0  # there are no others yet
    training.advance(5)
    assert training.step_seconds == 1.5
    training.advance(6)
    assert training.step_seconds == 2.0


def test_late_checks_find_the_step_that_diverged(digits: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where checking the loss in every step would wait for the device in every step."""
    prompt = Training("resnet-small", Diverging(), digits, SHORT)
    prompt.advance(12)
    monkeypatch.setitem(_LOSS_CHECK_STEPS, "cpu", 5)
    late = Training("resnet-small", Diverging(), digits, SHORT)
    assert not late.advance(12) and late.diverged
    assert late.step == prompt.step and str(late.losses) == str(prompt.losses)
    assert late.train_accuracy() == prompt.train_accuracy()
    one, two = Training("resnet-small", BatchNormRelu(), digits, SHORT), None
    monkeypatch.setitem(_LOSS_CHECK_STEPS, "cpu", 1)
    two = Training("resnet-small", BatchNormRelu(), digits, SHORT)
    assert two.advance(12)
    monkeypatch.setitem(_LOSS_CHECK_STEPS, "cpu", 5)
    assert one.advance(7) and len(one.losses) == 7 and one.advance(12)
    assert one.losses == two.losses


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named_before_anything_starts() -> None:
    with pytest.raises(UsageError, match="device is cuda, but PyTorch sees no GPU here"):
        make_executor("local", EvaluationProtocol(device="cuda"), deadline=60.0)


def test_a_crop_that_does_not_fit_is_named_before_anything_starts() -> None:
    assert load_data(EvaluationProtocol(crop=14, pad=1)).name == "digits"
    with pytest.raises(UsageError, match="a crop of 15×15 does not fit"):
        load_data(EvaluationProtocol(crop=15, pad=1))
    assert load_data(EvaluationProtocol(image_size=20)).size == (20, 20)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_gpu_trains_like_a_cpu(precision: str, channels_last: bool, digits: DataSet) -> None:
    protocol = replace(SHORT, steps=40, channels_last=channels_last, pad=1, flip=False)
    layer = LayerFactory(as_graph("evonorm-s0"))
    on_gpu = Training(
        "resnet-small",
        layer,
        digits,
        replace(protocol, device="cuda", precision=precision),  # type: ignore[arg-type]
    )
    on_cpu = Training("resnet-small", layer, digits, protocol)
    assert on_gpu.advance(40) and on_cpu.advance(40) and len(on_gpu.losses) == 40
    # TF32 and bfloat16 keep 8 to 10 bits; the first loss is some 2.3 nats.
    assert on_gpu.losses[0] == pytest.approx(on_cpu.losses[0], abs=0.1)
    assert on_gpu.accuracy("validation") == pytest.approx(on_cpu.accuracy("validation"), abs=0.15)
    assert on_gpu.step_seconds is not None and 1e-4 < on_gpu.step_seconds < 1
    blown = Training("resnet-small", Diverging(), digits, replace(protocol, device="cuda"))
    assert not blown.advance(40) and len(blown.losses) == blown.step + 1 <= 16
