"""Adds the options for the executor and its workers to every command that starts trainings.

Names, types, defaults and help texts of the worker options are those of `evonas.setup.make_executor.Workers`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from evonas.setup.make_executor import WORKER_DEFAULTS, Workers, check_executor


class ExecutorOptions(Workers):
    """What these options say; they are keyword arguments of `make_executor` and of the functions that call it."""

    executor: Annotated[str, "'ray', or 'local' for one task at a time in this process."]


_DEFAULTS: ExecutorOptions = {"executor": "ray", **WORKER_DEFAULTS}
_PARAMETER = "execution"


def with_executor_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replaces the parameter `execution` of a command by one option for each key of `ExecutorOptions`.

    The command receives them as one value, which is checked before anything starts.
    """
    own = inspect.signature(command, eval_str=True).parameters
    shared = _option_parameters()

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        execution: ExecutorOptions = {name: values.pop(name) for name in shared}  # type: ignore[assignment]  # all keys
        check_executor(**execution)
        command(**values, execution=execution)

    parameters = [each for one in own.values() for each in (shared.values() if one.name == _PARAMETER else [one])]
    # Typer reads both. The annotations are values, as it would look names up in the wrong module.
    with_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # any function may have it
        [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    )
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


def _option_parameters() -> dict[str, inspect.Parameter]:
    hints = get_type_hints(ExecutorOptions, include_extras=True)
    found = {}
    for name, default in _DEFAULTS.items():
        (help_text,) = hints[name].__metadata__
        option = typer.Option(default, help=help_text)
        kind = inspect.Parameter.KEYWORD_ONLY
        found[name] = inspect.Parameter(name, kind, default=option, annotation=hints[name].__origin__)
    return found
