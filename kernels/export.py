"""Writes a layer as a file for people who do not have evonas: a module that needs only torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from evonas.errors import UsageError, shorten
from evonas.graph import Graph
from evonas.kernels.torch_source import to_torch


def export_layer(
    graph: Graph,
    path: str | Path,
    *,
    class_name: str = "Layer",
    provenance: Mapping[str, str] | Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
    force: bool = False,
    linear: Graph | None = None,
) -> Path:
    """Write `graph` to `path` as one self-contained Python module.

    The class takes the arguments of `evonas.NormAct` less the graph and has the same parameters and
    buffers as `NormAct(graph, …)`, so that a `state_dict` of either loads into the other. That holds for
    this very graph: another spelling of it may number its running values differently.

    Args:
        graph: the layer before its affine.
        path: the file; its folder must exist.
        class_name: the name of the class.
        provenance: where the layer comes from, for the file's docstring; lines, or values by name. Text
            of any content: what could end the docstring or hide in it is spelled out.
        scores: the layer's scores by name, for the file's docstring.
        force: whether a file that is there may be replaced.
        linear: a layer for positions without an activation, written as a second class.

    Returns:
        The path that was written.

    Raises:
        UsageError: for a bad class name, a file that exists, or a place that cannot be written to.
    """
    lines = provenance
    if isinstance(provenance, str):
        lines = [provenance]
    elif isinstance(provenance, Mapping):
        lines = [f"{name}: {value}" for name, value in provenance.items()]
    header = [*lines, *(f"score on {name}: {value:.4g}" for name, value in (scores or {}).items())]
    path = Path(path)
    write_text(path, to_torch(graph, class_name, header, linear), force=force)
    return path


def write_text(path: Path, text: str, *, force: bool) -> None:
    """Write a file whole or not at all: under another name first, which then becomes `path`.

    Raises:
        UsageError: when the file exists and `force` is not given, or it cannot be written.
    """
    shown = shorten(str(path), 200)
    try:
        if path.is_dir():
            raise UsageError(f"{shown} is a folder; name a file")
        if not force and os.path.lexists(path):
            raise UsageError(f"{shown} exists; use --force to replace it")
        if not path.parent.is_dir():
            raise UsageError(f"the folder {shorten(str(path.parent), 200)} does not exist; create it first")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"cannot write {shown}: {reason}") from None
