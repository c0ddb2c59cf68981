"""Splits, augmentation and training batches."""

from __future__ import annotations

import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evonas.errors import UsageError
from evonas.workers.data.augmentation import Augmentation
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet, from_splits
from evonas.workers.data.seeding import seeded_generator
from evonas.workers.data.splits import Split, stratified_order


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load_dataset("digits")


def originals(labels: torch.Tensor) -> list[list[int]]:
    order = stratified_order(labels, "digits").tolist()
    return [order[:1000], order[1000:1400], order[1400:]]


def labels_of_digits() -> torch.Tensor:
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().target).long()


def test_splits_are_disjoint_fixed_and_stratified() -> None:
    labels = labels_of_digits()
    splits = originals(labels)
    assert sorted(index for split in splits for index in split) == list(range(1797))
    # Written down, so that a change of the split cannot go unnoticed: it would mix test into training.
    assert [split[:3] for split in splits] == [[319, 1377, 973], [51, 1008, 145], [426, 932, 125]]
    for split in splits:
        share = torch.bincount(labels[split], minlength=10) / len(split)
        whole = torch.bincount(labels, minlength=10) / len(labels)
        # A slice of evenly interleaved classes is off by at most one image at either end.
        assert (share - whole).abs().max() <= 2 / len(split)


def test_each_split_holds_its_own_images(digits: DataSet) -> None:
    splits = originals(labels_of_digits())
    assert [len(digits.train), len(digits.validation), len(digits.test)] == [1000, 4 * 400, 4 * 397]
    labels = labels_of_digits()
    assert torch.equal(digits.train.labels, labels[splits[0]])
    assert torch.equal(digits.validation.labels, labels[splits[1]].repeat(4))
    assert torch.equal(digits.test.labels, labels[splits[2]].repeat(4))


def test_a_prefix_of_validation_is_balanced(digits: DataSet) -> None:
    counts = torch.bincount(digits.validation.first(100).labels, minlength=10)
    assert counts.min() >= 8 and counts.max() <= 12
    assert len(digits.validation.first(None)) == len(digits.validation.first(10**6)) == 1600


def test_splits_that_were_given_are_put_into_an_order_in_which_classes_alternate() -> None:
    """Files may be sorted by class, and then a limit on the number of scored images would leave out classes."""
    labels = torch.arange(90) // 30
    given = Split(torch.arange(90, dtype=torch.uint8).view(-1, 1, 1, 1), labels)
    data = from_splits("sorted", 3, given, given, given)
    for part in (data.validation, data.test):
        assert torch.bincount(part.first(12).labels, minlength=3).tolist() == [4, 4, 4]
        assert torch.equal(part.labels, labels[part.images.flatten().long()])
        assert sorted(part.images.flatten().tolist()) == list(range(90))


def test_shapes_types_and_scale(digits: DataSet) -> None:
    images, labels = digits.batches(0, 64)[0]
    assert images.shape == (64, 1, 12, 12) and images.dtype == torch.float32
    assert labels.shape == (64,) and labels.dtype == torch.int64
    assert digits.validation.images.shape == (1600, 1, 12, 12)
    # Pixels in 0 … 1 plus noise of deviation 0.25; six deviations hardly happen in 230,000 draws.
    assert digits.validation.images.min() > -1.5 and digits.validation.images.max() < 2.5


def test_batches_are_a_function_of_the_seed(digits: DataSet) -> None:
    first = [digits.batches(3, 16)[step] for step in range(40)]
    other = digits.batches(4, 16)[0]
    torch.manual_seed(99)  # the global state must not matter
    again = [digits.batches(3, 16)[step] for step in reversed(range(40))][::-1]
    for (a, a_labels), (b, b_labels) in zip(first, again, strict=True):
        assert torch.equal(a, b) and torch.equal(a_labels, b_labels)
    assert not torch.equal(first[0][0], other[0])


def test_candidates_share_the_batches(digits: DataSet) -> None:
    a, b = digits.batches(7, 16), digits.batches(7, 16)
    assert a is b and a[0][0].data_ptr() == b[0][0].data_ptr()
    assert digits.batches(7, 32) is not a


def test_an_epoch_shows_every_image_once_and_augments_anew(digits: DataSet) -> None:
    count, shape = len(digits.train), (1, 1, 1, 1)
    numbered = Split(torch.arange(float(count)).view(-1, *shape[1:]), torch.arange(count))
    data = DataSet("numbered", count, 1, numbered, numbered, numbered, Augmentation(size=1))
    batches = data.batches(0, 50)
    epochs = [torch.cat([batches[step][1] for step in range(start, start + 20)]) for start in (0, 20, 40)]
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, torch.arange(count))
    assert not torch.equal(epochs[0], epochs[1])
    images = torch.cat([batches[step][0] for step in range(20)]).flatten()
    assert torch.equal(images.long(), epochs[0])  # images and labels stay together


def test_the_cache_is_bounded(digits: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evonas.workers.data.batches._CACHED_BYTES", 1)
    batches = digits.batches(11, 4)
    steps = [batches[step][0].clone() for step in range(0, 200, 20)]
    assert len(batches._chunks) == 1
    assert all(torch.equal(batches[20 * index][0], images) for index, images in enumerate(steps))


def test_the_global_random_state_is_untouched(digits: DataSet) -> None:
    before = torch.get_rng_state()
    _ = digits.batches(12, 8)[0]
    load_dataset.__globals__["_load"].__wrapped__("digits", None, None, ())
    assert torch.equal(torch.get_rng_state(), before)


def test_augmentation_without_strength_only_resamples() -> None:
    images = torch.rand(3, 2, 6, 6)
    # Bilinear sampling at the pixels' own centres, up to float32 rounding of the coordinates.
    torch.testing.assert_close(Augmentation(size=6)(images, seeded_generator(0)), images, rtol=0, atol=1e-5)


def sampled(image: np.ndarray[Any, Any], row: float, column: float) -> float:
    """Bilinear interpolation between four pixels; 0 outside of the image."""
    total = 0.0
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                total += float(image[i, j]) * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def test_augmentation_rotates_scales_shifts_and_adds_noise() -> None:
    """Pixel by pixel: the source of each pixel of the result, in coordinates from -1 to 1 over the image."""
    images, size = torch.rand(3, 2, 6, 6), 5
    augmentation = Augmentation(size, rotation=0.5, scale=0.3, shift=0.2, noise=0.1)
    found = augmentation(images, seeded_generator("x"))
    random = seeded_generator("x")
    draws = 2 * torch.rand(4, 3, generator=random).double().numpy() - 1
    noise = 0.1 * torch.randn(3, 2, size, size, generator=random).double().numpy()
    for n, (turn, zoom, right, down) in enumerate(draws.T):
        angle, scale = 0.5 * turn, 1 + 0.3 * zoom
        for i in range(size):
            for j in range(size):
                x, y = (2 * j + 1) / size - 1, (2 * i + 1) / size - 1
                u = scale * (math.cos(angle) * x - math.sin(angle) * y) + 0.2 * right
                v = scale * (math.sin(angle) * x + math.cos(angle) * y) + 0.2 * down
                for channel in range(2):
                    expected = sampled(images[n, channel].numpy(), ((v + 1) * 6 - 1) / 2, ((u + 1) * 6 - 1) / 2)
                    # Coordinates of up to 6 in float32, and slopes of up to 1 a pixel.
                    assert float(found[n, channel, i, j]) == pytest.approx(expected + noise[n, channel, i, j], abs=1e-5)


def test_the_digits_are_those_that_runs_were_scored_on(digits: DataSet) -> None:
    """Recorded values, so that a changed augmentation is noticed: scores would not compare with recorded ones."""
    means = [float(part.images.double().mean()) for part in (digits.train, digits.validation, digits.test)]
    assert means == pytest.approx(
        [0.30544336, 0.29559681, 0.29782117], rel=1e-5
    )  # sums of a hundred thousand numbers that were rounded to 1e-7
    assert float(digits.batches(0, 64)[0][0].double().mean()) == pytest.approx(0.29594088, rel=1e-5)


def test_rotation_turns_without_deforming() -> None:
    # A round bump looks the same at every angle; a sheared or stretched one would not.
    y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, 32)], indexing="ij")
    bump = torch.exp(-(x**2 + y**2) / (2 * 0.25**2)).expand(5, 1, 32, 32)
    turned = Augmentation(size=32, rotation=3.0)(bump, seeded_generator(1))
    # Bilinear sampling at spacing s errs by at most s² / 8 times the two second derivatives, each at most
    # 1 / 0.25² here: (2 / 31)² / 8 × 32 = 0.0166. What turns out of view is under exp(-8) = 0.0003.
    assert (turned - bump).abs().max() < 0.017


def test_a_seeded_generator_depends_on_the_whole_key() -> None:
    keys = [("a", 1, 2), ("a", 12), ("a", 1, 3), ("a", -1), ("b", 1, 2)]
    draws = {float(torch.rand((), generator=seeded_generator(*key))) for key in keys}
    assert len(draws) == len(keys)


def test_bad_names_and_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cifar.*digits"):
        load_dataset("cifar")
    with pytest.raises(UsageError, match="does not exist"):
        load_dataset("digits", tmp_path / "absent")
    assert load_dataset("digits", tmp_path).name == "digits"
    for name in ("cifar10", "cifar100", "image-folder", "npz"):
        with pytest.raises(
            UsageError, match=f"the data set {name} is read from files: say where they are with --data-"
        ):
            load_dataset(name)


def test_digits_of_another_size() -> None:
    assert load_dataset("digits", image_size=10).batches(0, 4)[0][0].shape == (4, 1, 10, 10)


def test_a_held_out_share_takes_the_place_of_validation(digits: DataSet) -> None:
    data = digits.held_out(0.2, 5)
    assert data is digits.held_out(0.2, 5)  # and with it its batches are kept
    assert data.test is digits.test
    assert (len(data.train), len(data.validation)) == (800, 4 * 200)
    counts = torch.bincount(data.validation.labels[:200], minlength=10)
    assert (counts - torch.bincount(digits.train.labels, minlength=10) / 5).abs().max() <= 1
    assert torch.bincount(data.validation.first(50).labels, minlength=10).min() >= 4
    # Every image is on exactly one side. It is identified by its pixels, which differ between digits.
    held = {one.numpy().tobytes() for one in digits.train.images} - {one.numpy().tobytes() for one in data.train.images}
    assert len(held) == 200
    assert data.validation.images.shape[1:] == (1, 12, 12)


def test_what_is_held_out_is_a_function_of_the_seed(digits: DataSet) -> None:
    one, other = digits.held_out(0.1, 0), digits.held_out(0.1, 1)
    again = digits.held_out(0.1, 0)
    assert again is not one and torch.equal(again.validation.images, one.validation.images)
    assert torch.equal(again.train.images, one.train.images)
    assert not torch.equal(other.train.images, one.train.images)
    # Copies of an image differ from each other, and from a layer's first sight of them in training.
    assert not torch.equal(one.validation.images[:100], one.validation.images[100:200])


def test_images_without_augmentation_are_held_out_as_they_are() -> None:
    split = Split(torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(40) % 2)
    whole = from_splits("numbered", 2, split, split, split)
    data = whole.held_out(0.25, 0)
    assert sorted([*data.train.images.flatten().tolist(), *data.validation.images.flatten().tolist()]) == [*range(40)]
    assert torch.equal(data.validation.labels, data.validation.images.flatten().long() % 2)
    assert torch.bincount(data.validation.labels).tolist() == [5, 5]
    assert data.standardisation == whole.standardisation


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 0.0001, 0.9999, float("nan")])
def test_a_share_that_leaves_nothing_is_refused(digits: DataSet, share: float) -> None:
    with pytest.raises(UsageError, match="cannot be held out"):
        digits.held_out(share, 0)


def test_a_data_set_travels_as_arrays_that_are_not_copied(digits: DataSet) -> None:
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(digits, protocol=5, buffer_callback=buffers.append)
    held = sum(len(buffer.raw()) for buffer in buffers)
    splits = (digits.train, digits.validation, digits.test)
    assert held == sum(4 * split.images.numel() + 8 * len(split) for split in splits) and len(content) < 10_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Read-only, as they come out of Ray's object store.
        copy = pickle.loads(content, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert torch.equal(copy.train.images, digits.train.images)
    assert torch.equal(copy.batches(0, 8)[0][0], digits.batches(0, 8)[0][0])


def test_a_split_goes_to_a_device_with_its_labels() -> None:
    split = Split(torch.zeros(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64)).to(torch.device("meta"))
    assert (split.images.device.type, split.labels.device.type) == ("meta", "meta")
