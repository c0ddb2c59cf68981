"""The division of kernels among programs, on which results do not depend."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evonas.kernels.triton import run as triton_run
from evonas.kernels.triton import tiles
from evonas.kernels.triton.launches import Launch
from evonas.kernels.triton.run import TritonLayer
from evonas.kernels.triton.tiles import ENOUGH, Shape, over_planes
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from tests.compiled_layers import compare

WORKS = ("reduce", "reduce much", "write", "write back", "write back and reduce")
# One sweep and two, moments of planes and of cells, with and without a reduction in the kernel that writes dx.
LAYERS = ("bn-relu", "evonorm-b0", "gn-relu", "dyt", "x / std_bwh(x) + mean_wh(tanh(x / std_bwh(x)))")


def shapes() -> st.SearchStrategy[Shape]:
    """Of inputs as networks have them, and ugly ones."""
    return st.builds(
        Shape,
        b=st.integers(1, 300),
        c=st.integers(1, 3000),
        positions=st.integers(1, 20_000),
        groups=st.just(1),
        channels_last=st.booleans(),
    )


@given(shapes(), st.sampled_from(WORKS))
def test_programs_own_every_channel_and_every_position_once(shape: Shape, work: str) -> None:
    (programs, pieces), division = over_planes(shape, work)
    rows, block, span = division["R"], division["BLOCK"], division["span"]
    assert programs == shape.b * -(-shape.c // rows)
    assert span % block == 0 and (pieces - 1) * span < shape.positions <= pieces * span
    for size in (rows, block):  # Triton's tiles are powers of two
        assert size & (size - 1) == 0
    assert 32 * division["num_warps"] <= rows * block or rows * block >= min(512, shape.positions)
    assert ("LANES" in division) == ("reduce" in work)


@given(shapes(), st.sampled_from(WORKS))
def test_planes_are_shared_where_there_are_too_few_of_them(shape: Shape, work: str) -> None:
    (programs, pieces), division = over_planes(shape, work)
    if programs >= ENOUGH:
        assert pieces == 1
    else:  # each processes about four tiles, the last of which may not be full
        assert pieces == 1 or division["span"] > 2 * division["BLOCK"]
        assert programs * pieces >= ENOUGH or division["span"] <= 4 * division["BLOCK"]


@pytest.mark.parametrize(
    ("channels", "rows"), [(64, 64), (96, 32), (144, 16), (192, 64), (576, 64), (41, 16), (7, 8), (1, 1)]
)
def test_few_lanes_are_idle(channels: int, rows: int) -> None:
    (_, _), division = over_planes(Shape(1, channels, 196, 1, True), "reduce")
    assert division["R"] == rows


def test_a_small_batch_fills_a_gpu() -> None:
    (programs, pieces), _ = over_planes(Shape(1, 64, 112 * 112, 32, True), "reduce")
    assert (programs, pieces) == (1, 98)


@pytest.mark.parametrize(
    ("rows", "positions", "last", "back", "warps"),
    [
        # Values of a cell over those of a warp: 4096 and 1024 channels last, 2048 and 512 else; two warps at least.
        (16, 1024, True, False, 4),
        (32, 256, True, False, 2),
        (64, 64, True, True, 4),
        (16, 1024, False, False, 8),
        (32, 256, False, False, 4),
        (32, 256, False, True, 16),
        (1, 8, False, True, 2),
    ],
)
def test_held_cells_have_as_many_warps_as_their_values_need(
    rows: int, positions: int, last: bool, back: bool, warps: int
) -> None:
    grid, division = tiles.held(Shape(2, rows, positions, 1, last), 2, rows, back)
    assert grid == (2,) and division == {"R": rows, "BLOCK": positions, "num_warps": warps}


@pytest.mark.parametrize(
    ("values", "last", "back", "fits"),
    [
        (16384, True, False, True),
        (32768, True, False, False),
        (4096, True, True, True),
        (8192, True, True, False),
        (8192, False, True, True),
        (16384, False, True, False),
    ],
)
def test_cells_that_are_held_are_those_that_fit(values: int, last: bool, back: bool, fits: bool) -> None:
    assert tiles.fits(((1,), {"R": values // 64, "BLOCK": 64}), last, back) is fits


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles so small that several programs share each plane of a small input."""
    monkeypatch.setattr(tiles, "tile", lambda shape, work: (2, 2, 1))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("text", LAYERS)
def test_programs_that_share_planes_find_what_one_does(text: str, channels_last: bool) -> None:
    graph, shape = zoo.get(text) or Graph.parse(text), (2, 4, 3, 7)
    work = TritonLayer(graph, True, False).work(Shape(2, 4, 21, 2, channels_last))
    assert {launch.grid[1] for launch in (*work.forward, *work.backward) if len(launch.grid) > 1} == {3}
    compare(graph, shape, partial(TritonLayer, on_chip=False), channels_last=channels_last)


@pytest.mark.parametrize("on_chip", [False, True])
@pytest.mark.parametrize("text", ["bn-relu", "evonorm-s0"])
def test_kernels_for_one_shape_find_the_same(text: str, on_chip: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_run, "_CONSTANT_SIZES_FROM", 1)
    compare(zoo[text], (2, 4, 5, 3), partial(TritonLayer, on_chip=on_chip), channels_last=True)


def test_kernels_are_compiled_for_so_many_shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_run, "_CONSTANT_SIZES_FROM", 60)
    monkeypatch.setattr(triton_run, "_MOST_CONSTANT_SHAPES", 2)
    layer = TritonLayer(zoo["evonorm-s0"], True)

    def has_constant_sizes(positions: int) -> bool:
        launch = layer.work(Shape(2, 4, positions, 2, False)).forward[0]
        return launch.kernel is not getattr(layer.module, launch.kernel.__name__)

    assert not has_constant_sizes(7)  # 56 values
    assert has_constant_sizes(8) and has_constant_sizes(9) and not has_constant_sizes(10)
    assert has_constant_sizes(8)  # still, however often it is asked for


class Kernel:
    """Stands for what Triton makes of a source, and for what it compiles that to: notes what is launched how."""

    __name__ = "kernel"
    arg_names = ("x_ptr", "C", "stats_ptr", "span", "R")

    def __init__(self) -> None:
        self.found: list[str] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launched(*values: Any, **constants: int) -> Any:
            kind = "searched for" if constants else "kept"
            assert len(grid) == (2 if constants else 3)
            assert (values[1], values[3:] or tuple(constants.values())[:2]) == (64, (8, 4))
            self.found.append(kind)
            return self

        return launched


def test_a_launch_keeps_what_triton_found_for_tensors_of_a_kind() -> None:
    kernel = Kernel()
    launch = Launch(kernel, (3, 2), (None, 64, None), ((0, "x"), (2, "stats")), {"span": 8, "R": 4, "num_warps": 4})
    whole = torch.zeros(64)
    tensors = {"x": whole, "stats": torch.zeros(4)}

    def how(**other: Any) -> str:
        launch({**tensors, **other})
        return kernel.found[-1]

    assert how() == "searched for" and how() == "kept" and how(x=torch.zeros(9)) == "kept"
    assert how(x=whole.half()) == "searched for"  # another type
    assert how(x=whole[1:]) == "searched for" and how(x=whole[1:]) == "kept"  # at no multiple of 16 bytes
    assert how() == "kept"


def test_what_the_interpreter_runs_is_not_kept() -> None:
    calls = []
    kernel = SimpleNamespace(arg_names=("x_ptr", "R"), __name__="kernel")
    interpreted = type("Interpreted", (), {"__getitem__": lambda self, grid: lambda *v, **c: calls.append(grid)})()
    interpreted.arg_names = kernel.arg_names
    launch = Launch(interpreted, (3,), (None,), ((0, "x"),), {"R": 4})
    for _ in range(2):
        launch({"x": torch.zeros(4)})
    assert calls == [(3,), (3,)]
