"""CIFAR-10 and CIFAR-100 as published: the Python or the binary version, as an archive or unpacked."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evonas.errors import UsageError
from evonas.workers.data.dataset import DataSet, from_splits
from evonas.workers.data.pixels import resampled
from evonas.workers.data.safe_unpickle import read_batch
from evonas.workers.data.splits import Split

_PIXELS = 3 * 32 * 32
_HELD_OUT = 5000
"""Training images set aside for validation."""
_LARGEST = 400 * 2**20
"""Limit on the bytes of a file; the largest one, the training part of CIFAR-100, has 155 million."""


@dataclass(frozen=True)
class _Version:
    """One published form of a data set.

    Attributes:
        folder: the folder that the archive unpacks to.
        train, test: names of files.
        label: the key of the labels in a pickled file; None for binary files.
        label_bytes: label bytes before each image of a binary file; the last of them is the label.
    """

    folder: str
    train: Sequence[str]
    test: str
    label: bytes | None = None
    label_bytes: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        return *self.train, self.test


@dataclass(frozen=True)
class _Kind:
    """CIFAR-10 or CIFAR-100; ``train_images`` is the number of images per training file."""

    name: str
    title: str
    classes: int
    train_images: int
    versions: Sequence[_Version]


_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
_CIFAR10 = _Kind(
    "cifar10",
    "CIFAR-10",
    10,
    10_000,
    (
        _Version("cifar-10-batches-py", _BATCHES, "test_batch", label=b"labels"),
        _Version("cifar-10-batches-bin", [f"{name}.bin" for name in _BATCHES], "test_batch.bin", label_bytes=1),
    ),
)
_CIFAR100 = _Kind(
    "cifar100",
    "CIFAR-100",
    100,
    50_000,
    (
        _Version("cifar-100-python", ["train"], "test", label=b"fine_labels"),
        _Version("cifar-100-binary", ["train.bin"], "test.bin", label_bytes=2),  # coarse, then fine
    ),
)
_ARCHIVES = {
    "cifar-10-batches-py": "cifar-10-python.tar.gz",
    "cifar-10-batches-bin": "cifar-10-binary.tar.gz",
    "cifar-100-python": "cifar-100-python.tar.gz",
    "cifar-100-binary": "cifar-100-binary.tar.gz",
}


def load_cifar10(place: Path, image_size: int | None = None) -> DataSet:
    """Load CIFAR-10: 45,000 training, 5,000 validation and 10,000 test images, uint8 (n, 3, 32, 32).

    Args:
        place: the archive, the folder that it unpacks to, or a folder that contains either.
        image_size: height and width to resample images to; None for 32×32.

    Raises:
        UsageError: A file is missing, truncated or not a CIFAR file; the message names it.
    """
    return _load(_CIFAR10, place, image_size)


def load_cifar100(place: Path, image_size: int | None = None) -> DataSet:
    """Load CIFAR-100 with its 100 fine classes; arguments, splits and errors are those of `load_cifar10`."""
    return _load(_CIFAR100, place, image_size)


def _load(kind: _Kind, place: Path, image_size: int | None) -> DataSet:
    version, where, contents = _find(kind, place)
    digests: dict[bytes, str] = {}
    for name in version.files:
        if name not in contents:
            raise UsageError(f"{where} has no {name}: download {_ARCHIVES[version.folder]} again")
        # A test file under the name of a training file would let test images into training unnoticed.
        digest = hashlib.blake2b(contents[name]).digest()
        if digest in digests:
            raise UsageError(f"{where}: {name} is a copy of {digests[digest]}; replace it with the published file")
        digests[digest] = name

    def split(names: Sequence[str], count: int) -> Split:
        parts = [_file(kind, version, f"{where}/{name}", contents.pop(name), count) for name in names]
        images = torch.cat([part.images for part in parts])
        return Split(resampled(images, image_size), torch.cat([part.labels for part in parts]))

    train, test = split(version.train, kind.train_images), split([version.test], 10_000)
    return from_splits(kind.name, kind.classes, train, None, test, held=_HELD_OUT)


def _find(kind: _Kind, place: Path) -> tuple[_Version, str, dict[str, bytes]]:
    """Return the version found at a place, the folder or archive that holds it, and the contents of its files."""
    if place.is_file():
        return _in_archive(kind, place)
    for version in kind.versions:
        for folder in (place, place / version.folder):
            if any((folder / name).is_file() for name in version.files):
                return version, str(folder), _in_folder(folder, version)
    for version in kind.versions:
        archive = place / _ARCHIVES[version.folder]
        if archive.is_file():
            return _in_archive(kind, archive)
    names = " or ".join(_ARCHIVES[version.folder] for version in kind.versions)
    raise UsageError(f"{place} does not contain {kind.title}: put {names} there, or the folder that it unpacks to")


def _in_folder(folder: Path, version: _Version) -> dict[str, bytes]:
    contents = {}
    for name in version.files:
        path = folder / name
        if not path.is_file():
            continue
        try:
            _check_length(path.stat().st_size, path)
            contents[name] = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return contents


def _in_archive(kind: _Kind, archive: Path) -> tuple[_Version, str, dict[str, bytes]]:
    """Read the files of a version from an archive, without writing anything."""
    places = {f"{version.folder}/{name}": version for version in kind.versions for name in version.files}
    found: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(archive) as members:
            for member in members:  # to the end, so that the checksum of the archive is verified
                name = member.name.removeprefix("./")
                if name in places and member.isfile():
                    _check_length(member.size, f"{archive}/{name}")
                    stream = members.extractfile(member)
                    assert stream is not None  # the member is a file
                    found.setdefault(places[name].folder, {})[name.rpartition("/")[2]] = stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise UsageError(f"{archive} is cut off or damaged ({error}): download it again") from None
    for version in kind.versions:
        if version.folder in found:
            return version, f"{archive}/{version.folder}", found[version.folder]
    wanted = " or ".join(version.folder for version in kind.versions)
    raise UsageError(f"{archive} is not an archive of {kind.title}: it does not contain {wanted}")


def _check_length(length: int, where: object) -> None:
    if length > _LARGEST:
        raise UsageError(f"{where} has {length:,} bytes, more than any CIFAR file: download it again")


def _file(kind: _Kind, version: _Version, where: str, content: bytes, count: int) -> Split:
    """Read one file, which must hold ``count`` images and labels."""
    if version.label is not None:
        pixels, labels = read_batch(content, version.label, where, _PIXELS)
        if len(pixels) != count:
            raise UsageError(f"{where} has {len(pixels):,} images instead of {count:,}: download it again")
    else:
        record = version.label_bytes + _PIXELS
        if len(content) != count * record:
            raise UsageError(
                f"{where} has {len(content):,} bytes instead of {count:,} images of {record:,}: download it again"
            )
        table = np.frombuffer(content, np.uint8).reshape(count, record)
        pixels, labels = table[:, version.label_bytes :], table[:, version.label_bytes - 1].astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= kind.classes))
    if len(wrong):
        raise UsageError(
            f"{where}: image {wrong[0]} has label {labels[wrong[0]]}, but {kind.title} has labels 0 to "
            f"{kind.classes - 1}: the file is damaged or belongs to another data set; download it again"
        )
    return Split(torch.from_numpy(pixels.reshape(count, 3, 32, 32).copy()), torch.from_numpy(labels))
