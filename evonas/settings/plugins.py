"""Plugins: a user's own anchors, data sets, spaces, filters and objectives, from a file or an installed package.

A name such as ``path/to/file.py:name`` means the object ``name`` of that file. Any other name that is not built in is
looked up among the entry points of installed packages, in the group ``evonas.anchors`` for anchors, and so on.

A file is executed when a user names it: on the command line, in a preset, or in a call. A run records the path of the
file and a hash of its text. A file that is named only in a database is executed only if it still has the recorded hash.
Workers receive the text itself.
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
        key: the path as the user wrote it, by which names refer to the file.
        path: the absolute path.
        text: the contents of the file.
    """

    key: str
    path: str
    text: str

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text, in hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


_loaded: dict[str, tuple[Source, types.ModuleType]] = {}
"""The files that were executed in this process, by key."""


def is_reference(text: str) -> bool:
    """Whether a name refers to a user's file."""
    return _REFERENCE.fullmatch(text) is not None


def load_named_files(texts: Iterable[str]) -> tuple[Source, ...]:
    """Execute the files that a user's names refer to, and ignore other names.

    Raises:
        UsageError: a file cannot be read, or raises an exception; the message gives the line.
    """
    matches = (_REFERENCE.fullmatch(text) for text in texts)
    keys = dict.fromkeys(match["file"] for match in matches if match)
    sources = tuple(_read_source(key, Path(key).expanduser().absolute()) for key in keys)
    for source in sources:
        load_file(source)
    return sources


def load_file(source: Source) -> None:
    """Execute a file once, so that names can refer to it in this process.

    Raises:
        UsageError: the file raises an exception; the message gives the line.
    """
    if source.key in _loaded and _loaded[source.key][0] == source:
        return
    module = types.ModuleType(f"evonas_plugin_{source.sha256[:16]}")
    module.__file__ = source.path
    sys.modules[module.__name__] = module  # dataclasses resolve annotations there
    folder = str(Path(source.path).parent)
    if folder not in sys.path:  # so that it can import files beside it, as a script can
        sys.path.append(folder)
    with errors_in_file(source.path):
        exec(compile(source.text, source.path, "exec", dont_inherit=True), vars(module))
    _loaded[source.key] = source, module


def loaded_files() -> tuple[Source, ...]:
    """The files that were loaded in this process, which workers have to load as well."""
    return tuple(source for source, _ in _loaded.values())


@contextmanager
def errors_in_file(path: str) -> Iterator[None]:
    """Convert an exception of the block into one message that gives the line of the user's file.

    Args:
        path: the absolute path of the file.

    Raises:
        UsageError: the block raised an exception.
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


def file_of(text: str) -> str:
    """The path of the user's file that a name refers to, for messages; the name itself if it refers to none."""
    match = _REFERENCE.fullmatch(text)
    return text if match is None or match["file"] not in _loaded else _loaded[match["file"]][0].path


class Registry(Generic[T]):
    """Looks up names of one kind among the built-in rows, users' files and entry points.

    Args:
        kind: the kind for messages, such as "anchor".
        rows: the built-in rows by name.
        convert: makes a row from a name and the object that a file or package has under it; returns None for an
            object of the wrong kind.
        wanted: a description of the right kind of object, for messages.
    """

    def __init__(self, kind: str, rows: Mapping[str, T], convert: Callable[[str, Any], T | None], wanted: str) -> None:
        self.kind, self.rows, self._convert, self._wanted = kind, rows, convert, wanted
        self.group = f"evonas.{kind.replace(' ', '_')}s"

    def find(self, text: str) -> T:
        """The row with this name. A file must have been loaded before.

        Raises:
            UsageError: there is no such name, or its object is not of this kind.
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
                f"{unknown(self.kind, text, (*self.rows, *installed))}; or a file of your own, as FILE.py:NAME"
            )
        try:
            found = point.load()
        except Exception as error:
            raise UsageError(f"the {self.kind} {text} of {_package(point)} cannot be loaded: {error}") from error
        return self._checked(text, found)

    def entry_point(self, text: str) -> metadata.EntryPoint | None:
        """The entry point with this name, or None for a built-in row or where no installed package has one."""
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
            raise UsageError(f"{text} is not a valid {self.kind}: it must be {self._wanted}, not {shorten(found)}")
        return row


def plugin_records(sources: Iterable[Source], points: Iterable[tuple[str, metadata.EntryPoint]]) -> list[str]:
    """The records of files and of (group, entry point) pairs that a run keeps, each as JSON."""
    files = [{"file": s.key, "path": s.path, "sha256": s.sha256} for s in sources]
    packages = [{"entry": group, "name": p.name, "package": _package(p)} for group, p in points]
    return [json.dumps(record) for record in (*files, *packages)]


def load_recorded_files(recorded: Sequence[str]) -> None:
    """Load the files that a run recorded, if they have not changed since.

    Warns if an installed package has another version than recorded.

    Args:
        recorded: the run's `EvaluationProtocol.plugins`.

    Raises:
        UsageError: a file is gone or has changed, or a record cannot be read.
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
            raise UsageError(f"the run's record of its plugins cannot be read: {shorten(text)}") from None
        if "file" in record:
            if key in _loaded and _loaded[key][0].sha256 == sha256:
                continue
            source = _read_source(key, Path(path))
            if source.sha256 != sha256:
                raise UsageError(
                    f"{path} has changed since the run began, so new results would not be comparable: restore the file "
                    f"(SHA-256 {sha256[:12]}…), or start a new run"
                )
            load_file(source)
        else:
            point = next(iter(metadata.entry_points(group=group, name=name)), None)
            if point is not None and _package(point) != package:
                warnings.warn(
                    f"the run began with {name} of {package}, but {_package(point)} is installed", stacklevel=2
                )


def _read_source(key: str, path: Path) -> Source:
    try:
        return Source(key, str(path), path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise UsageError(f"{shorten(str(path), 200)} cannot be read: {reason}") from None


def _package(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"
