"""Images and labels in a .npz file of NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.errors import UsageError, shorten
from evonas.workers.data.dataset import DataSet, from_splits
from evonas.workers.data.pixels import resampled
from evonas.workers.data.splits import Split

_PARTS = ("train", "validation", "test")
_KNOWN = tuple(f"{letter}_{part}" for part in _PARTS for letter in "xy")
_CHANNELS = (1, 3, 4)


def load_npz(place: Path, image_size: int | None = None) -> DataSet:
    """Load the arrays x_train, y_train and, if present, x_validation, y_validation, x_test and y_test.

    Images are uint8 or float with shape (n, h, w), (n, h, w, c) or (n, c, h, w). The last axis is the channel
    axis if its length is 1, 3 or 4; otherwise the second axis is, and its length must be 1, 3 or 4. Labels are
    integers (n,) from 0 to classes − 1, and x_train must have an image of every class. A stratified tenth of the
    training images replaces missing test arrays, and another tenth missing validation arrays.

    Args:
        place: the file, or a folder that contains a single .npz file.
        image_size: height and width to resample images to; None to leave them as they are.

    Raises:
        UsageError: The file or an array of it cannot be used; the message names it and the fault.
    """
    path = _file(place)
    stored = _stored(path)
    for name in stored:
        if name not in _KNOWN:
            raise UsageError(f"{path}: unknown array {shorten(name)}; known: {', '.join(_KNOWN)}")
    for part in _PARTS:
        for name, other in ((f"x_{part}", f"y_{part}"), (f"y_{part}", f"x_{part}")):
            if name not in stored and (other in stored or part == "train"):
                raise UsageError(f"{path} has no array {name}: add it" + (f" to {other}" if other in stored else ""))
    splits = {part: _split(path, stored, part) for part in _PARTS if f"x_{part}" in stored}
    train = splits["train"]
    _check_alike(path, splits)
    counts = torch.bincount(train.labels)
    if len(counts) < 2 or not bool(counts.all()):
        absent = f"no image of class {int((counts == 0).nonzero()[0])}" if len(counts) > 1 else "one class only"
        raise UsageError(f"{path}: y_train has {absent}; labels must be 0 to the number of classes minus 1")
    for part, split in splits.items():
        if int(split.labels.max()) >= len(counts):
            raise UsageError(
                f"{path}: y_{part} has label {int(split.labels.max())}, but y_train has no image of that class"
            )
    ready = {part: Split(resampled(split.images, image_size), split.labels) for part, split in splits.items()}
    return from_splits("npz", len(counts), ready["train"], ready.get("validation"), ready.get("test"))


def _file(place: Path) -> Path:
    if not place.is_dir():
        return place
    found = sorted(path for path in place.iterdir() if path.suffix == ".npz")
    if len(found) != 1:
        what = "no .npz file" if not found else f"{len(found)} .npz files"
        raise UsageError(f"{place} contains {what}: name the one to read")
    return found[0]


def _stored(path: Path) -> dict[str, NDArray[Any]]:
    name = ""
    try:
        opened: Any = np.load(path, allow_pickle=False)  # an array of objects could run any command when it is read
        if isinstance(opened, np.ndarray):
            raise UsageError(f"{path} is a single array: save images and labels together with np.savez")
        arrays = {}
        with opened:
            for name in opened.files:
                arrays[name] = opened[name]
    except UsageError:
        raise
    except Exception as error:  # damaged files make the readers of zip and numpy raise almost anything
        where = f"array {shorten(name)} of {path}" if name else str(path)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{where} cannot be read ({shorten(reason)}): save it again with np.savez") from None
    return arrays


def _split(path: Path, stored: Mapping[str, NDArray[Any]], part: str) -> Split:
    images, labels = stored[f"x_{part}"], stored[f"y_{part}"]
    x, y = f"{path}: x_{part}", f"{path}: y_{part}"
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise UsageError(f"{x} has type {images.dtype}; images must be uint8 or float")
    if labels.dtype.kind not in "iu":
        raise UsageError(f"{y} has type {labels.dtype}; labels must be integers")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in _CHANNELS:
        images = images.transpose(0, 3, 1, 2)
    elif images.ndim != 4 or images.shape[1] not in _CHANNELS:
        raise UsageError(
            f"{x} has shape {images.shape}; images must be (n, h, w), (n, h, w, c) or (n, c, h, w) with c 1, 3 or 4"
        )
    if 0 in images.shape:
        raise UsageError(f"{x} is empty: its shape is {stored[f'x_{part}'].shape}")
    if labels.shape != (len(images),):
        raise UsageError(f"{y} has shape {labels.shape} instead of ({len(images)},), one label per image")
    if int(labels.min()) < 0 or int(labels.max()) > 1 << 20:
        raise UsageError(
            f"{y} has labels from {labels.min()} to {labels.max()}; labels must be class numbers from 0 on"
        )
    if images.dtype != np.uint8:
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which is refused below
            images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise UsageError(f"{x} holds infinite values or NaN; remove or replace them")
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))


def _check_alike(path: Path, splits: Mapping[str, Split]) -> None:
    train = splits["train"].images
    for part, split in splits.items():
        if split.images.shape[1:] != train.shape[1:] or split.images.dtype != train.dtype:
            shapes = " and ".join(f"{tuple(i.shape[1:])} {str(i.dtype)[6:]}" for i in (train, split.images))
            raise UsageError(
                f"{path}: images of x_train and x_{part} must have the same shape and type, not {shapes} (c, h, w)"
            )
