"""Archives of image folders, tar or zip, decoded once into the cache.

Small images are quicker to carry about as one file: CIFAR-10 is 60,000 files, and decoding them takes ten seconds each
time. The cache has the decoded pixels, under the digest of the archive.
"""

from __future__ import annotations

import hashlib
import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import torch
from PIL import __version__ as pillow_version

from evonas.cache import cache_folder, locked
from evonas.errors import UsageError
from evonas.workers.data.splits import Split

_SPLITS = ("train", "validation", "val", "test")
_FORMAT = 2
"""Number of the cache's format. A change of how images are read needs a new one."""
_RESOURCE_FORKS = "__MACOSX"
"""A folder that macOS adds to zip archives, whose files are named like the images and are none."""

Reader = Callable[[Path, int | None], dict[str, Split]]
"""Reads an unpacked folder: its place and `image_size` give the images by split."""
_Member = tuple[str, IO[bytes] | None]
"""The name of a member, and its content if it is a file rather than a folder."""


class _LinkError(Exception):
    """A member is a link, which is not followed; the message is its name."""


def read_archive(archive: Path, image_size: int | None, read_folder: Reader) -> dict[str, Split]:
    """Read the images of an archive, by split, from the cache if it has been read before.

    The result is that of the unpacked folder. An image is a member …/train/CLASS/NAME, or the same with validation, val
    or test. The folders above, if any, are ignored, but must be the same. Members are written to a temporary folder
    only, whatever their names.

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
        raise UsageError(f"{archive} cannot be read ({error.strerror}): check its name and permissions") from None
    # Versions of Pillow decode and resample a little differently.
    name = f"{digest[:32]}-{image_size or 'whole'}-pillow-{pillow_version}-{_FORMAT}.npz"
    cached = cache_folder() / "data" / name
    if (found := _from_cache(cached)) is not None:
        return found
    with ExitStack() as held:
        try:
            held.enter_context(locked(cached.with_suffix(".lock")))  # the workers of one machine all ask at once
        except OSError:  # a cache that cannot be written
            return _decoded(archive, image_size, read_folder)
        if (found := _from_cache(cached)) is None:  # nobody wrote it meanwhile
            found = _decoded(archive, image_size, read_folder)
            _to_cache(cached, found)
        return found


def _from_cache(path: Path) -> dict[str, Split] | None:
    """Return what is in the cache; None if it is not there or damaged, so that it is decoded again."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = [name[2:] for name in stored.files if name.startswith("x_")]
            found = {n: Split(torch.from_numpy(stored[f"x_{n}"]), torch.from_numpy(stored[f"y_{n}"])) for n in names}
    except Exception:  # damaged files make the readers of zip and numpy raise almost anything
        return None
    return found if "train" in found else None


def _to_cache(path: Path, splits: dict[str, Split]) -> None:
    """Write a file of the cache completely or not at all; a full disk is no reason to fail."""
    arrays: dict[str, Any] = {}  # the type of savez takes arrays for its other arguments
    for name, split in splits.items():
        arrays[f"x_{name}"], arrays[f"y_{name}"] = split.images.numpy(), split.labels.numpy()
    with suppress(OSError), tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.savez(file, **arrays)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _decoded(archive: Path, image_size: int | None, read_folder: Reader) -> dict[str, Split]:
    with tempfile.TemporaryDirectory(prefix="evonas-images-") as place:
        folder = Path(place).resolve()
        root = _root(archive, _unpack(archive, folder))
        try:
            return read_folder(folder / root, image_size)
        except UsageError as error:  # its paths are those of the unpacked folder
            raise UsageError(str(error).replace(str(folder), str(archive))) from None


def _root(archive: Path, roots: set[PurePosixPath]) -> PurePosixPath:
    """Return the one folder of an archive that contains train, out of all that do."""

    def inside(folder: PurePosixPath, root: PurePosixPath) -> bool:
        """Whether a folder is in a split of a root, such as that of a class that has a folder train."""
        depth = len(root.parts)
        return folder.parts[:depth] == root.parts and folder.parts[depth : depth + 1] in {(name,) for name in _SPLITS}

    found = sorted(folder for folder in roots if not any(inside(folder, root) for root in roots))
    if not found:
        raise UsageError(f"{archive} has no images at train/CLASS/NAME.png: pack the folder that contains train")
    if len(found) > 1:
        first, second, *_ = (f"{archive}/{root}".removesuffix("/.") for root in found)
        raise UsageError(f"{first} and {second} both contain train: pack one of them")
    return found[0]


def _unpack(archive: Path, folder: Path) -> set[PurePosixPath]:
    """Write splits, classes and their files to a folder; return the folders of the archive that contain train."""
    roots = set()
    try:
        for name, content in _members(archive):
            # Folders above the archive's own, as in an absolute name, are folders above train like any other.
            inner = PurePosixPath(*(part for part in PurePosixPath(name.lstrip("/")).parts if part != ".."))
            depth = _depth(inner, content is None)
            if not depth or _RESOURCE_FORKS in inner.parts:
                continue
            if inner.parts[-depth] == "train":
                roots.add(PurePosixPath(*inner.parts[:-depth]))
            _write(folder / inner, None if content is None else content.read())
    except _LinkError as error:
        raise UsageError(
            f"{archive}/{error} is a link, which is not followed: pack the files themselves, as with "
            "`tar --dereference --hard-dereference`"
        ) from None
    except (
        # RuntimeError for zip files with a password or an unknown compression.
        *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
        *(EOFError, OSError, RuntimeError, ValueError),
    ) as error:
        raise UsageError(
            f"{archive} cannot be read as a tar or zip archive of images ({_in_a_line(error)}): it is cut off, "
            "damaged, or no such archive; pack or copy it again"
        ) from None
    return roots


def _in_a_line(error: Exception) -> str:
    """Return what an error says; that of a file which is no archive goes on with a line for each kind of archive."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(":")


def _depth(name: PurePosixPath, folder: bool) -> int:
    """Return at which part, from the end, a name that belongs to a data set has its split: 1 is the last; 0 if none."""
    depths = (1, 2) if folder else (3,)
    return next((depth for depth in depths if len(name.parts) >= depth and name.parts[-depth] in _SPLITS), 0)


def _write(path: Path, content: bytes | None) -> None:
    """Write a file, or make a folder if there is no content."""
    try:
        (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
    except OSError as error:
        raise UsageError(
            f"an archive cannot be unpacked to {tempfile.gettempdir()} ({error.strerror}): name another folder for "
            "temporary files with TMPDIR"
        ) from None


def _members(archive: Path) -> Iterator[_Member]:
    """The files and folders of an archive, in its order, because compressed tar files have no index."""
    # The end of a tar file may be a zip file, one of its members.
    if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                _check_link(info.filename, stat.S_ISLNK(info.external_attr >> 16))
                if info.is_dir():
                    yield info.filename, None
                else:
                    with opened.open(info) as file:
                        yield info.filename, file
        return
    with tarfile.open(archive) as opened_tar:
        for member in opened_tar:
            _check_link(member.name, member.issym() or member.islnk())
            if member.isdir() or member.isreg():
                yield member.name, opened_tar.extractfile(member)
        _check_end(opened_tar)


def _check_link(name: str, link: bool) -> None:
    """Raise for a link where an image, a class or a split could be: it would be missing without notice."""
    if link and any(_depth(PurePosixPath(name), folder) for folder in (True, False)):
        raise _LinkError(name)


def _check_end(opened: tarfile.TarFile) -> None:
    """Raise if a tar file does not go on as it should after its last member: the reader takes that for its end."""
    file = opened.fileobj
    assert file is not None  # it is open
    file.seek(opened.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("unexpected end of data")
    while file.read(1 << 20):  # to the end, where the checksum of a compressed file is verified
        pass
