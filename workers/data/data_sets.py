"""The data sets that candidates are trained and scored on, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch

from evonas.errors import UsageError, shorten
from evonas.settings.plugins import Registry, errors_in_file
from evonas.workers.data.cifar import load_cifar10, load_cifar100
from evonas.workers.data.dataset import DataSet
from evonas.workers.data.digits import load_digits
from evonas.workers.data.image_folder import load_image_folder
from evonas.workers.data.npz_data import load_npz
from evonas.workers.data.photographs import load_crops, load_photographs
from evonas.workers.data.splits import Split
from evonas.workers.data.text import load_text

Loader = Callable[[Path | None, int | None], DataSet]
"""Loads a data set from its folder or file, and resamples images to a height and width; each may be None."""


def _from_files(name: str, load: Callable[[Path, int | None], DataSet]) -> Loader:
    """Make a loader that requires a folder or file."""

    def loader(folder: Path | None, image_size: int | None) -> DataSet:
        if folder is None:
            raise UsageError(f"the data set {name} is read from files: say where they are with --data-dir")
        return load(folder, image_size)

    return loader


DATA_SETS: Mapping[str, Loader] = MappingProxyType(
    {
        "digits": lambda _, image_size: load_digits(image_size),
        "crops": lambda _, image_size: load_crops(image_size),
        "photographs": lambda _, image_size: load_photographs(image_size),
        "cifar10": _from_files("cifar10", load_cifar10),
        "cifar100": _from_files("cifar100", load_cifar100),
        "image-folder": _from_files("image-folder", load_image_folder),
        "npz": _from_files("npz", load_npz),
        "text": load_text,
    }
)
"""The loaders of evonas's own data sets, by name."""

WITH_TEXT = "+text"
"""What follows the name of images where some networks read these and others text."""
FROM_EVONAS = ("digits", "crops", "photographs")
"""The images that need no file."""

_NOTHING = Split(torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64))
NO_DATA = DataSet("none", 1, 1, _NOTHING, _NOTHING, _NOTHING)
"""What workers have in the place of data where a training loop of the user's own brings its own: one black pixel."""


DATA_SET_REGISTRY: Registry[Loader] = Registry(
    "data set",
    DATA_SETS,
    lambda _, found: found if callable(found) else None,
    "a function of a folder and an image size that returns a DataSet",
)
"""Finds the loader of a data set by name, evonas's own or a user's."""


def load_dataset(name: str, folder: Path | None = None, image_size: int | None = None) -> DataSet:
    """Load a data set by name. A process caches the data sets that it has loaded, as long as their files stay.

    Of a folder, those of its own entries and of the folders in it are watched, not each image.

    Args:
        name: a key of :data:`DATA_SETS`, or the name of a user's data set as `evonas.settings.plugins` describes; with
            `WITH_TEXT` after it, text comes with it for networks that read that.
        folder: the folder or file to read, for data sets that are read from files. Of images with text it is that of
            the images if they are read from files, and else that of the text.
        image_size: height and width to resample images to while they are read, or the tokens that a network reads of
            a window of text; None to leave them as they are.

    Raises:
        UsageError: The name is unknown, the folder does not exist, or its contents are not such a data set.
    """
    if (images := images_of(name)) != name:
        of_text = images in FROM_EVONAS
        pictures = load_dataset(images, None if of_text else folder, image_size)
        return _together(pictures, load_dataset("text", folder if of_text else None))
    user_loader = None if name in DATA_SETS else DATA_SET_REGISTRY.find(name)
    if folder is not None and not folder.exists():
        raise UsageError(f"data folder {str(folder)!r} does not exist: create it, or name another")
    place = None if folder is None else folder.absolute()  # a relative name may mean another folder later
    state = () if place is None else _state(place)
    if user_loader is None:
        return _load(name, place, image_size, state)
    return _load_user_data(name, user_loader, place, image_size, state)


def images_of(name: str) -> str:
    """Return the name of a data set without `WITH_TEXT`."""
    return name.removesuffix(WITH_TEXT)


def kinds_of(name: str) -> frozenset[str]:
    """Return what networks can read of a data set, as far as its name says: "images", "text" or both."""
    if images_of(name) != name:
        return frozenset(("images", "text"))
    return frozenset(("text",) if name == "text" else ("images",))


@functools.lru_cache(maxsize=2)  # one object for one pair, so that batches are made once
def _together(images: DataSet, text: DataSet) -> DataSet:
    if images.kind == "text":
        raise UsageError(f"the data set {images.name} is text already: leave out {WITH_TEXT}")
    return replace(images, other=text)


_Stamp = tuple[str, int, int]
"""The name of a file or folder, its size in bytes and when it was changed, in nanoseconds."""


def _state(place: Path) -> tuple[_Stamp, ...]:
    """What tells whether a file, or the folders of a folder, have changed."""
    watched = [place]
    if place.is_dir():
        watched += sorted(place.iterdir())
        watched += sorted(inner for one in watched[1:] if one.is_dir() for inner in one.iterdir() if inner.is_dir())
    return tuple((str(one), found.st_size, found.st_mtime_ns) for one in watched if (found := one.stat()))


@functools.lru_cache(maxsize=8)
def _load(name: str, folder: Path | None, image_size: int | None, state: tuple[_Stamp, ...]) -> DataSet:
    return DATA_SETS[name](folder, image_size)


@functools.lru_cache(maxsize=8)
def _load_user_data(
    name: str, loader: Loader, folder: Path | None, image_size: int | None, state: tuple[_Stamp, ...]
) -> DataSet:
    with errors_in_file(getattr(getattr(loader, "__code__", None), "co_filename", name)):
        data = loader(folder, image_size)
    if not isinstance(data, DataSet):
        raise UsageError(f"the data set {name} is {shorten(data)}, not a DataSet; use `from_splits` to make one")
    if min(len(data.train), len(data.validation), len(data.test)) == 0:
        raise UsageError(f"the data set {name} has a split without images")
    return data
