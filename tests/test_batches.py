"""Padding, crops and mirror images, compared with a plain implementation for one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evonas.errors import UsageError
from evonas.workers.data import batches
from evonas.workers.data.augmentation import Augmentation
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet, from_splits
from evonas.workers.data.pixels import Standardisation
from evonas.workers.data.splits import Split

HEIGHT, WIDTH, COUNT = 5, 7, 60


@pytest.fixture(scope="module")
def data() -> DataSet:
    """Every pixel of every image is a different number, so that it can be traced."""
    pixels = torch.randperm(COUNT * 2 * HEIGHT * WIDTH).float().view(COUNT, 2, HEIGHT, WIDTH) + 1
    split = Split(pixels, torch.arange(COUNT) % 3)
    return from_splits("numbered", 3, split, split, split)


def plain(padded: np.ndarray, top: int, left: int, size: tuple[int, int], mirrored: bool) -> np.ndarray:  # type: ignore[type-arg]
    """One padded image, (c, h, w), cropped and mirrored."""
    cut = padded[:, top : top + size[0], left : left + size[1]]
    return cut[:, :, ::-1] if mirrored else cut


@pytest.mark.parametrize(
    ("pad", "crop", "flip"),
    [(0, 4, False), (2, None, True), (3, 6, True), (1, 7, False), (0, None, True), (0, 1, True)],
)
def test_batches_are_crops_of_padded_images(data: DataSet, pad: int, crop: int | None, flip: bool) -> None:
    batches = data.batches(1, 20, pad, crop, flip)
    size = (HEIGHT, WIDTH) if crop is None else (crop, crop)
    untouched = data.batches(1, 20)
    seen, drawn = set(), []
    for step in range(40):  # two chunks, more than thirteen epochs
        images, labels = batches[step]
        assert images.dtype == torch.float32 and images.shape == (20, 2, *size)
        whole, whole_labels = untouched[step]
        assert torch.equal(labels, whole_labels)  # the same images in the same order as without
        for image, original in zip(images.numpy(), whole.numpy(), strict=True):
            tops, lefts = range(HEIGHT + 2 * pad - size[0] + 1), range(WIDTH + 2 * pad - size[1] + 1)
            crops = [
                (top, left, mirrored)
                for top in tops
                for left in lefts
                for mirrored in ([False, True] if flip else [False])
            ]
            padded = np.pad(original, ((0, 0), (pad, pad), (pad, pad)))
            matching = [crop for crop in crops if (image == plain(padded, crop[0], crop[1], size, crop[2])).all()]
            assert matching
            seen.add(matching[0])
            drawn.append(matching[0])
    # Of 800 draws, each of at most 98 crops is missed with probability (1 - 1/98)^800 = 0.0003; the seed is fixed.
    chunk = 32 * 20
    assert drawn[chunk:] != drawn[: len(drawn) - chunk]  # the second is drawn anew
    symmetric = size[1] == 1
    if flip and not symmetric:
        # Half of 800: six standard deviations are six times sqrt(1 / 4 / 800).
        assert abs(sum(mirrored for _, _, mirrored in drawn) / len(drawn) - 0.5) < 0.11
    assert len(seen) == (len(crops) // 2 if symmetric else len(crops))


def test_crops_are_a_function_of_the_seed(data: DataSet) -> None:
    def images(seed: int) -> torch.Tensor:
        return torch.cat([data.batches(seed, 10, 2, None, True)[step][0] for step in (35, 0)])

    first, other = images(3), images(4)
    torch.manual_seed(99)
    assert torch.equal(images(3), first) and not torch.equal(other, first)


def test_bytes_are_cropped_like_numbers() -> None:
    pixels = torch.randint(0, 256, (30, 3, 6, 6), dtype=torch.uint8)
    labels = torch.arange(30) % 2
    one, two = (from_splits("a", 2, *[Split(images, labels)] * 3) for images in (pixels, pixels.float()))
    assert one.train.images.dtype == torch.uint8
    a, b = one.batches(0, 30, 1, 4, True)[0], two.batches(0, 30, 1, 4, True)[0]
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_digits_are_cropped_after_augmentation() -> None:
    digits = load_dataset("digits")
    whole, labels = digits.batches(0, 8)[0]
    whole = whole.clone()
    cropped, cropped_labels = digits.batches(0, 8, 0, 11)[0]
    assert torch.equal(labels, cropped_labels)
    for image, original in zip(cropped, whole, strict=True):
        places = [(top, left) for top in (0, 1) for left in (0, 1)]
        assert sum(torch.equal(image, original[:, t : t + 11, left : left + 11]) for t, left in places) == 1


def test_every_chunk_of_steps_is_augmented_anew() -> None:
    """One image for all samples, so that steps differ only by its augmentation."""
    one = load_dataset("digits").train.images[:1].expand(16, -1, -1, -1)
    split = Split(one, torch.arange(16) % 2)
    data = DataSet("same", 2, 1, split, split, split, Augmentation(8, rotation=0.3))
    batches = data.batches(0, 8)
    images = torch.stack([batches[step][0] for step in range(3 * 32)])
    apart = [torch.equal(images[step], images[step + 32]) for step in range(64)]
    assert not any(apart) and not torch.equal(images[0, 0], images[0, 1])
    assert not torch.equal(data.batches(1, 8)[0][0], images[0])


def test_a_crop_that_does_not_fit_is_refused(data: DataSet) -> None:
    with pytest.raises(
        UsageError, match=r"a crop of 6×6 does not fit into images of 5×7; use a smaller crop or a larger pad"
    ):
        data.batches(0, 4, 0, 6)
    with pytest.raises(UsageError, match=r"a crop of 10×10 does not fit into images of 9×11 with 2 pixels of padding"):
        data.batches(0, 4, 2, 10)
    assert data.batches(0, 4, 2, 9)[0][0].shape == (4, 2, 9, 9)


def test_large_images_are_made_fewer_steps_at_a_time(monkeypatch: pytest.MonkeyPatch, data: DataSet) -> None:
    step_bytes = 4 * 10 * 2 * HEIGHT * WIDTH
    monkeypatch.setattr("evonas.workers.data.batches._CHUNK_BYTES", 3 * step_bytes)
    monkeypatch.setattr("evonas.workers.data.batches._CACHED_BYTES", 7 * step_bytes)
    batches = data.batches(21, 10)
    images = [batches[step][0].clone() for step in range(30)]
    assert [len(chunk) for chunk in batches._chunks.values()] == [30, 30]
    assert all(torch.equal(batches[step][0], images[step]) for step in (29, 0, 15))


def test_standardisation_of_many_images_counts_each_alike() -> None:
    """More images than one chunk, the last ones with another brightness; compared with NumPy in float64."""
    images = torch.randint(0, 100, (2300, 2, 3, 3), dtype=torch.uint8)
    images[2000:] += 100
    found = Standardisation.of(images)
    pixels = images.numpy().astype(np.float64)
    assert found.mean == pytest.approx(pixels.mean((0, 2, 3)), rel=1e-12)
    assert found.deviation == pytest.approx(pixels.std((0, 2, 3)), rel=1e-12)


def test_standardisation_of_a_large_mean_loses_nothing() -> None:
    images = torch.tensor([4096.0, 4096.5]).view(2, 1, 1, 1)
    assert Standardisation.of(images) == Standardisation((4096.25,), (0.25,))
    assert Standardisation.of(images)(images).flatten().tolist() == [-1.0, 1.0]
    assert images.flatten().tolist() == [4096.0, 4096.5]  # as they were


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_sees_the_same_crops(data: DataSet) -> None:
    pixels = torch.randint(0, 256, (30, 3, 6, 6), dtype=torch.uint8)
    small = from_splits("a", 2, *[Split(pixels, torch.arange(30) % 2)] * 3)
    for one in (data, small, load_dataset("digits")):
        images, labels = one.batches(0, 16, 1, 4, True)[3]
        on_gpu, its_labels = one.batches(0, 16, 1, 4, True, "cuda")[3]
        assert on_gpu.is_cuda and torch.equal(its_labels.cpu(), labels)
        # One subtraction and one division in float32, each rounded separately.
        torch.testing.assert_close(on_gpu.cpu(), images, rtol=1e-6, atol=1e-6)


def test_training_images_are_placed_on_the_device_that_trains() -> None:
    split = Split(torch.zeros(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64))
    placed = batches._placed(split, torch.device("meta"))
    assert (placed.images.device.type, placed.labels.device.type) == ("meta", "meta")
