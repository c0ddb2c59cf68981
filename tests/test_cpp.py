"""C++ kernels against the reference in float64; their builds, the cache, and threads."""

from __future__ import annotations

import copy
import ctypes
import subprocess
from pathlib import Path

import pytest
import torch

from evonas.kernels.cpp import build as cpp_build
from evonas.kernels.cpp.build import BuildError, Options, build, compiler
from evonas.kernels.cpp.dialect import CPP, CPP_VECTORS
from evonas.kernels.cpp.loops import MemoryLayout
from evonas.kernels.cpp.run import CppLayer
from evonas.kernels.cpp.source import Variant, cpp_source
from evonas.kernels.plan.planner import plan_of
from evonas.kernels.printing.value_writer import Body
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from tests.compiled_layers import BRACKETS, NARROW, RUNNING, SHAPES, SMALL, UNEVEN, at_once, compare, compare_many
from tests.strategies import ZOO_OF_PLANES

GOLDEN = Path(__file__).parent / "golden"
TYPES = [torch.float32, torch.float64]
pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", ZOO_OF_PLANES)
def test_the_zoo(name: str, channels_last: bool, dtype: torch.dtype) -> None:
    for shape in SHAPES:
        compare(zoo[name], shape, CppLayer, channels_last=channels_last, dtype=dtype)


@pytest.mark.parametrize("name", ZOO_OF_PLANES)
def test_the_zoo_in_evaluation(name: str) -> None:
    compare(zoo[name], SHAPES[0], CppLayer, training=False)


def test_one_layer_serves_inputs_of_every_type_and_layout() -> None:
    graph = zoo["evonorm-s0"]
    layer = CppLayer(graph, training=True)
    for channels_last in (False, True):
        for dtype in (*TYPES, *TYPES):
            compare(graph, UNEVEN, lambda graph, training: layer, channels_last=channels_last, dtype=dtype)


def over_types(number: int) -> torch.dtype:
    return TYPES[number % 2]


def test_random_candidates() -> None:
    compare_many(25, lambda graph, training, _: CppLayer(graph, training), over_types)


@pytest.mark.slow
def test_a_thousand_random_candidates() -> None:
    compare_many(500, lambda graph, training, _: CppLayer(graph, training), over_types)


@pytest.mark.parametrize("channels_last", [False, True])
def test_many_channels_and_planes_that_end_between_vectors(channels_last: bool) -> None:
    for shape in [(2, 130, 3, 3), (2, 65, 5, 7), (3, 64, 1, 33), (3, 35, 2, 7)]:
        compare(zoo["evonorm-s0"], shape, CppLayer, channels_last=channels_last)
        compare(zoo["bn-relu"], shape, CppLayer, channels_last=channels_last)


ELEMENTWISE = (
    "max(sigmoid(x), tanh(x)) + exp(x) * square(x)",
    "log(x) + sqrt(x) * abs(x)",
    "x / max(x * x, v0)",
)
OF_CELLS = ("x / std_wh(x)", "x - mean_whc(x)", "x / rms_whcg(x)", "x / (x + std_bwh(exp(x)))")


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("text", [*ELEMENTWISE, *OF_CELLS])
def test_what_is_not_finite_stays_so(text: str, dtype: torch.dtype, channels_last: bool) -> None:
    """NaN and infinity propagate, whatever the compiler may assume, so that a layer that diverges can be detected."""
    form = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(2, 4, 5, 5, dtype=dtype).contiguous(memory_format=form)
    x[0, 0, 0, 0], x[0, 1, 2, 2], x[1, 2, 3, 3], x[1, 3, 4, 4] = torch.nan, torch.inf, -torch.inf, 1e30
    found = []
    for backend in ("reference", "cpp"):
        layer = NormAct(text, 4, groups=2, backend=backend, dtype=dtype)
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = layer(leaf)
        y.backward(torch.ones_like(y))
        assert leaf.grad is not None
        found.append((y.detach(), leaf.grad))
    for right, given in zip(*found, strict=True):
        # An infinite x makes the variance of its plane NaN, and the reference's quotient by its root mean square 0.
        held = given.isfinite()
        assert bool((right.isfinite() | ~held).all())
        assert text in OF_CELLS or torch.equal(right.isfinite(), held)
        # Roots and exponentials to a few units in the last place, and values up to 1e30 among them.
        torch.testing.assert_close(given[held], right[held], rtol=1e-4, atol=1e-4)
    assert not found[1][0].isfinite().all()


def test_loading_a_layer_leaves_the_processor_as_it_is() -> None:
    def smallest() -> float:
        return float((torch.tensor(1e-40) * 0.5).item())  # 0 where subnormal numbers are flushed to zero

    assert smallest() > 0
    layer = NormAct("x * sigmoid(x)", 3, backend="cpp")
    layer(torch.randn(2, 3, 4, 4))
    assert smallest() > 0
    tiny = NormAct("x", 3, backend="cpp")(torch.full((1, 3, 4, 4), 1e-40))
    assert bool((tiny > 0).all())


@pytest.mark.parametrize("name", ["evonorm-b0", "evonorm-s0"])
def test_threads_change_no_bit(name: str) -> None:
    x = torch.randn(5, 32, 48, 48)  # enough for five threads
    dy = torch.randn(x.shape)
    layer = NormAct(name, 32, backend="cpp")
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            one, leaf = copy.deepcopy(layer), x.clone().requires_grad_()
            y = one(leaf)
            y.backward(dy)
            assert leaf.grad is not None
            found.append([y.detach(), leaf.grad, *(p.grad for p in one.parameters()), *one.buffers()])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))  # type: ignore[arg-type]  # no gradient is None


@pytest.mark.parametrize(
    ("layer", "layout", "golden"),
    [
        ("evonorm-s0", MemoryLayout.PLANES, "cpp_evonorm-s0.txt"),
        ("evonorm-b0", MemoryLayout.CHANNELS, "cpp_evonorm-b0_channels-last.txt"),
    ],
)
def test_kernels_read_as_they_should(layer: str, layout: MemoryLayout, golden: str) -> None:
    own = cpp_source(plan_of(zoo[layer]), Variant(layout=layout)).split("}  // namespace\n")
    assert own[-2] + own[-1] == (GOLDEN / golden).read_text()


def test_no_variable_may_have_the_name_of_a_helper() -> None:
    """Neither of a function that works on vectors nor of one that works on numbers, nor of a template."""
    assert {"load", "store", "narrow", "each", "square_root", "tanh", "kept", "share", "whole"} <= set(CPP.reserved)
    body = Body(plan_of(zoo["dyt"]), CPP_VECTORS)
    assert [body.fresh(name) for name in ("share", "ratio", "ratio")] == ["share_1", "ratio", "ratio_2"]


def build_in(folder: str) -> None:
    import os

    os.environ["EVONAS_CACHE"] = folder
    layer = NormAct("tanh(v1 * x) / rms_wh(x)", 4, backend="cpp")
    assert bool(layer(torch.randn(2, 4, 3, 3)).isfinite().all())


def test_workers_that_build_the_same_layer_at_once_leave_one(tmp_path: Path) -> None:
    at_once(build_in, str(tmp_path))
    # The layer's files, and those of the check that the compiler works; no temporary files.
    assert sorted(p.suffix for p in (tmp_path / "cpp").iterdir()) == [".cpp", ".cpp", ".so", ".so"]


def test_a_library_that_was_cut_short_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    source = cpp_source(plan_of(Graph.parse("tanh(x) + x"), training=False), Variant(backward=False))
    (tmp_path / "cpp").mkdir()
    monkeypatch.setattr(cpp_build.ctypes, "CDLL", lambda path: Path(path).read_bytes())
    whole = build(source)
    (library,) = (tmp_path / "cpp").glob("*.so")
    library.write_bytes(b"\x7fELF")
    monkeypatch.undo()
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    assert build(source)["forward"] is not None
    assert len(library.read_bytes()) == len(whole)  # type: ignore[arg-type]  # bytes, by the stand-in above


def test_a_library_is_built_with_the_flags_that_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    source = 'extern "C" int value() { return VALUE; }\n'
    values = [
        cpp_build.build_and_load(source, lambda path: ctypes.CDLL(str(path))["value"](), Options(("-shared", flag), ()))
        for flag in ("-DVALUE=1", "-DVALUE=2")
    ]
    assert values == [1, 2]


def test_whatever_a_library_depends_on_gives_it_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several machines may share a cache, and compilers are upgraded."""
    other = tmp_path / "c++"
    other.write_text("")
    plain = Options(("-O2",), ("-lm",))

    def place(source: str = "1", options: Options = plain) -> Path | None:
        return cpp_build._place(source, options)

    places = [
        *(place(), place("2"), place(options=Options(("-O1",), ("-lm",)))),
        *(place(options=Options(("-O2",), ("-lpthread",))), place(options=Options(("-O2",), ("-lm",), "calls"))),
    ]
    for name, stand_in in (("_version", lambda path: "another"), ("_processor", lambda: "another")):
        with monkeypatch.context() as patch:
            patch.setattr(cpp_build, name, stand_in)
            places.append(place())
    with monkeypatch.context() as patch:
        patch.setattr(cpp_build, "_version", lambda path: "the same")
        places.append(place())
        patch.setattr(cpp_build, "compiler", lambda: str(other))
        places.append(place())
    assert len(set(places)) == len(places)
    assert place() == places[0]


def test_a_compiler_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    with pytest.raises(BuildError, match="could not compile"):
        build("this is not C++")
    assert not list(tmp_path.rglob("*.so"))


def test_signs_that_meet_are_no_decrement() -> None:
    compare(Graph.parse("-(-square(x))"), SHAPES[0], CppLayer)
    compare(Graph.parse("-(-mean_wh(x)) * x - -(-x)"), SHAPES[0], CppLayer)


def test_brackets_stand_where_they_are_needed() -> None:
    compare(Graph.parse(BRACKETS), SHAPES[0], CppLayer)


NEGATED_DIVISORS = (
    "tanh(x / -sqrt(std_wh(x)))",
    "x / -(max(v0, std_wh(x)) * (std_wh(x) / -sqrt(std_wh(x))))",
)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("text", NEGATED_DIVISORS)
def test_a_negated_row_that_tiles_and_rows_need(text: str, channels_last: bool) -> None:
    compare(Graph.parse(text), SHAPES[0], CppLayer, channels_last=channels_last)


@pytest.mark.parametrize(("training", "channels_last"), [(True, False), (True, True), (False, False)])
@pytest.mark.parametrize(("one", "other"), list(zip(RUNNING, NARROW, strict=True)))
def test_numbers_of_every_kind_and_running_values_of_several_sweeps(
    one: str, other: str, training: bool, channels_last: bool
) -> None:
    compare(Graph.parse(f"{one} + {other}"), UNEVEN, CppLayer, training=training, channels_last=channels_last)


def test_one_value_has_the_variance_that_it_has() -> None:
    compare(Graph.parse("x + std_bwh(x)"), (1, 4, 1, 1), CppLayer)


@pytest.mark.parametrize("divisor", SMALL)
def test_divisors_inside_of_the_clamp(divisor: str) -> None:
    compare(Graph.parse(f"x / ({divisor}) + x"), SHAPES[0], CppLayer)


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid"])
def test_transcendental_functions_to_a_few_units_in_the_last_place(name: str) -> None:
    """Over the whole range of float32, including subnormal results."""
    x = torch.cat([torch.linspace(-110, 95, 200_000), torch.logspace(-30, 1, 10_000), -torch.logspace(-30, 1, 10_000)])
    x = torch.cat([x, torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0, 88.72, 88.73, -103.97, -103.98])])
    if name == "sigmoid":  # 1 / (1 + exp(-x)), which is 0 where exp(-x) is infinite: below the smallest normal number
        x = torch.where(x < -87, -87.0, x)
    with torch.no_grad():
        found = NormAct(f"{name}(x)", 1, affine=False, backend="cpp")(x.view(1, 1, 1, -1)).flatten()
    exact = getattr(torch, name)(x.double())
    limit = torch.finfo(torch.float32)
    ends = exact.abs() > limit.max  # rounds to infinity
    assert torch.equal(found[ends].double(), exact[ends].float().double())
    inside = exact.isfinite() & ~ends
    unit = torch.maximum(exact[inside].abs() * limit.eps, torch.tensor(limit.smallest_normal * limit.eps).double())
    assert float(((found[inside].double() - exact[inside]).abs() / unit).max()) < 3
    assert torch.equal(found.isnan(), x.isnan())


def test_a_compiler_may_be_named_with_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = compiler()
    assert found is not None
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    commands: list[list[str]] = []
    run = subprocess.run

    def noted(command: list[str], **settings: object) -> object:
        commands.append(command)
        return run(command, **settings)  # type: ignore[call-overload]

    monkeypatch.setattr("evonas.kernels.cpp.build.subprocess.run", noted)
    for named, flag in ((f"{found} -O1", "-O1"), (f'"{found}" -DA="1 2"', "-DA=1 2")):
        monkeypatch.setenv("CXX", named)
        compiler.cache_clear()
        assert compiler() == found
        assert build('extern "C" int works() { return 7; }').works() == 7
        assert flag in commands[-1]
    compiler.cache_clear()
