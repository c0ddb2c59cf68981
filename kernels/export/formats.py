"""A layer in other formats: JSON, LaTeX, and programs for torch.export and for ONNX runtimes."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from evonas.errors import GraphError, UsageError, shorten
from evonas.kernels.export.torch_source import to_torch
from evonas.kernels.printing.docstring import quoted
from evonas.language.graph import Graph

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

_EXAMPLE = (3, 8, 9)
"""Batch, height and width of the input that is traced; all differ, so that none is mistaken for another."""
_OPSET = 18


@dataclass(frozen=True, slots=True)
class Concrete:
    """The size of the layer in a program, and its state.

    Attributes:
        channels, groups, eps, dim, start: as in `evonas.NormAct`. With a `dim` of -1 the input is (b, t, c).
        state: a file with the `state_dict` of a trained layer, as `torch.save` writes it; None for a new layer.
    """

    channels: int
    groups: int = 32
    eps: float = 1e-5
    state: Path | None = None
    dim: int = 1
    start: Mapping[str, float] = field(default_factory=dict)


def to_json(graph: Graph, facts: Mapping[str, str], space: str = "evonorm") -> bytes:
    """A JSON document that `Graph.from_json` reads; it also holds the layer's expression, key and provenance."""
    document = json.loads(graph.to_json(space))
    document |= {"key": graph.key, "expression": graph.written(), "provenance": dict(facts)}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def to_latex(graph: Graph, facts: Mapping[str, str]) -> bytes:
    """A displayed formula with the affine, below comments that say where the layer comes from.

    Raises:
        UsageError: if the formula of the graph is too long to be written.
    """
    try:
        formula = graph.latex()
    except GraphError as error:
        raise UsageError(f"this layer has no formula in one line: {error}") from None
    comments = [f"% {quoted(f'{name}: {value}')}" for name, value in facts.items()]
    lines = [*comments, r"\[", rf"    y = \gamma \left({formula}\right) + \beta", r"\]"]
    return ("\n".join(lines) + "\n").encode()


def to_pt2(graph: Graph, facts: Mapping[str, str], size: Concrete) -> bytes:
    """A program in evaluation mode that `torch.export.load` reads, for any batch and number of positions.

    The extra file `provenance.json` says where the layer comes from.

    Raises:
        UsageError: if a number is out of range, or the state does not belong to the layer.
    """
    file = io.BytesIO()
    torch.export.save(_program(graph, size), file, extra_files={"provenance.json": json.dumps(dict(facts))})
    return file.getvalue()


def to_onnx(graph: Graph, facts: Mapping[str, str], size: Concrete) -> bytes:
    """An ONNX model in evaluation mode, from `x` to `y` in float32, for any batch and number of positions.

    The metadata of the model say where the layer comes from.

    Raises:
        UsageError: as `to_pt2`, and if the packages onnx and onnxscript are not installed.
    """
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise UsageError("ONNX needs two packages that are not installed: pip install onnx onnxscript")
    program = _program(graph, size)
    with _quiet():
        made = torch.onnx.export(
            program,
            input_names=["x"],
            output_names=["y"],
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert made is not None  # with dynamo, the exporter returns the model
    model = made.model_proto
    for name, value in facts.items():
        model.metadata_props.add(key=quoted(name), value=quoted(value))
    return bytes(model.SerializeToString())


def _program(graph: Graph, size: Concrete) -> ExportedProgram:
    b, h, w = _EXAMPLE
    batch, height, width = (torch.export.Dim(name) for name in ("batch", "height", "width"))
    module = _module(graph, size)
    if size.dim == -1:
        tokens = torch.zeros(b, h, size.channels)
        return torch.export.export(module, (tokens,), dynamic_shapes=({0: batch, 1: torch.export.Dim("tokens")},))
    example = torch.zeros(b, size.channels, h, w)
    return torch.export.export(module, (example,), dynamic_shapes=({0: batch, 2: height, 3: width},))


def _module(graph: Graph, size: Concrete) -> nn.Module:
    """The layer in plain PyTorch, as in an exported file without kernels."""
    scope: dict[str, Any] = {"__name__": "layer"}
    exec(compile(to_torch(graph, start=size.start), "<layer>", "exec"), scope)
    try:
        module: nn.Module = scope["Layer"](size.channels, size.groups, size.eps, dim=size.dim)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if size.state is not None:
        shown = shorten(str(size.state), 200)
        try:
            state = torch.load(size.state, map_location="cpu", weights_only=True)
        except OSError as error:
            raise UsageError(f"{shown} cannot be read: {error.strerror}") from None
        except Exception as error:  # torch does not document what it raises for other files
            raise UsageError(f"{shown} is not a state_dict that torch.save wrote: {shorten(str(error))}") from None
        try:
            module.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise UsageError(f"{shown} is not the state of this layer: {shorten(str(error), 300)}") from None
    return module.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's remarks on packages with which it could do more."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
