"""CIFAR files in their published formats, filled with images that identify themselves."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes what Python 2 wrote: byte strings as such, text alike, and numpy's old module names.

    The pickles of today say the same in another way, which is not how the published files are written.
    """

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def _string(self, value: bytes | str) -> None:
        content = value.encode() if isinstance(value, str) else value
        short = len(content) < 256
        self.write((b"U" + bytes([len(content)]) if short else b"T" + struct.pack("<i", len(content))) + content)
        self.memoize(value)

    dispatch[bytes] = _string
    dispatch[str] = _string

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = {"numpy._core.multiarray": "numpy.core.multiarray"}.get(obj.__module__, obj.__module__)
        self.write(f"c{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch[type] = save_global
    dispatch[type(len)] = save_global


def pickled(document: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(document)
    return stream.getvalue()


def rows(first: int, count: int) -> Array:
    """Make images of 3 × 32 × 32 bytes, whose first two bytes are the number of the image, from `first` on."""
    pattern = (np.arange(3072) // 5 % 251).astype(np.uint8)
    images = np.tile(pattern, (count, 1))
    numbers = np.arange(first, first + count)
    images[:, 0], images[:, 1] = numbers // 256, numbers % 256
    return images


def numbers_of(images: Array) -> Array:
    """Return the numbers of images (n, 3, 32, 32)."""
    return images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]


def label_of(number: Array, classes: int) -> Array:
    return number * 7 % classes


def batch(first: int, count: int, classes: int) -> dict[bytes, Any]:
    """Return the content of a pickled file."""
    labels = label_of(np.arange(first, first + count), classes).tolist()
    document: dict[bytes, Any] = {b"batch_label": b"some batch", b"data": rows(first, count)}
    if classes == 100:
        # Wrong on purpose where it is the fine labels that are wanted.
        return document | {b"coarse_labels": [0] * count, b"fine_labels": labels}
    return document | {b"labels": labels, b"filenames": [b"a.png"] * 3}


def records(first: int, count: int, classes: int) -> bytes:
    """Return the content of a binary file."""
    labels = label_of(np.arange(first, first + count), classes).astype(np.uint8)[:, None]
    coarse = [np.full_like(labels, 19)] if classes == 100 else []
    return np.concatenate([*coarse, labels, rows(first, count)], axis=1).tobytes()


def files(name: str) -> dict[str, bytes]:
    """Return the files of an archive by their published names; test images are numbered from 50,000."""
    classes, ending = (100 if "100" in name else 10), "" if name.endswith("python") else ".bin"
    write = records if ending else lambda *what: pickled(batch(*what))
    parts = {"train": (0, 50_000), "test": (50_000, 10_000)}
    if classes == 10:
        parts = {f"data_batch_{n + 1}": (n * 10_000, 10_000) for n in range(5)} | {"test_batch": (50_000, 10_000)}
    return {part + ending: write(first, count, classes) for part, (first, count) in parts.items()}


FOLDERS = {
    "cifar-10-python": "cifar-10-batches-py",
    "cifar-10-binary": "cifar-10-batches-bin",
    "cifar-100-python": "cifar-100-python",
    "cifar-100-binary": "cifar-100-binary",
}


def unpacked(name: str, place: Path) -> Path:
    folder = place / FOLDERS[name]
    folder.mkdir(parents=True)
    for file, content in files(name).items():
        (folder / file).write_bytes(content)
    return folder


def archive(name: str, place: Path) -> Path:
    path = place / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for file, content in {"readme.html": b"<html>", **files(name)}.items():
            member = tarfile.TarInfo(f"{FOLDERS[name]}/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
