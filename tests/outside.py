"""Text from outside as hypothesis and an attacker think of it, and a watch over what a reader does with it."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from evonas.errors import EvonasError
from evonas.language.primitive_table import PRIMITIVES

T = TypeVar("T")

RUNS = "import os; os.system('touch pwned')"
PAYLOADS = (
    *(f'"""\n{RUNS}\n"""', f"'); {RUNS} #", f"{{{RUNS}}}", "__import__('os').system('touch pwned')"),
    *("$(touch pwned)", "`touch pwned`", "; touch pwned", "| touch pwned", "x\ntouch pwned", "-o pwned"),
    *("'; DROP TABLE runs; --", "1 OR 1=1", "1/0; DELETE FROM candidates", "%s%n{0}{name}", "../../pwned", "/dev/full"),
    *("\0", "\ud800", "\u202e", "\x1b]0;x\x07", "x" * 300, "(" * 300, "[" * 300, "9" * 300, "-" * 300 + "x"),
    pickle.dumps(os.system).decode("latin1"),
)
LETTERS = "xv01 ()+-*/,.=<>[]{}_abceghmnoqrstuw'\"\\;:#@$%&|~?!\n\t\0é\u2028"


def hostile(size: int = 80) -> st.SearchStrategy[str]:
    return st.one_of(st.text(max_size=size), st.text(LETTERS, max_size=size), st.sampled_from(PAYLOADS))


@st.composite
def damaged(draw: st.DrawFn, texts: tuple[str, ...]) -> str:
    """A text that is right, with something in the place of a part of it."""
    text = draw(st.sampled_from(texts))
    start = draw(st.integers(0, len(text)))
    end = min(len(text), start + draw(st.integers(0, 6)))
    return text[:start] + draw(st.one_of(hostile(8), st.sampled_from(sorted(PRIMITIVES)))) + text[end:]


def anything() -> st.SearchStrategy[Any]:
    """What JSON can say."""
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), hostile(20), st.sampled_from(sorted(PRIMITIVES))
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile(8), inner), max_leaves=8
    )


_STARTED = {"os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen"}
_UNPICKLED = {"pickle.find_class", "code.__new__", "ctypes.dlopen"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_seen: list[tuple[str, object]] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if event in _STARTED | _UNPICKLED:
        _seen.append((event, arguments[:1]))
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""
        if path and "__pycache__" not in path:  # a module that is imported for the first time
            _seen.append(("write", path))


sys.addaudithook(_hook)


@contextmanager
def nothing_happens(but_in: Path | None = None) -> Iterator[None]:
    """Fails if the block starts a process, unpickles, loads a library, or writes a file that is not in a folder."""
    global _seen
    before, _seen = _seen, []
    try:
        yield
    finally:
        seen, _seen = _seen, before
    inside = [("write", name) for name in map(str, but_in.iterdir())] if but_in else []
    assert [one for one in seen if one not in inside and not _temporary(one, but_in)] == []


def _temporary(one: tuple[str, object], folder: Path | None) -> bool:
    """A file under another name, as it is before it is whole; it has to lie in the same folder."""
    return folder is not None and one[0] == "write" and Path(str(one[1])).parent == folder


def read(reader: Callable[[], T]) -> T | None:
    """What a reader makes of something; None where it says, in a line or few, that it makes nothing of it."""
    with nothing_happens():
        try:
            return reader()
        except EvonasError as error:
            assert 0 < len(str(error)) < 2000
            return None


@contextmanager
def emptied() -> Iterator[Path]:
    """A folder of one's own to be in."""
    import tempfile

    here = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(here)
