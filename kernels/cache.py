"""The folder that generated code lies in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cache_folder() -> Path:
    """Where generated files go: $EVONAS_CACHE, or a folder for caches in the user's home."""
    named = os.environ.get("EVONAS_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "evonas"


def write_whole(path: Path, text: str) -> None:
    """Writes a file that several processes may write at once: each under a name of its own, and whole or not at all.

    Raises:
        OSError: when it cannot be written.
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
def alone(path: Path) -> Iterator[None]:
    """Keeps other processes waiting that ask for the same file, and is let go of when a process ends in whatever way.

    File systems that know no locks let all of them through.

    Raises:
        OSError: when the file cannot be made.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prune(folder: Path, most: int) -> None:
    """Keeps the newest `most` files of a folder: a search makes thousands, and needs most of them once."""
    files = []
    for path in folder.iterdir():
        with suppress(OSError):  # another process prunes too
            files.append((path.stat().st_mtime, path))
    for _, path in sorted(files)[: max(0, len(files) - most)]:
        path.unlink(missing_ok=True)
