"""The items to measure, the most important first, since a GPU may be available for only a few minutes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.kernels import row_layers
from benchmarks.kernels.contenders import COMPILED, TYPES
from benchmarks.kernels.correctness import SHAPES
from benchmarks.kernels.shapes import MAIN, Shape, mobilenetv2, resnet50
from evonas.language.zoo import zoo

LAYERS = ("bn-relu", "evonorm-s0", "evonorm-b0", "x * sigmoid(x) / rms_bwh(x * sigmoid(x))")
"""One layer that normalises as nn.BatchNorm2d does, one that uses statistics of single samples, one that needs moments
of planes and of the batch, and one that a search found."""
PARTS = ("machine", "prepare", "layers", "compiled", "launches", "rows", "host", "networks", "variants", "profile")
RANDOM_GRAPHS = 20
NETWORK_BATCH = 128
_NETWORKS = (
    ("batchnorm", "eager"),
    *((layer, "ours") for layer in LAYERS),
    ("batchnorm", "graph"),
    *((layer, "ours, graph") for layer in LAYERS),
    ("batchnorm", "compiled"),
    ("evonorm-s0", "ours, compiled"),
    ("evonorm-s0", "compiled"),
)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to measure.

    Attributes:
        part: one of `PARTS`.
        given: what identifies it within the part, as JSON values.
        limit: the seconds after which it is given up.
    """

    part: str
    given: dict[str, Any] = field(default_factory=dict)
    limit: float = 15.0

    @property
    def key(self) -> str:
        """Its name in the rows."""
        words = (f"{'x'.join(map(str, v)) if isinstance(v, list | tuple) else v}" for v in self.given.values())
        return " / ".join([self.part, *words])


def _case(layer: str, shape: Shape, dtype: str, last: bool) -> dict[str, Any]:
    return {"layer": layer, "shape": list(shape), "dtype": dtype, "format": "nhwc" if last else "nchw"}


def _cases(shapes: tuple[Shape, ...], dtype: str, last: bool) -> list[dict[str, Any]]:
    return [_case(layer, shape, dtype, last) for shape in shapes for layer in LAYERS]


def items() -> Iterator[Item]:
    """All items, in order."""
    rest = tuple(s for s in dict.fromkeys((*resnet50(), *mobilenetv2())) if s not in MAIN)
    main = _cases(MAIN, "bfloat16", True)
    yield Item("machine", limit=45)
    yield Item("prepare", limit=110)
    yield from (Item("layers", case) for case in main)
    yield from (Item("launches", case) for case in main)
    yield from (Item("rows", case) for case in _rows())
    yield from (Item("compiled", {**case, "mode": "compiled"}, 40) for case in main)
    yield from (Item("rows", {**case, "mode": "compiled"}, 40) for case in _rows() if case["width"] in (1024, 4096))
    yield from (Item("host", {"layer": layer}, 30) for layer in LAYERS)
    yield from (item for item in _networks() if "compiled" not in item.given["way"])
    for last in (True, False):
        for case in _cases(MAIN[:-1], "bfloat16", last):
            if case["layer"] in LAYERS[:2]:
                yield from (Item("variants", {**case, "kernel": kernel}, 30) for kernel in KERNELS)
    yield from (item for item in _networks() if "compiled" in item.given["way"])
    others = [(dtype, last) for last in (True, False) for dtype in TYPES if (dtype, last) != ("bfloat16", True)]
    for dtype, last in sorted(others, key=lambda form: form != ("bfloat16", False)):
        yield from (Item("layers", case) for case in _cases(MAIN, dtype, last))
    for mode in COMPILED:
        for case in _cases((MAIN[1], MAIN[3]), "bfloat16", mode != "compiled"):
            yield Item("compiled", {**case, "mode": mode}, 60)
    yield from (Item("profile", {**case}, 60) for case in _cases((MAIN[1],), "bfloat16", True)[:2])
    yield from (Item("layers", case) for case in _cases(rest, "bfloat16", True))
    yield from (Item("launches", case) for case in _cases(MAIN, "bfloat16", False))


def _rows() -> Iterator[dict[str, Any]]:
    for of_sum in (False, True):
        for layer in row_layers.LAYERS[: 2 if of_sum else None]:
            for width in row_layers.WIDTHS:
                yield {"layer": layer, "width": width, "dtype": "bfloat16", "sum": of_sum}


def _networks() -> Iterator[Item]:
    for layer, way in _NETWORKS:
        yield Item("networks", {"layer": layer, "way": way, "dtype": "bfloat16"}, 90 if "compiled" in way else 45)


_ODD_WIDTHS = (1, 384, 1001, 5000, 16384)
_ROWS = 300
"""More rows than a GPU has multiprocessors, and no power of two."""
KERNELS = ("sweep_1", "write", "total", "write_back", "forward_on_chip", "backward_on_chip")
"""The kernels whose tiles are varied."""


def checks(parts: Collection[str] = PARTS) -> Iterator[dict[str, Any]]:
    """The checks of correctness of what some parts measure, in order: layers of rows, then layers of planes."""
    if "rows" in parts:
        yield from _checks_of_rows()
    if not set(parts) <= {"machine", "prepare", "rows", "networks"}:
        yield from _checks_of_planes()


def _checks_of_rows() -> Iterator[dict[str, Any]]:
    """The layers of rows in every type, alone and of a sum, with widths of all kinds."""
    for layer in row_layers.LAYERS:
        for dtype in TYPES:
            for number, width in enumerate((*row_layers.WIDTHS, *_ODD_WIDTHS)):
                yield {"layer": layer, "width": width, "rows": _ROWS, "dtype": dtype, "sum": number % 2 == 0}


def _checks_of_planes() -> Iterator[dict[str, Any]]:
    """The zoo in every type, mode and format, and random graphs in float32.

    The layers of the benchmark are checked on its own shapes too, with fewer samples, because the reference in float64
    takes much memory.
    """
    for dtype in TYPES:
        for number, layer in enumerate((*zoo, *(layer for layer in LAYERS if layer not in zoo))):
            for last in (True, False):
                for training in (True, False):
                    shape = SHAPES[(number + 2 * last + training) % len(SHAPES)]
                    yield {**_case(layer, shape, dtype, last), "training": training}
    for layer in LAYERS:
        for shape in MAIN[:-1]:
            yield {**_case(layer, (16, *shape[1:]), "bfloat16", True), "training": True}
    for number in range(RANDOM_GRAPHS):
        yield {
            "random": number,
            "shape": list(SHAPES[number % len(SHAPES)]),
            "format": "nhwc" if number % 2 else "nchw",
        }
