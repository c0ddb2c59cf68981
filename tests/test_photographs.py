"""The crops of photographs: what they are, that splits share no pixel, and the errors for missing pictures."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evonas import EvaluationProtocol
from evonas.errors import UsageError
from evonas.workers.data import photographs
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.data.photographs import (
    CROPS,
    PHOTOGRAPHS,
    SIDES,
    SIZE,
    TILE,
    Crops,
    Part,
    cropped,
    draw_boxes,
    tiles,
    varied,
)
from evonas.workers.data.seeding import seeded_generator
from evonas.workers.trial.training import Training
from tests.test_anchors import BatchNormRelu

PARTS: tuple[Part, ...] = ("train", "validation", "test")


TASKS = pytest.mark.parametrize("task", [CROPS, PHOTOGRAPHS], ids=lambda task: task.name)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_dataset("crops")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [photographs._picture(*row) for row in photographs._PHOTOGRAPHS]


FEW = replace(PHOTOGRAPHS, counts=dict.fromkeys(PARTS, 4))
"""Four crops of each photograph for each split."""


@TASKS
def test_shapes_and_classes_in_turn(task: Crops) -> None:
    data = load_dataset(task.name)
    assert (data.name, data.classes, data.channels, data.size) == (task.name, 19, 1, (SIZE, SIZE))
    for part in PARTS:
        split = getattr(data, part)
        assert split.images.shape == (19 * task.counts[part], 1, SIZE, SIZE) and split.images.dtype == torch.float32
        assert split.images.is_contiguous() and split.labels.dtype == torch.int64
        assert split.labels.bincount(minlength=19).tolist() == 19 * [task.counts[part]]
        for length in (1, 100, 512, len(split) - 1):
            counts = split.first(length).labels.bincount(minlength=19)
            assert counts.max() - counts.min() <= 1
    # A training of so many steps of 64 images, which the number of crops is made for, sees none twice.
    assert len(data.train) >= {"crops": 700, "photographs": 350}[task.name] * 64


def test_tiles_divide_each_photograph_among_the_splits(pictures: list[Image.Image]) -> None:
    for label, picture in enumerate(pictures):
        dealt = tiles(picture.size, label)
        assert list(dealt) == list(PARTS)
        covered = np.zeros((picture.height, picture.width), int)
        for of_part in dealt.values():
            for left, top, right, bottom in of_part.tolist():
                assert min(right - left, bottom - top) >= TILE and max(right - left, bottom - top) < 2 * TILE
                covered[top:bottom, left:right] += 1
        assert (covered == 1).all()
        counts = [len(of_part) for of_part in dealt.values()]
        assert min(counts) >= 1 and counts[1] == counts[2]
        assert abs(counts[0] - 0.6 * sum(counts)) <= 1
        # Dealt out at random: no split has one coherent part, unless there are few tiles.
        assert sum(counts) < 12 or len({left for left, *_ in dealt["validation"].tolist()}) > 1
    other = tiles(pictures[0].size, 1)["test"]
    assert not torch.equal(other, tiles(pictures[0].size, 0)["test"])


def test_no_box_leaves_its_tile(pictures: list[Image.Image]) -> None:
    for label, picture in enumerate(pictures):
        for part, within in tiles(picture.size, label).items():
            left, top, right, bottom, tile = draw_boxes(within, 2000, seeded_generator(part)).T
            low_x, low_y, high_x, high_y = within[tile.long()].T
            assert (
                (left >= low_x).all() and (right <= high_x).all() and (top >= low_y).all() and (bottom <= high_y).all()
            )
            # Squares of all sizes, all over the tiles, which get as many as their areas are large.
            side, largest = right - left, torch.minimum(high_x - low_x, high_y - low_y).clamp(max=SIDES[1])
            assert torch.allclose(side, bottom - top, rtol=0, atol=1e-9)  # the rounding of sums of up to 1,411
            assert (
                SIDES[0] <= side.min() < SIDES[0] + 1 and (side <= largest + 1e-9).all() and (largest - side).min() < 1
            )
            assert (left - low_x).min() < 2 and (high_x - right).min() < 2 and (top - low_y).min() < 2
            # Binomial counts with five deviations.
            share, count = 1 / len(within), torch.bincount(tile.long(), minlength=len(within))
            areas = ((within[:, 2] - within[:, 0]) * (within[:, 3] - within[:, 1])).double()
            expected = 2000 * areas / areas.sum()
            assert ((count - expected).abs() < 5 * (2000 * share) ** 0.5 + 1).all()


@pytest.mark.parametrize("size", [4, 16])
def test_no_pixel_of_another_tile_is_seen(pictures: list[Image.Image], size: int) -> None:
    """Neither directly nor by the filter that resamples, which reaches half a pixel of the result beyond a box."""
    for part in PARTS:
        marked = []
        for label, picture in enumerate(pictures):
            copy = Image.new("L", picture.size, 255)
            for tile in tiles(picture.size, label)[part].tolist():
                copy.paste(0, tuple(tile))
            marked.append(copy)
        assert cropped(FEW, marked, part, size).max() == 0


def test_a_crop_is_the_weighted_mean_of_the_pixels_in_its_box(pictures: list[Image.Image]) -> None:
    """The definition of antialiased bilinear resampling, apart from Pillow: a triangle as wide as two new pixels."""

    def weights(low: float, high: float, length: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        scale = (high - low) / SIZE
        centres = low + (np.arange(SIZE) + 0.5) * scale
        found = np.maximum(0.0, 1 - np.abs(np.arange(length) + 0.5 - centres[:, None]) / max(scale, 1.0))
        return found / found.sum(1, keepdims=True)

    crops = cropped(FEW, pictures, "validation", SIZE)
    for label, picture in enumerate(pictures):
        within = tiles(picture.size, label)["validation"]
        boxes = draw_boxes(within, 4, seeded_generator("photographs", "validation", label))
        for number, (*box, tile) in enumerate(boxes.tolist()):
            x, y, right, bottom = within[int(tile)].tolist()
            pixels = np.asarray(picture, np.float64)[y:bottom, x:right]
            down, across = weights(box[1] - y, box[3] - y, len(pixels)), weights(box[0] - x, box[2] - x, right - x)
            # Pillow rounds to whole numbers after each axis, and versions do so differently.
            assert np.abs(crops[number * 19 + label, 0].numpy() - down @ pixels @ across.T).max() < 1.5


def test_a_crop_is_turned_mirrored_and_standardised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "NOISE", 0.0)
    crop = torch.randint(256, (1, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = varied(crop.expand(2000, -1, -1, -1), torch.Generator().manual_seed(1))
    means, deviations = images.mean((1, 2, 3)), images.std((1, 2, 3), correction=0)
    assert abs(means.mean()) < 0.05 and abs(means.std() - 0.5) < 0.03  # four deviations of 2,000 draws
    full = crop.float().div(255).std(correction=0)
    gains = deviations * (full + 0.05) / full
    assert 0.5 - 1e-5 < gains.min() < 0.51 and 1.49 < gains.max() < 1.5 + 1e-5  # float32
    plain = (images - means.view(-1, 1, 1, 1)) / deviations.view(-1, 1, 1, 1)
    expected = (crop.float().div(255) - crop.float().div(255).mean()) / full
    seen: dict[tuple[int, bool], int] = {}
    for quarters in range(4):
        for mirrored in (False, True):
            one = expected.rot90(quarters, (1, 2))
            one = one.flip(2) if mirrored else one
            # Float32 at values of up to 2, after a division by 0.28 and by the gain; other forms differ by 1.
            seen[quarters, mirrored] = int(((plain - one).abs().amax((1, 2, 3)) < 1e-4).sum())
    # Each of the 8 forms in equal shares of 250, within five deviations of 14.8, and nothing else.
    assert sum(seen.values()) == 2000 and min(seen.values()) > 176 and max(seen.values()) < 324


def test_plain_crops_stay_plain_and_noise_is_added() -> None:
    images = varied(torch.full((600, 1, 16, 16), 77, dtype=torch.uint8), torch.Generator().manual_seed(0))
    apart = images - images.mean((1, 2, 3), keepdim=True)
    assert float(apart.std()) == pytest.approx(0.25, rel=0.01)  # of 153,600 draws; a deviation of 0.0004


RECORDED = {
    "crops": ("d288451329d9e78b", [-0.5666, -0.0741, 0.1043, 0.05, -0.0346, -0.1789, 0.2473, 0.052, 0.0547]),
    "photographs": (
        "04045cf9797e38a4",
        [0.1376, 0.0409, 0.0574, 0.2766, -0.0359, -0.1207, 0.3554, -0.0401, 0.039],
    ),
}
"""A digest of pictures and boxes, and sums over the first crops of each split."""


@TASKS
def test_the_crops_are_those_that_runs_were_scored_on(task: Crops, pictures: list[Image.Image]) -> None:
    """Recorded values, so that a changed data set is noticed: scores would not compare with recorded ones."""
    digest = hashlib.sha256()
    for label, picture in enumerate(pictures):
        digest.update(picture.tobytes())
        for part in PARTS:
            within = task.within(picture.size, label)[part]
            boxes = draw_boxes(within, task.counts[part], seeded_generator(task.name, part, label))
            # Thousandths: of 220,000 numbers, the rounding of float64 moves none over the middle between two.
            digest.update((boxes * 1000).round().long().numpy().tobytes())
    data, found = load_dataset(task.name), []
    for part in PARTS:
        values = getattr(data, part).images[:2850].double().flatten()
        places = torch.arange(len(values), dtype=torch.float64)
        found += [float((values * (places * step).cos()).sum()) / math.sqrt(len(values)) for step in (0.7, 1.9, 2.6)]
    # Other crops move each of these by about 0.2. A level of 255 in one value of eight, by which versions 11 and 13 of
    # Pillow differ, moves them by up to 0.02.
    recorded, sums = RECORDED[task.name]
    assert digest.hexdigest()[:16] == recorded
    assert found == pytest.approx(sums, abs=0.05)


@pytest.mark.parametrize("name", ["CROPS", "PHOTOGRAPHS"])
def test_another_size_shows_the_same_crops(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, name, replace(getattr(photographs, name), counts=FEW.counts))
    load = load_dataset.__globals__["_load"].__wrapped__
    small, large = (load(name.lower(), None, size, ()) for size in (8, 16))
    assert small.size == (8, 8) and torch.equal(small.train.labels, large.train.labels)
    assert small.train.images.shape == (76, 1, 8, 8) and small.batches(0, 4)[0][0].shape == (4, 1, 8, 8)
    # Means over squares of two pixels are nearly the smaller crop, up to noise of 0.25 and 0.125.
    means = torch.nn.functional.avg_pool2d(large.train.images, 2)
    both = torch.stack([means.flatten(), small.train.images.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9


def test_crops_of_each_split_are_from_all_of_a_photograph(pictures: list[Image.Image]) -> None:
    for label, picture in enumerate(pictures):
        parts = CROPS.within(picture.size, label)
        assert list(parts) == list(PARTS)
        assert all(part.tolist() == [[0, 0, *picture.size]] for part in parts.values())
    # No split's crops are those of another.
    boxes = [draw_boxes(parts[part], 100, seeded_generator("crops", part, 0)) for part in PARTS]
    assert len(torch.cat(boxes).unique(dim=0)) == 300


def test_missing_and_changed_pictures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.util.find_spec("skimage")
    assert installed is not None and installed.submodule_search_locations is not None
    real = Path(installed.submodule_search_locations[0]) / "data"
    place = tmp_path / "skimage" / "data"
    place.mkdir(parents=True)
    for path in real.glob("*.[pj][np]g"):
        (place / path.name).symlink_to(path)
    spec: ModuleSpec | None = ModuleSpec("skimage", None, is_package=True)
    assert spec is not None and spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(tmp_path / "skimage"))
    finders = {"skimage": spec, "sklearn": importlib.util.find_spec("sklearn")}
    monkeypatch.setattr(importlib.util, "find_spec", finders.__getitem__)
    (place / "moon.png").unlink()
    with pytest.raises(UsageError, match=r"skimage/data/moon.png, which .* cannot be read .No such.*pip install"):
        photographs.load_photographs()
    (place / "moon.png").symlink_to(real / "moon.png")
    (place / "cell.png").unlink()
    content = bytearray((real / "cell.png").read_bytes())
    content[5000] ^= 1
    (place / "cell.png").write_bytes(content)
    with pytest.raises(UsageError, match=r"skimage/data/cell.png is not the photograph .*pip install.*scikit-image"):
        photographs.load_photographs()
    finders["skimage"] = None
    with pytest.raises(UsageError, match=r"astronaut.png of scikit-image, which is not installed: run `pip install"):
        photographs.load_photographs()


def test_forty_steps_learn_more_than_chance(data: DataSet) -> None:
    training = Training("resnet-small", BatchNormRelu(), data, EvaluationProtocol(data="crops", steps=40))
    training.advance(40)
    # Chance is 0.053, with a deviation of 0.004 over 2,850 images; BN-ReLU reaches 0.089.
    assert training.accuracy("validation") > 0.075
