"""Writes a layer to a file that people without evonas can use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evonas.errors import UsageError, shorten
from evonas.kernels.export.formats import Concrete, to_json, to_latex, to_onnx, to_pt2
from evonas.kernels.export.torch_source import check_class_name, to_torch
from evonas.language.graph import Graph

SUFFIXES = {"py": ".py", "json": ".json", "pt2": ".pt2", "onnx": ".onnx", "latex": ".tex"}
"""The formats of `export_as`, each with the usual suffix of its files."""
PROGRAMS = ("pt2", "onnx")
"""The formats that hold a program, which is made for a fixed number of channels."""


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
    start: Mapping[str, float] | None = None,
) -> Path:
    """Write `graph` to `path` as one self-contained Python module that needs only torch.

    The class takes the arguments of `evonas.NormAct` except the graph, and has the same parameters and
    buffers as `NormAct(graph, …)`, so that the `state_dict` of either loads into the other. That holds for
    exactly this graph: another graph of the same function may number its running values differently.

    Args:
        graph: the layer before its affine.
        path: the file; its folder must exist.
        class_name: the name of the class.
        provenance: where the layer comes from, for the file's docstring: lines, or values by name. The text may
            hold anything; characters that could end the docstring or hide in it are escaped.
        scores: the layer's scores by name, for the file's docstring.
        force: whether to replace a file that exists.
        linear: a layer for positions without an activation, written as a second class.
        triton: whether the file holds the layer's Triton kernels, which compute it if Triton and a GPU are there. A
            layer with statistics at single positions has none.
        start: what parameters start at, by name, as in `NormAct`.

    Returns:
        The path of the file.

    Raises:
        UsageError: if the class name is not valid, the file exists, or it cannot be written.
    """
    lines = provenance
    if isinstance(provenance, str):
        lines = [provenance]
    elif isinstance(provenance, Mapping):
        lines = [f"{name}: {value}" for name, value in provenance.items()]
    header = [*lines, *(f"score on {name}: {value:.4g}" for name, value in (scores or {}).items())]
    path = Path(path)
    write_file(path, to_torch(graph, class_name, header, linear, triton, start).encode(), force=force)
    return path


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What each format needs beyond the graph.

    Attributes:
        class_name: the name of the class, for `py`.
        triton: whether the file holds Triton kernels, for `py`.
        space: the name of the search space, for `json`.
        start: what parameters start at, for `py`, `pt2` and `onnx`.
        size: the size of the layer, for `pt2` and `onnx`.
    """

    class_name: str = "Layer"
    triton: bool = True
    space: str = "evonorm"
    start: Mapping[str, float] = field(default_factory=dict)
    size: Concrete | None = None


def export_as(
    form: str,
    graph: Graph,
    path: str | Path,
    options: ExportOptions = ExportOptions(),
    *,
    provenance: Mapping[str, str],
    force: bool = False,
) -> Path:
    """Write `graph` to `path` in one of the formats of `SUFFIXES`, which `evonas.kernels.export.formats` describes.

    Args:
        form: the format.
        graph: the layer before its affine.
        path: the file; its folder must exist.
        options: what the format needs beyond the graph.
        provenance: where the layer comes from, by name; the text may hold anything.
        force: whether to replace a file that exists.

    Raises:
        UsageError: if the layer cannot be written in this format, the file exists, or it cannot be written.
    """
    path, name = Path(path), options.class_name
    check_class_name(name)
    check_place(path, force=force)  # before the work
    if form == "py":
        return export_layer(
            graph,
            path,
            class_name=name,
            provenance=provenance,
            triton=options.triton,
            start=options.start,
            force=force,
        )
    if form in PROGRAMS:
        if options.size is None:
            raise UsageError(f"the format {form} needs a fixed number of channels; set it with --channels")
        data = (to_pt2 if form == "pt2" else to_onnx)(graph, provenance, replace(options.size, start=options.start))
    elif form == "json":
        data = to_json(graph, provenance, options.space)
    else:
        data = to_latex(graph, provenance)
    write_file(path, data, force=force)
    return path


def check_place(path: Path, *, force: bool) -> None:
    """Raises UsageError if a file exists and `force` is not given, or if it could not be written."""
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
    """Write a file completely or not at all: a temporary file is written first and then renamed to `path`.

    Raises:
        UsageError: if the file exists and `force` is not given, or if it cannot be written.
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
    # A ValueError is raised for a name that no file can have.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(f"cannot write {shorten(str(path), 200)}: {reason}")
