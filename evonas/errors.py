"""The errors that evonas raises on purpose.

Each message tells its reader what was wrong, where, and what to do about it. The command line prints only the message
and exits with code 2; a traceback means a bug in evonas.
"""

from __future__ import annotations

from collections.abc import Iterable


class EvonasError(Exception):
    """The base class of every error that evonas raises on purpose."""


class UsageError(EvonasError):
    """A request that makes no sense, such as an unknown name, a number out of range, or a missing folder."""


class GraphError(UsageError):
    """An invalid layer: an unknown operation, a wrong arity, a forward reference, or too many nodes."""


class MixedSizesError(UsageError):
    """Images have different sizes, and nothing says to which they are to be resampled."""


class StorageError(EvonasError):
    """The database cannot be opened, read or written. Nothing that is already recorded is lost."""


class StorageUnavailableError(StorageError):
    """The database is unavailable for now: it is locked, its disk is full, or its server does not answer."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UsageError:
    """The error for an unknown name; its message lists the known ones.

    Args:
        kind: what is named, such as "anchor".
        name: the unknown name.
        known: the known names.
    """
    names = ", ".join(sorted(known))
    return UsageError(f"unknown {kind} {shorten(name)}; known: {names}")


def shorten(value: object, limit: int = 60) -> str:
    """`value` as text of at most `limit` characters and two quotes, for a message; strings are quoted."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # a number with thousands of digits, or a list that contains itself
        text = type(value).__name__
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return repr(text) if isinstance(value, str) else text
