"""Presets: whole configurations as TOML files that people read, copy and edit.

A preset holds the fields of `RunConfig`, those of `EvaluationProtocol` in the table ``protocol``, and in the table
``spaces`` the values that differ for a particular search space, by its name.
"""

from __future__ import annotations

import json
import tomllib
import types
import typing
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from evonas.errors import UsageError, shorten, unknown
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig

DEFAULT = "small"
PRESETS = ("small", "pictures", "tokens", "paper")
_SUFFIX = ".toml"

Document = dict[str, Any]
_RUN = {**typing.get_type_hints(RunConfig), "space": str | dict[str, Any], "spaces": dict[str, Any]}
_RUN["protocol"] = dict[str, Any]
_PROTOCOL = typing.get_type_hints(EvaluationProtocol)


def read_preset(name: str) -> Document:
    """The document of a preset.

    Args:
        name: one of `PRESETS`, or the path of a ``.toml`` file.

    Raises:
        UsageError: there is no such preset, it is not TOML, or it has an unknown setting or a value of the wrong type.
    """
    if name in PRESETS:
        text = (resources.files(__name__) / f"{name}{_SUFFIX}").read_text()
    elif name.endswith(_SUFFIX):
        try:
            text = Path(name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
            raise UsageError(f"the preset {shorten(name)} cannot be read: {reason}") from None
    else:
        raise UsageError(f"{unknown('preset', name, PRESETS)}; or the path of a {_SUFFIX} file")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for numbers that are too long, and too deep a nesting
        raise UsageError(f"the preset {shorten(name)} is not TOML: {shorten(str(error), 200)}") from None
    _check(document)
    return document


def resolve(document: Document) -> Document:
    """A copy of a document with the values for its search space applied, and without the table ``spaces``."""
    space = document.get("space", "evonorm")
    plain = {**{key: value for key, value in document.items() if key != "spaces"}, "space": space}
    name = space if isinstance(space, str) else space.get("name")
    return merged(plain, document.get("spaces", {}).get(name, {}))


def merged(document: Document, changes: Mapping[str, Any]) -> Document:
    """A copy of `document` with the values of `changes`; the table ``protocol`` is merged key by key."""
    protocol = {**document.get("protocol", {}), **changes.get("protocol", {})}
    return {**document, **changes, "protocol": protocol}


def assignments(texts: list[str]) -> Document:
    """A document from assignments such as ``"population=100"`` and ``"protocol.lr=0.05"``, whose values are TOML.

    A value that is not TOML is taken as a string, so that names need no quotes.

    Raises:
        UsageError: an assignment has no ``=``, an unknown setting, or a value of the wrong type.
    """
    changes: Document = {"protocol": {}}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals):
            raise UsageError(f"a setting is KEY=VALUE, such as protocol.lr=0.05, not {shorten(text)}")
        place, _, name = key.rpartition(".")
        if place not in ("", "protocol") or (not place and name in ("space", "spaces", "protocol")):
            raise unknown("setting", key, _names())
        (changes["protocol"] if place else changes)[name] = _value(value)
    _check(changes)
    return changes


def preset_of(config: RunConfig) -> Document:
    """A run's configuration as the document of a preset that gives the same run."""
    document: Document = json.loads(config.to_json(), object_hook=_without_none)
    del document["protocol"]["seed"]  # follows from the run's seed
    document["protocol"].pop("plugins")  # follows from the names
    return document


def _without_none(table: Document) -> Document:
    return {key: value for key, value in table.items() if value is not None}  # TOML has no null


def _value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if len(document) == 1 else text


def _check(document: Mapping[str, Any], place: str = "") -> None:
    """Raise UsageError for the first key that is not a setting, or whose value has the wrong type."""
    for key, value in document.items():
        within_space = place and key in ("space", "spaces")
        if key not in _RUN or within_space:
            raise unknown("setting", place + key, _names())
        _check_kind(place + key, value, _RUN[key])
    for key, value in document.get("protocol", {}).items():
        if key not in _PROTOCOL:
            raise unknown("setting", f"{place}protocol.{key}", _names())
        _check_kind(f"{place}protocol.{key}", value, _PROTOCOL[key])
    for space, changes in document.get("spaces", {}).items():
        _check_kind(f"spaces.{space}", changes, dict[str, Any])
        _check(changes, f"spaces.{space}.")


def _names() -> list[str]:
    run = [name for name in _RUN if name not in ("space", "spaces", "protocol", "seed_graphs")]
    return [*run, *(f"protocol.{name}" for name in _PROTOCOL if name not in ("seed", "plugins"))]


def _check_kind(key: str, value: Any, kind: Any) -> None:
    if not _fits(value, kind):
        raise UsageError(f"{key} must be {_words(kind)}, not {shorten(value)}")


def _fits(value: Any, kind: Any) -> bool:
    arguments = typing.get_args(kind)
    match typing.get_origin(kind) or kind:
        case typing.Literal:
            return value in arguments
        case types.UnionType | typing.Union:
            return any(_fits(value, argument) for argument in arguments)
        case builtin if builtin is tuple:
            return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
        case builtin if builtin is float:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case builtin if builtin is int:
            return isinstance(value, int) and not isinstance(value, bool)
        case builtin:
            return isinstance(value, builtin)


def _words(kind: Any) -> str:
    arguments = typing.get_args(kind)
    match typing.get_origin(kind) or kind:
        case typing.Literal:
            return " or ".join(map(repr, arguments))
        case types.UnionType | typing.Union:
            return " or ".join(_words(argument) for argument in arguments if argument is not type(None))
        case builtin if builtin is tuple:
            return f"a list, each item {_words(arguments[0])}"
        case builtin:
            names = {int: "an integer", float: "a number", str: "text", bool: "true or false", dict: "a table"}
            return names.get(builtin, str(builtin))
