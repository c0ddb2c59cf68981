"""Writes a layer as a file for people who do not have evonas."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from evonas.errors import UsageError, shorten
from evonas.kernels.export.formats import Concrete, to_json, to_latex, to_onnx, to_pt2
from evonas.kernels.export.torch_source import check_class_name, to_torch
from evonas.language.graph import Graph

SUFFIXES = {"py": ".py", "json": ".json", "pt2": ".pt2", "onnx": ".onnx", "latex": ".tex"}
"""The formats of `export_as`, and how their files usually end."""
PROGRAMS = ("pt2", "onnx")
"""Formats of programs, which are made for a number of channels."""


def export_layer(
    graph: Graph,
    path: str | Path,
    *,
    class_name: str = "Layer",
    provenance: Mapping[str, str] | Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
    force: bool = False,
    linear: Graph | None = None,
    triton: bool = True,
) -> Path:
    """Write `graph` to `path` as one self-contained Python module that needs only torch.

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
        triton: whether the file holds the layer's Triton kernels, which compute it where there is Triton and a GPU.

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
    write_file(path, to_torch(graph, class_name, header, linear, triton).encode(), force=force)
    return path


def export_as(
    form: str,
    graph: Graph,
    path: str | Path,
    *,
    class_name: str = "Layer",
    provenance: Mapping[str, str],
    size: Concrete | None = None,
    space: str = "evonorm",
    triton: bool = True,
    force: bool = False,
) -> Path:
    """Write `graph` to `path` in one of the formats `SUFFIXES`; `evonas.kernels.export.formats` says what each holds.

    Args:
        form: the format.
        graph: the layer before its affine.
        path: the file; its folder must exist.
        class_name: the name of the class, for `py`.
        provenance: where the layer comes from, by name; text of any content.
        size: for `pt2` and `onnx`.
        space: the name of the search space, for `json`.
        triton: whether `py` holds Triton kernels.
        force: whether a file that is there may be replaced.

    Raises:
        UsageError: for what cannot be written so, or a file that exists, or a place that cannot be written to.
    """
    path = Path(path)
    check_class_name(class_name)
    check_place(path, force=force)  # before the work
    if form == "py":
        return export_layer(graph, path, class_name=class_name, provenance=provenance, triton=triton, force=force)
    if form in PROGRAMS:
        if size is None:
            raise UsageError(f"a file for {form} is made for a number of channels: name it with --channels")
        data = (to_pt2 if form == "pt2" else to_onnx)(graph, provenance, size)
    elif form == "json":
        data = to_json(graph, provenance, space)
    else:
        data = to_latex(graph, provenance)
    write_file(path, data, force=force)
    return path


def check_place(path: Path, *, force: bool) -> None:
    """Raises UsageError when a file exists and `force` is not given, or it could not be written."""
    shown = shorten(str(path), 200)
    try:
        if path.is_dir():
            raise UsageError(f"{shown} is a folder; name a file")
        if not force and os.path.lexists(path):
            raise UsageError(f"{shown} exists; use --force to replace it")
        if not path.parent.is_dir():
            raise UsageError(f"the folder {shorten(str(path.parent), 200)} does not exist; create it first")
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from None


def write_file(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file whole or not at all: under another name first, which then becomes `path`.

    Raises:
        UsageError: when the file exists and `force` is not given, or it cannot be written.
    """
    check_place(path, force=force)
    try:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from None


def _cannot_write(path: Path, error: OSError | ValueError) -> UsageError:
    # A ValueError is a name that no file can have.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(f"cannot write {shorten(str(path), 200)}: {reason}")
