"""Archives of image folders, tar or zip, decoded once into the cache.

Small images are quicker to carry about as one file: CIFAR-10 is 60,000 files, and decoding them takes ten seconds each
time. The cache has the decoded pixels, under the digest of the archive.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import torch

from evonas.cache import cache_folder, locked
from evonas.errors import UsageError
from evonas.workers.data.splits import Split

_SPLITS = ("train", "validation", "val", "test")
_FORMAT = 1
"""Number of the cache's format. A change of how images are read needs a new one."""

Reader = Callable[[Path, int | None], dict[str, Split]]
"""Reads an unpacked folder: its place and `image_size` give the images by split."""


def read_archive(archive: Path, image_size: int | None, read_folder: Reader) -> dict[str, Split]:
    """Read the images of an archive, by split, from the cache if it has been read before.

    An image is a member …/train/CLASS/NAME, or the same with validation, val or test. The folders above, if any, are
    ignored. Nothing is written outside the cache, whatever the names of members.

    Args:
        archive: a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip file.
        image_size: as in `load_image_folder`.
        read_folder: reads the unpacked folder.

    Raises:
        UsageError: The file is not such an archive, is damaged, or its images cannot be used.
    """
    try:
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{archive} cannot be read: {error.strerror}") from None
    cached = cache_folder() / "data" / f"{digest[:32]}-{image_size or 'whole'}-{_FORMAT}.npz"
    try:
        with locked(cached.with_suffix(".lock")):  # the workers of one machine all ask at the same time
            return _from_cache(cached) or _decoded(archive, image_size, read_folder, cached)
    except OSError:  # a cache that cannot be written
        return _decoded(archive, image_size, read_folder, None)


def _from_cache(path: Path) -> dict[str, Split] | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = [name[2:] for name in stored.files if name.startswith("x_")]
            return {n: Split(torch.from_numpy(stored[f"x_{n}"]), torch.from_numpy(stored[f"y_{n}"])) for n in names}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # damaged: it is decoded again
        return None


def _decoded(archive: Path, image_size: int | None, read_folder: Reader, cached: Path | None) -> dict[str, Split]:
    with tempfile.TemporaryDirectory(prefix="evonas-images-") as place:
        folder = Path(place).resolve()
        if not _unpack(archive, folder):
            raise UsageError(f"{archive} has no images at train/CLASS/NAME.png")
        try:
            splits = read_folder(folder, image_size)
        except UsageError as error:  # its paths are those of the unpacked folder
            raise UsageError(str(error).replace(str(folder), str(archive))) from None
    if cached is not None:
        arrays = {
            f"{axis}_{name}": t.numpy() for name, s in splits.items() for axis, t in (("x", s.images), ("y", s.labels))
        }
        with suppress(OSError), tempfile.NamedTemporaryFile(dir=cached.parent, suffix=".npz", delete=False) as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.close()
            Path(file.name).replace(cached)
    return splits


def _unpack(archive: Path, folder: Path) -> int:
    """Write the images of an archive to a folder; return their number."""
    count = 0
    try:
        for name, file in _members(archive):
            parts = PurePosixPath(name).parts[-3:]
            if len(parts) < 3 or parts[0] not in _SPLITS or ".." in parts or parts[2].startswith("."):
                continue
            path = folder.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                shutil.copyfileobj(file, target)
            count += 1
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
        raise UsageError(
            f"{archive} cannot be read as a tar or zip archive of images ({type(error).__name__}): see "
            "`--data image-folder` in the README for what it should hold"
        ) from None
    return count


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files of an archive with their names, in its order, because tar has no index."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if not info.is_dir():
                    with opened.open(info) as file:
                        yield info.filename, file
        return
    with tarfile.open(archive, "r|*") as stream:
        for member in stream:
            content = stream.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, content
