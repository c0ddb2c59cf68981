"""Tasks that no search trains on: their data, networks and measures, and the comparison of layers on them."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
import torch

from evonas.cli import main
from evonas.errors import UsageError
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.norm_act import NormAct
from evonas.reruns.task_transfer import TASKS, transfer
from evonas.workers.data.digits import clean_digits
from evonas.workers.transfer import canvases
from evonas.workers.transfer.canvases import CLASSES, SIZE, compose
from evonas.workers.transfer.frechet import frechet_distance
from evonas.workers.transfer.gan import Discriminator, Generator
from evonas.workers.transfer.segmentation import mean_iou, segment
from evonas.workers.transfer.unet import UNet


def test_training_and_test_digits_are_apart() -> None:
    train, test = clean_digits("train"), clean_digits("test")
    assert (len(train), len(test)) == (1000, 397)
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in test.images)


def test_a_canvas_shows_digits_and_says_where() -> None:
    images, classes = compose(clean_digits("train"), 6, torch.Generator().manual_seed(0))
    assert images.shape == (6, 1, SIZE, SIZE) and classes.shape == (6, SIZE, SIZE)
    assert int(classes.min()) == 0 and int(classes.max()) < CLASSES
    for image, wanted in zip(images, classes, strict=True):
        assert 1 <= len(wanted[wanted > 0].unique()) <= 3
        assert image[0][wanted > 0].mean() > image[0][wanted == 0].mean() + 0.3
    again, _ = compose(clean_digits("train"), 6, torch.Generator().manual_seed(0))
    assert torch.equal(images, again)


def test_a_digit_that_is_neither_turned_nor_moved_is_interpolated_in_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pixels are squares with centres half a pixel from their edges, in the image as on the canvas."""
    monkeypatch.setattr(torch, "rand", lambda *size, generator: torch.full(size, 0.5))
    image = 0.5 + torch.arange(64.0).view(8, 8) / 64
    placed = canvases._placed(image.view(1, 1, 8, 8), torch.Generator().manual_seed(0))
    padded = np.pad(image.double().numpy(), 1)
    across = 12  # pixels of a digit of the middle size
    where = np.clip((np.arange(SIZE) + 0.5 - SIZE / 2) * 8 / across + 8 / 2 - 0.5, -1.0, 8.0) + 1
    low = np.minimum(where.astype(int), 8)
    part = where - low
    rows = padded[low] * (1 - part[:, None]) + padded[low + 1] * part[:, None]
    expected = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    np.testing.assert_allclose(placed[0, 0], expected, atol=1e-5)  # float32, values up to 1.5


def test_the_frechet_distance_of_known_gaussians() -> None:
    random = np.random.default_rng(0)
    a = torch.from_numpy(random.standard_normal((4000, 5)))
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a, a + 2.0) == pytest.approx(5 * 4.0, rel=1e-9)
    # tr(C + s²C − 2sC) = (s − 1)² tr C, and the mean moves by (s − 1) m.
    scaled = frechet_distance(a, 3.0 * a)
    covariance, mean = torch.cov(a.T), a.mean(0)
    assert scaled == pytest.approx(4.0 * float(covariance.trace() + mean.square().sum()), rel=1e-9)
    from scipy.linalg import sqrtm

    b = torch.from_numpy(random.standard_normal((3000, 5)) @ random.standard_normal((5, 5)))
    ca, cb = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = np.trace(np.real(sqrtm(ca @ cb)))
    expected = float((a.mean(0) - b.mean(0)).square().sum()) + np.trace(ca) + np.trace(cb) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)  # two ways to a root, in float64


def test_mean_iou() -> None:
    confusion = torch.tensor([[3, 1, 0], [1, 5, 0], [0, 0, 0]])
    # In float64, which a count of pixels of many images needs: an ulp or two is lost.
    assert mean_iou(confusion) == pytest.approx((3 / 5 + 5 / 7) / 2, rel=1e-15, abs=0.0)


def test_networks_hold_the_layer() -> None:
    layer = LayerFactory.published("evonorm-s0")
    unet, made, judge = UNet(layer, 1, CLASSES), Generator(layer), Discriminator()
    assert sum(isinstance(m, NormAct) for m in unet.modules()) == 10
    assert sum(isinstance(m, NormAct) for m in made.modules()) == 3
    assert unet(torch.randn(2, 1, SIZE, SIZE)).shape == (2, CLASSES, SIZE, SIZE)
    labels = torch.tensor([3, 7])
    images = made(torch.randn(2, 16), labels)
    assert images.shape == (2, 1, 8, 8) and judge(images, labels).shape == (2,)


def test_a_training_is_a_function_of_its_seed_and_learns() -> None:
    layer = LayerFactory.published("bn-relu")
    one, other, longer = (segment(layer, 0, steps) for steps in (2, 2, 25))
    assert one == other and one is not None and longer is not None and longer > one


@pytest.mark.parametrize("task", TASKS)
def test_layers_are_compared(task: str) -> None:
    left: list[int] = []
    rows = transfer(["tanh(x)"], task, seeds=(0, 1), steps=2, references=("bn-relu",), progress=left.append)
    assert left == [4, 3, 2, 1, 0]
    by_layer = {row.layer: row for row in rows}
    assert by_layer.keys() == {"tanh(x)", "bn-relu"}
    assert by_layer["bn-relu"].versus is None
    versus = by_layer["tanh(x)"].versus
    assert versus is not None and versus.pairs == 2
    means = [row.mean for row in rows]
    assert all(mean is not None and math.isfinite(mean) for mean in means)
    assert means == sorted(means, reverse=TASKS[task].larger_is_better)  # type: ignore[type-var]  # none is None


def test_divergence_is_reported() -> None:
    (row,) = transfer(["exp(exp(exp(exp(x * x))))"], "segmentation", seeds=(0,), steps=2, references=())
    assert row.mean is None and list(row.diverged) == [0]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown task 'chess'"):
        transfer(["dyt"], "chess")
    with pytest.raises(UsageError, match="at least one layer"):
        transfer([], "segmentation")
    with pytest.raises(UsageError, match="at least one layer, one seed and one step"):
        transfer(["dyt"], "segmentation", steps=0)
    with pytest.raises(UsageError, match=r"x \+"):
        transfer(["x +"], "segmentation")


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["transfer", "dyt", "--task", "generation", "--seeds", "1", "--steps", "1", "--reference", "bn-relu"]
    monkeypatch.setattr(sys, "argv", ["evonas", *words, "-f", "json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    rows = json.loads(capsys.readouterr().out)
    assert {row["layer"] for row in rows} == {"dyt", "bn-relu"}
