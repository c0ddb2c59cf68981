"""What users add: anchors, data sets, spaces, filters and objectives, from a file of theirs or an installed package.

A name such as ``path/to/file.py:name`` means what that file calls ``name``; any other name that is not evonas's own is
looked for among the entry points of installed packages, in the group ``evonas.anchors`` for anchors, and so on.

A file is run when a user names it: on the command line, in a preset, or in a call. A run records its path and a hash of
it. What comes out of a database is run only if the file at that path still has that hash. Workers get the text itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from evonas.errors import UsageError, shorten, unknown

T = TypeVar("T")

_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)(?P<rest>@.*)?")


@dataclass(frozen=True, slots=True)
class Source:
    """A user's file.

    Attributes:
        key: its path as the user wrote it, by which names refer to it.
        path: absolute.
        text: what is in it.
    """

    key: str
    path: str
    text: str

    @property
    def sha256(self) -> str:
        """The hash that tells whether it has changed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


_loaded: dict[str, tuple[Source, types.ModuleType]] = {}


def is_reference(text: str) -> bool:
    """Whether a name refers to a user's file."""
    return _REFERENCE.fullmatch(text) is not None


def name_files(texts: Iterable[str]) -> tuple[Source, ...]:
    """Reads and runs the files that a user's names refer to; other names are passed over.

    Raises:
        UsageError: a file cannot be read, or raises; the message says where.
    """
    matches = (_REFERENCE.fullmatch(text) for text in texts)
    keys = dict.fromkeys(match["file"] for match in matches if match)
    sources = tuple(_read(key, Path(key).expanduser().absolute()) for key in keys)
    for source in sources:
        load(source)
    return sources


def load(source: Source) -> None:
    """Runs a file, so that names can refer to it in this process; one that was run already is not run again.

    Raises:
        UsageError: it raises; the message says where.
    """
    if source.key in _loaded and _loaded[source.key][0] == source:
        return
    module = types.ModuleType(f"evonas_plugin_{source.sha256[:16]}")
    module.__file__ = source.path
    sys.modules[module.__name__] = module  # where dataclasses look for the names in annotations
    with speaking_of(source.path):
        exec(compile(source.text, source.path, "exec"), vars(module))
    _loaded[source.key] = source, module


def loaded() -> tuple[Source, ...]:
    """The files that names refer to in this process, for workers to load as well."""
    return tuple(source for source, _ in _loaded.values())


@contextmanager
def speaking_of(path: str) -> Iterator[None]:
    """Turns whatever the block raises into one message that names the line of the user's file.

    Raises:
        UsageError: the block raised.
    """
    try:
        yield
    except UsageError:
        raise
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise UsageError(f"{where}: {type(error).__name__}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        where = f"{path}, line {lines[-1]}" if lines else path
        message = (str(error).splitlines() or [""])[0]
        raise UsageError(f"{where}: {type(error).__name__}: {message[:300]}") from error


class Registry(Generic[T]):
    """What one kind of name means: evonas's own rows, users' files, and entry points.

    Args:
        kind: for messages, such as "anchor".
        rows: evonas's own.
        convert: makes a row of what a file or package calls by a name; called with that name and the object, it
            returns None for what is no such thing.
        wanted: what it has to be, in words.
    """

    def __init__(self, kind: str, rows: Mapping[str, T], convert: Callable[[str, Any], T | None], wanted: str) -> None:
        self.kind, self.rows, self._convert, self._wanted = kind, rows, convert, wanted
        self.group = f"evonas.{kind.replace(' ', '_')}s"

    def find(self, text: str) -> T:
        """The row that a name means; a file has to be loaded before.

        Raises:
            UsageError: nothing has that name, or it is no row of this kind.
        """
        if text in self.rows:
            return self.rows[text]
        match = _REFERENCE.fullmatch(text)
        if match is not None:
            return self._checked(text, self._in_file(match["file"], match["name"]))
        point = self.entry_point(text)
        if point is None:
            installed = (p.name for p in metadata.entry_points(group=self.group))
            raise UsageError(
                f"{unknown(self.kind, text, (*self.rows, *installed))}; or a file of yours, as FILE.py:NAME"
            )
        try:
            found = point.load()
        except Exception as error:
            raise UsageError(f"the {self.kind} {text} of {_package(point)} cannot be loaded: {error}") from error
        return self._checked(text, found)

    def entry_point(self, text: str) -> metadata.EntryPoint | None:
        """The entry point of an installed package that has this name."""
        if text in self.rows:
            return None
        return next(iter(metadata.entry_points(group=self.group, name=text)), None)

    def _in_file(self, key: str, name: str) -> Any:
        if key not in _loaded:
            raise UsageError(f"the file {shorten(key)} has not been loaded here: name it in the command that needs it")
        source, module = _loaded[key]
        if name not in vars(module):
            raise UsageError(f"{source.path} has no {self.kind} called {name}")
        return vars(module)[name]

    def _checked(self, text: str, found: Any) -> T:
        row = self._convert(text, found)
        if row is None:
            raise UsageError(f"{text} is no {self.kind}, which is {self._wanted}, but {shorten(found)}")
        return row


def records(sources: Iterable[Source], points: Iterable[tuple[str, metadata.EntryPoint]]) -> list[str]:
    """What a run records of files and of (group, entry point) pairs, each as JSON."""
    files = [{"file": s.key, "path": s.path, "sha256": s.sha256} for s in sources]
    packages = [{"entry": group, "name": p.name, "package": _package(p)} for group, p in points]
    return [json.dumps(record) for record in (*files, *packages)]


def restore(recorded: Sequence[str]) -> None:
    """Loads the files that a run recorded, if they are still what they were.

    A package of another version than recorded is warned of.

    Raises:
        UsageError: a file is gone or has changed, or the record cannot be read.
    """
    for text in recorded:
        try:
            record = json.loads(text)
            if "file" in record:
                key, path, sha256 = (str(record[name]) for name in ("file", "path", "sha256"))
            elif "entry" in record:
                group, name, package = (str(record[name]) for name in ("entry", "name", "package"))
            else:
                continue
        except (ValueError, TypeError, KeyError):
            raise UsageError(f"the run's record of what it used cannot be read: {shorten(text)}") from None
        if "file" in record:
            if key in _loaded and _loaded[key][0].sha256 == sha256:
                continue
            source = _read(key, Path(path))
            if source.sha256 != sha256:
                raise UsageError(
                    f"{path} has changed since the run began, and its results would not compare: put the file back as "
                    f"it was (SHA-256 {sha256[:12]}…), or start a new run"
                )
            load(source)
        else:
            point = next(iter(metadata.entry_points(group=group, name=name)), None)
            if point is not None and _package(point) != package:
                warnings.warn(f"the run began with {name} of {package}; installed is {_package(point)}", stacklevel=2)


def _read(key: str, path: Path) -> Source:
    try:
        return Source(key, str(path), path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{shorten(str(path), 200)} cannot be read: {reason}") from None


def _package(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"
