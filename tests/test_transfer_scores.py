"""How layers are scored and compared on other tasks: which images, which seeds, which direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evonas.layers.layer_factory import LayerFactory
from evonas.layers.norm_act import computed_by
from evonas.reruns.task_transfer import transfer
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.data.digits import clean_digits
from evonas.workers.data.splits import Split
from evonas.workers.transfer import classification, generation, segmentation
from evonas.workers.transfer.canvases import CLASSES, compose

LAYER = LayerFactory.published("bn-relu")

VALUES: dict[str, dict[int, float | None]] = {
    "bn-relu": {3: 0.5, 1: 0.25, 2: None},
    "dyt": {3: 0.25, 1: 0.5, 2: 0.75},
    "rmsnorm": {3: None, 1: None, 2: None},
    "gn-relu": {3: 1.0, 1: None, 2: 0.5},
}


@pytest.mark.parametrize(
    ("task", "order"),
    [
        ("segmentation", ["gn-relu", "dyt", "bn-relu", "rmsnorm"]),
        ("generation", ["bn-relu", "dyt", "gn-relu", "rmsnorm"]),
    ],
)
def test_layers_are_compared_over_seeds_that_both_have_a_value_of(
    task: str, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {LayerFactory.published(name).graph: name for name in VALUES}

    def trainer(asked: str, steps: int) -> Callable[[LayerFactory, int], float | None]:
        assert (asked, steps) == (task, 7)
        return lambda layer, seed: VALUES[named[layer.graph]][seed]

    monkeypatch.setattr("evonas.reruns.task_transfer._trainer", trainer)
    rows = transfer(["dyt", "rmsnorm"], task, seeds=(3, 1, 2), steps=7, references=("bn-relu", "gn-relu"))
    assert [row.layer for row in rows] == order  # best first; without a value last
    found = {row.layer: row for row in rows}
    assert [found[name].mean for name in VALUES] == [0.375, 0.5, None, 0.75]
    assert [list(found[name].diverged) for name in VALUES] == [[2], [], [3, 1, 2], [1]]
    # Less BN-ReLU: seeds 3 and 1 of DyT, seed 3 alone of GN-ReLU.
    dyt, group = found["dyt"].versus, found["gn-relu"].versus
    assert dyt is not None and (dyt.difference, dyt.pairs) == (0.0, 2)
    # A quarter worse with one seed, better with the other: there is no significant difference.
    assert dyt.p == pytest.approx(1.0) and dyt.interval is not None and dyt.interval.high > 0.25
    assert group is not None and (group.difference, group.pairs) == (0.5, 1)
    assert found["rmsnorm"].versus is None and found["bn-relu"].versus is None


def test_a_canvas_names_each_pixel_by_the_digit_that_is_brightest_there() -> None:
    """Digits are distinguished by brightness: 3 is white, 5 is grey, and pieces of both are background."""
    images = torch.stack([torch.full((1, 8, 8), value) for value in (1.0, 0.6)])
    canvases, classes = compose(Split(images, torch.tensor([3, 5])), 60, torch.Generator().manual_seed(1))
    assert set(classes.unique().tolist()) == {0, 4, 6}
    # Brightness falls off at the rims of digits: most of each has that of its middle, up to noise of 0.1.
    assert canvases[:, 0][classes == 4].median() == pytest.approx(1.0, abs=0.05)
    assert canvases[:, 0][classes == 6].median() == pytest.approx(0.6, abs=0.05)
    background = canvases[:, 0][classes == 0]
    assert 0.02 < (background > 0.8).float().mean() < 0.2 and background.median().abs() < 0.1
    (one,) = {int(c) for c in compose(Split(images[:1], torch.tensor([7])), 4, torch.Generator())[1].unique()} - {0}
    assert one == 8


def test_segmentation_is_trained_on_training_digits_and_scored_on_test_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    canvases: list[Tensor] = []

    def noted(drawn: Split, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        asked.append((len(drawn), count))
        images, classes = compose(drawn, count, generator)
        canvases.append(images)
        return images, classes

    monkeypatch.setattr(segmentation, "compose", noted)
    monkeypatch.setattr(segmentation, "_TESTED", 60)
    modes: list[bool] = []

    class Watched(segmentation.UNet):
        def forward(self, x: Tensor) -> Tensor:
            modes.append(self.training)
            return super().forward(x)

    monkeypatch.setattr(segmentation, "UNet", Watched)
    for seed in (0, 1):
        assert segmentation.segment(LAYER, seed, 2) is not None
    assert asked == 2 * [(1000, 16), (1000, 16), (397, 60)]
    assert modes == 2 * [True, True, False, False]  # the test canvases come in two parts
    assert not torch.equal(canvases[0], canvases[1]) and not torch.equal(canvases[0], canvases[3])
    assert torch.equal(canvases[2], canvases[5])  # the same for everyone


def test_pixels_are_counted_by_class_and_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that predicts background for every digit, and class 2 for background."""
    images, wanted = torch.zeros(60, 1, 4, 4), torch.randint(CLASSES, (60, 4, 4))
    images[:, 0] = wanted.float()
    monkeypatch.setattr(segmentation, "compose", lambda *_: (images, wanted))

    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found = torch.where(x[:, 0] == 0, 2, 0)
            return nn.functional.one_hot(found, CLASSES).permute(0, 3, 1, 2).float()

    counts = segmentation._confusion(Wrong())
    of_class = torch.bincount(wanted.flatten(), minlength=CLASSES)
    expected = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    expected[0, 2], expected[1:, 0] = of_class[0], of_class[1:]
    assert torch.equal(counts, expected)


def test_images_of_a_generator_are_compared_with_test_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Tensor] = []
    monkeypatch.setattr(generation, "features", lambda images: images)
    monkeypatch.setattr(generation, "frechet_distance", lambda *sets: compared.extend(sets) or 1.5)
    assert generation.generate(LAYER, 0, 1) == 1.5
    drawn, real = compared
    assert drawn.shape == (2000, 1, 8, 8) and torch.equal(real, clean_digits("test").images)
    # In evaluation mode: an image does not depend on those that are drawn with it.
    assert float(drawn.std(0).mean()) > 0.0 and bool((drawn >= 0).all()) and bool((drawn <= 1).all())


def test_generator_and_discriminator_are_trained_in_opposite_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some steps, the discriminator separates real images from fixed generated ones better than before."""
    torch.manual_seed(0)
    made, judge = generation.Generator(LAYER), generation.Discriminator()
    computed_by(made, "reference")
    real = clean_digits("train").first(256)
    with torch.no_grad():
        drawn = made.train()(torch.randn(256, 16), real.labels)

    @torch.no_grad()
    def gap() -> float:
        judge.eval()  # or each call would change what spectral normalisation divides by
        apart = float((judge(real.images, real.labels) - judge(drawn, real.labels)).mean())
        judge.train()
        return apart

    before = gap()
    monkeypatch.setattr(generation, "frechet_distance", lambda *_: 0.0)
    monkeypatch.setattr(generation, "features", lambda images: images)
    assert generation._trained_distance(made, judge, 0, 12) is not None
    assert gap() > before + 0.01


def test_classification_is_scored_on_test_images_of_its_own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Noted:
        def __init__(self, anchor: str, layer: LayerFactory, data: object, protocol: EvaluationProtocol) -> None:
            asked.extend((anchor, protocol.anchors, protocol.seed, protocol.steps))

        def advance(self, to_step: int) -> bool:
            asked.append(to_step)
            return len(asked) < 10

        def accuracy(self, split: str) -> str:
            return split

    monkeypatch.setattr(classification, "Training", Noted)
    assert classification.classify(LAYER, 5, 30) == "test"  # type: ignore[comparison-overlap]  # the name of the split
    assert asked == ["vgg-small", ("vgg-small",), 5, 30, 30]
    asked.extend([None] * 5)
    assert classification.classify(LAYER, 5, 30) is None
