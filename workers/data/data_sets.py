"""Data sets that candidates are trained and scored on, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from evonas.errors import UsageError, shorten
from evonas.settings.plugins import Registry, errors_in_file
from evonas.workers.data import cifar, digits, image_folder
from evonas.workers.data import npz_data as arrays
from evonas.workers.data.batches import Batches
from evonas.workers.data.dataset import DataSet
from evonas.workers.data.splits import Split, stratified_order

__all__ = ["DATA_SETS", "REGISTRY", "Batches", "DataSet", "Split", "load_dataset", "stratified_order"]


Loader = Callable[[Path | None, int | None], DataSet]


def _from(name: str, load: Callable[[Path, int | None], DataSet]) -> Loader:
    """A loader of files, which have to be somewhere."""

    def loaded(folder: Path | None, image_size: int | None) -> DataSet:
        if folder is None:
            raise UsageError(f"the data set {name} is read from files: say where they are with --data-dir")
        return load(folder, image_size)

    return loaded


DATA_SETS: Mapping[str, Loader] = MappingProxyType(
    {
        "digits": lambda _, image_size: digits.load(image_size),
        "cifar10": _from("cifar10", cifar.load_cifar10),
        "cifar100": _from("cifar100", cifar.load_cifar100),
        "image-folder": _from("image-folder", image_folder.load),
        "npz": _from("npz", arrays.load),
    }
)
"""Each called with its folder or file, and the height and width to resample images to."""


REGISTRY: Registry[Loader] = Registry(
    "data set",
    DATA_SETS,
    lambda _, found: found if callable(found) else None,
    "a function of a folder and an image size that returns a DataSet",
)


def load_dataset(name: str, folder: Path | None = None, image_size: int | None = None) -> DataSet:
    """Load a data set by name; a process keeps what it has loaded.

    Args:
        name: a key of :data:`DATA_SETS`, or what `evonas.settings.plugins` says of names.
        folder: the folder or file of data sets that have any.
        image_size: height and width to resample images to as they are read; None leaves them.

    Raises:
        UsageError: the name is unknown, the folder does not exist, or what is in it is no such data set.
    """
    own = None if name in DATA_SETS else REGISTRY.find(name)
    if folder is not None and not folder.exists():
        raise UsageError(f"data folder {str(folder)!r} does not exist: create it, or name another")
    return _load(name, folder, image_size) if own is None else _load_own(name, own, folder, image_size)


@functools.cache
def _load(name: str, folder: Path | None, image_size: int | None) -> DataSet:
    return DATA_SETS[name](folder, image_size)


@functools.cache
def _load_own(name: str, loader: Loader, folder: Path | None, image_size: int | None) -> DataSet:
    with errors_in_file(getattr(getattr(loader, "__code__", None), "co_filename", name)):
        data = loader(folder, image_size)
    if not isinstance(data, DataSet):
        raise UsageError(f"the data set {name} is {shorten(data)}, not a DataSet; `from_splits` makes one")
    if min(len(data.train), len(data.validation), len(data.test)) == 0:
        raise UsageError(f"the data set {name} has a split without images")
    return data
