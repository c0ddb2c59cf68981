"""The errors that evonas raises on purpose.

Each message is written for the person who reads it: what was wrong, where, and what to do about it.
The command line prints the message alone and exits with code 2; a traceback means a fault of ours.
"""

from __future__ import annotations

from collections.abc import Iterable


class EvonasError(Exception):
    """Base of every error raised on purpose."""


class UsageError(EvonasError):
    """A request that cannot be carried out as asked: an unknown name, a bad number, a missing folder."""


class GraphError(UsageError):
    """A layer that is not a layer: an unknown operation, wrong arity, a forward reference, too many nodes."""


class StorageError(EvonasError):
    """The database cannot be opened, read or written. Nothing already recorded is lost by it."""


class StorageUnavailableError(StorageError):
    """The database does not answer now, and may later: it is locked, its disk is full, its server is away."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in a registry, naming those that are."""
    names = ", ".join(sorted(known))
    return UsageError(f"unknown {kind} {shorten(name)}; known: {names}")


def shorten(value: object, limit: int = 60) -> str:
    """`value` as text that fits into a message, whatever its size or content; strings are quoted."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list within itself
        text = type(value).__name__
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return repr(text) if isinstance(value, str) else text
