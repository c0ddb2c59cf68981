"""Arrays in .npz files: layouts, splits, and the errors for arrays that cannot be used."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evonas.errors import UsageError
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.npz_data import load_npz

COUNT = 40
LABELS = np.arange(COUNT) % 4


def images(*shape: int) -> np.ndarray[Any, Any]:
    """Images whose pixels all equal the number of the image."""
    return np.broadcast_to(np.arange(COUNT, dtype=np.uint8).reshape(-1, *[1] * len(shape)), (COUNT, *shape)).copy()


def saved(place: Path, **arrays: object) -> Path:
    path = place / "data.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("shape", "meant"),
    [
        ((5, 7), (1, 5, 7)),
        ((5, 7, 1), (1, 5, 7)),
        ((5, 7, 3), (3, 5, 7)),
        ((3, 5, 7), (3, 5, 7)),
        ((4, 5, 7), (4, 5, 7)),
        ((3, 5, 4), (4, 3, 5)),  # last wins
    ],
)
def test_the_axes_of_images(tmp_path: Path, shape: tuple[int, ...], meant: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, (COUNT, *shape), np.uint8)
    array[(slice(None), *[0] * len(shape))] = np.arange(COUNT)
    data = load_npz(saved(tmp_path, x_train=array, y_train=LABELS))
    assert (data.channels, *data.size, data.classes) == (*meant, 4)
    numbers = data.train.images[:, 0, 0, 0].long()
    assert torch.equal(data.train.labels, numbers % 4)
    moved = array[:, None] if len(shape) == 2 else array if shape[2] in (5, 7) else np.moveaxis(array, 3, 1)
    assert np.array_equal(data.train.images.numpy(), moved[numbers])


def test_splits(tmp_path: Path) -> None:
    data = load_dataset("npz", saved(tmp_path, x_train=images(4, 4), y_train=LABELS))
    parts = [split.images[:, 0, 0, 0].tolist() for split in (data.train, data.validation, data.test)]
    assert sorted(itertools.chain(*parts)) == list(range(COUNT)) and [len(part) for part in parts] == [32, 4, 4]
    assert sorted(data.test.labels.tolist()) == [0, 1, 2, 3]
    test = {"x_test": images(4, 4)[:8] + 100, "y_test": LABELS[:8]}
    validation = {"x_validation": images(4, 4)[:12] + 200, "y_validation": LABELS[:12]}
    data = load_npz(saved(tmp_path, x_train=images(4, 4), y_train=LABELS, **test, **validation))
    parts = [sorted(split.images[:, 0, 0, 0].tolist()) for split in (data.train, data.validation, data.test)]
    assert parts == [list(range(COUNT)), list(range(200, 212)), list(range(100, 108))]
    assert load_npz(tmp_path).train.images.equal(data.train.images)  # the folder, and its one file


def test_pixels_are_standardised_by_the_training_part(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(1000, [0.5, 2, 0], (COUNT, 6, 6, 3))
    data = load_npz(saved(tmp_path, x_train=x, y_train=LABELS, x_test=x[:4] + 1, y_test=LABELS[:4]))
    assert data.train.images.dtype == torch.float32
    seen = data.standardised(data.train.images)
    # Pixels of some 1,000 in float32 are rounded by up to 3e-5, over a deviation of 0.5; the mean of 1,296.
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=6e-5)
    torch.testing.assert_close(seen.std((0, 2, 3), correction=0), torch.tensor([1.0, 1, 0]), rtol=1e-4, atol=0)
    shift = data.standardised(data.test.images).mean((0, 2, 3)) - data.standardised(
        torch.from_numpy(x[:4].transpose(0, 3, 1, 2)).float()
    ).mean((0, 2, 3))
    torch.testing.assert_close(shift, 1 / torch.tensor(data.standardisation.deviation), rtol=1e-3, atol=0)  # type: ignore[union-attr]


def test_images_are_resampled(tmp_path: Path) -> None:
    x = np.zeros((COUNT, 12, 24), np.uint8)
    x[:, :, 6:18] = 200
    assert (load_npz(saved(tmp_path, x_train=x, y_train=LABELS), 6).train.images[..., 1:-1] == 200).all()
    flat = images(8, 8)
    assert load_npz(saved(tmp_path, x_train=flat.astype(float), y_train=LABELS), 16).size == (16, 16)


X, Y = images(4, 4), LABELS


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x_train": X}, "has no array y_train: add it to x_train"),
        ({"y_train": Y}, "has no array x_train"),
        ({}, "has no array x_train"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "has no array y_test: add it to x_test"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": Y}, "unknown array 'x_val'; known: x_train"),
        ({"x_train": X, "y_train": Y[:-1]}, r"y_train has shape \(39,\) instead of \(40,\)"),
        ({"x_train": X, "y_train": np.eye(4)[Y].astype(int)}, r"y_train has shape \(40, 4\)"),
        ({"x_train": X, "y_train": Y * 1.0}, "y_train has type float64; labels must be integers"),
        ({"x_train": X, "y_train": Y - 1}, "y_train has labels from -1 to 2"),
        ({"x_train": X, "y_train": Y * 2}, "y_train has no image of class 1"),
        ({"x_train": X, "y_train": Y * 0}, "y_train has one class only"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "y_test has label 4, but y_train has no image"),
        ({"x_train": X.astype(int), "y_train": Y}, "x_train has type int64; images must be uint8 or float"),
        ({"x_train": X[0], "y_train": Y}, r"x_train has shape \(4, 4\)"),
        ({"x_train": images(8, 8, 2), "y_train": Y}, r"x_train has shape \(40, 8, 8, 2\); images must be"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "x_train is empty"),
        ({"x_train": np.where(X == 3, np.nan, X), "y_train": Y}, "x_train holds infinite values or NaN"),
        ({"x_train": X * 1e300, "y_train": Y}, "x_train holds infinite values or NaN"),
        (
            {"x_train": X, "y_train": Y, "x_test": images(4, 5), "y_test": Y},
            "x_train and x_test must have the same",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X * 1.0, "y_test": Y},
            "must have the same shape and type",
        ),
        ({"x_train": X[:2], "y_train": Y[:2]}, "2 training images are too few"),
        ({"x_train": np.array([object()] * 4), "y_train": Y}, "array 'x_train' of .*cannot be read .*[Oo]bject"),
    ],
)
def test_unusable_arrays_are_named(tmp_path: Path, arrays: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_npz(saved(tmp_path, **arrays))


def test_unusable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"contains no \.npz file"):
        load_npz(tmp_path)
    path = saved(tmp_path, x_train=X, y_train=Y)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"data.npz cannot be read"):
        load_npz(path)
    path.write_bytes(whole.replace(bytes([5]) * 16, bytes([6]) * 16))
    with pytest.raises(UsageError, match=r"array 'x_train' of .*data.npz cannot be read .*CRC"):
        load_npz(path)
    (tmp_path / "other.npz").write_bytes(whole)
    with pytest.raises(UsageError, match=r"contains 2 .npz files: name the one to read"):
        load_npz(tmp_path)
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(UsageError, match=r"one.npy is a single array"):
        load_npz(tmp_path / "one.npy")
