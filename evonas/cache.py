"""The cache: the folder for generated code and decoded images, and safe ways to write to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cache_folder() -> Path:
    """The folder for generated files and decoded images: $EVONAS_CACHE, or `~/.cache/evonas` if that is not set."""
    named = os.environ.get("EVONAS_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "evonas"


def write_whole(path: Path, text: str) -> None:
    """Writes a file completely or not at all, even if several processes write it at the same time.

    Each process writes to a temporary file, and then renames it.

    Raises:
        OSError: if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock on a file, for which other processes wait; the lock ends with the process, however that ends.

    On file systems without locks, nobody waits.

    Raises:
        OSError: if the file cannot be created.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prune(folder: Path, most: int) -> None:
    """Deletes all but the newest `most` files of a folder; a search makes thousands, and uses most of them once."""
    files = []
    for path in folder.iterdir():
        with suppress(OSError):  # another process may be pruning too
            files.append((path.stat().st_mtime, path))
    for _, path in sorted(files)[: max(0, len(files) - most)]:
        path.unlink(missing_ok=True)
