"""Where trainings are carried out: the options that every command has which starts some."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from evonas.front import make_executor as executors


class Where(executors.Workers):
    """What those options say; the arguments of `make_executor`, and of what calls it."""

    executor: str


def says_where(command: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for each parameter of `_where` in the place of its own parameter `where`."""
    own, shared = (inspect.signature(function, eval_str=True).parameters for function in (command, _where))

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        where = _where(**{name: given.pop(name) for name in shared})
        command(**given, where=where)

    parameters = [each for one in own.values() for each in (shared.values() if one.name == "where" else [one])]
    # Typer reads both, and names that it looks up would be those of this file.
    with_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # any function may have it
        [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    )
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


def _where(
    executor: Annotated[str, typer.Option(help="'ray', or 'local' for one task at a time in this process.")] = "ray",
    workers: Annotated[
        int | None, typer.Option(help="Ray workers; by default as many as fit on its CPUs and GPUs.")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="A running Ray cluster: HOST:PORT, or 'auto' on one of its machines (docs/CLUSTER.md). By default "
            "that of RAY_ADDRESS, which `ray job submit` sets, or else a Ray on this machine."
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(help="GPUs of a Ray worker, such as 0.25; 1 by default when training on cuda.")
    ] = None,
    cpus_per_worker: Annotated[int, typer.Option(help="CPUs of a Ray worker, and threads that it computes with.")] = 1,
    recycle_after: Annotated[
        int | None,
        typer.Option(help="Replace a Ray worker by a new process after so many candidates; never by default."),
    ] = None,
) -> Where:
    """What was asked for, refused before anything starts where it makes no sense."""
    where = Where(
        executor=executor,
        workers=workers,
        ray_address=ray_address,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker,
        recycle_after=recycle_after,
    )
    executors.check_executor(**where)
    return where
