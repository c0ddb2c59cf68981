"""Each row of the table of primitives against the definition in SPEC section 1, written here in NumPy."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import triton.language as tl

from evonas.kernels.triton import helpers as triton_helpers
from evonas.language.axes import REMOVES, Extent
from evonas.language.graph import FIRST, Graph, Node
from evonas.language.primitive_table import OPERATIONS, PRIMITIVES, IndexSet, Moment, Parity, Primitive, table
from evonas.layers.reference import evaluate

EPS = 1e-5
CPP_HELPERS = (Path(__file__).parents[1] / "kernels" / "cpp" / "helpers.h").read_text()


def _clamp(y, eps):
    return np.where(np.abs(y) >= eps, y, np.where(y < 0, -eps, eps)) + np.where(np.isnan(y), np.nan, 0)


DEFINITIONS = {
    "add": lambda a, b, eps: a + b,
    "mul": lambda a, b, eps: a * b,
    "div": lambda a, b, eps: a / _clamp(b, eps),
    "max": lambda a, b, eps: np.maximum(a, b),
    "neg": lambda a, eps: -a,
    "sigmoid": lambda a, eps: 1 / (1 + np.exp(-a)),
    "tanh": lambda a, eps: np.tanh(a),
    "exp": lambda a, eps: np.exp(a),
    "square": lambda a, eps: a**2,
    "abs": lambda a, eps: np.abs(a),
    "log": lambda a, eps: np.sign(a) * np.log(np.abs(a) + eps),
    "sqrt": lambda a, eps: np.sign(a) * np.sqrt(np.abs(a) + eps),
    "erf": lambda a, eps: np.vectorize(math.erf)(a),
}
TEMPLATES = [op for op in OPERATIONS.values() if op.triton and op.name != "div"]
VALUED = [op for op in OPERATIONS.values() if not op.of_planes]
ELEMENTWISE = [op for op in PRIMITIVES.values() if not op.is_aggregation]
EDGES = (0.0, -0.0, EPS, -EPS, 0.9 * EPS, -0.9 * EPS, 1.1 * EPS, 1.0, -1.0)


def arguments(op: Primitive, count: int = 400) -> list[np.ndarray]:
    """Random arguments between -3 and 3, then every combination of the values where definitions have edges."""
    rng = np.random.default_rng(len(op.name))
    columns = rng.uniform(-3.0, 3.0, size=(op.arity, count))
    edges = np.stack([e.ravel() for e in np.meshgrid(*[EDGES] * op.arity)])
    return list(np.concatenate([columns, edges], axis=1))


def value(op: Primitive, *args: np.ndarray, eps: float = EPS) -> np.ndarray:
    """The row's value at float64 arguments; an aggregation's at its argument laid out as (2, 4, …, 1)."""
    tensors = [torch.from_numpy(np.asarray(a, dtype=np.float64)) for a in args]
    if op.evaluate is not None:
        return op.evaluate(*tensors, eps=eps).numpy()
    x = tensors[0][: len(tensors[0]) // 8 * 8].reshape(2, 4, -1, 1)
    return evaluate(Graph((Node(op.name, (0,)),), FIRST), x, groups=2, eps=eps).numpy()


def test_the_names_are_those_of_the_spec():
    aggregations = {f"{m}_{i}" for m in ("mean", "rms", "std") for i in ("bwh", "whc", "wh", "whcg", "c", "cg")}
    assert set(PRIMITIVES) == set(DEFINITIONS) | aggregations
    assert all(name == op.name for name, op in PRIMITIVES.items())


@pytest.mark.parametrize("op", PRIMITIVES.values(), ids=PRIMITIVES)
def test_row_is_whole(op):
    assert op.latex.format(*"ab"[: op.arity]).count("{") == op.latex.format(*"ab"[: op.arity]).count("}")
    if op.is_aggregation:
        assert op.name == f"{Moment(op.moment).value}_{IndexSet(op.index_set).value}"
        assert (op.evaluate, op.arity) == (None, 1)
    else:
        assert op.arity == (2 if "{1}" in op.source else 1)


@pytest.mark.parametrize("eps", [EPS, 1e-3])
@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_value(op, eps):
    args = arguments(op)
    expected = DEFINITIONS[op.name](*args, eps)
    # Two libraries' elementary functions differ by an ulp or two of 2e-16; the largest conditioning here
    # is that of log near 1, whose value is itself about eps: 1e-16 absolute.
    np.testing.assert_allclose(value(op, *args, eps=eps), expected, rtol=2e-15, atol=1e-15)


@pytest.mark.parametrize("op", [op for op in OPERATIONS.values() if op.evaluate], ids=lambda op: op.name)
def test_value_in_numpy(op):
    args = arguments(op)
    if op.name == "root":
        args = [np.abs(a) for a in args]  # of a mean square
    args = [np.concatenate([a, [np.inf, -np.inf, 1e300, -1e300]]) for a in args]
    with np.errstate(all="ignore"):
        found = op.array(*args, eps=EPS)
    # As above: an ulp or two; a slope at 1e300 and the log of a number near 1 are as large as eps makes them.
    np.testing.assert_allclose(found, value(op, *args), rtol=2e-15, atol=1e-15)


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_value_broadcasts(op):
    narrow, wide = np.full((1, 3, 1, 1), 0.5), np.full((2, 3, 4, 5), 2.0)
    args = (narrow, wide)[: op.arity]
    assert value(op, *args).shape == (wide if op.arity == 2 else narrow).shape


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_keeps_float32(op):
    args = [torch.full((3,), 0.5)] * op.arity
    assert op.evaluate(*args, eps=EPS).dtype == torch.float32


@pytest.mark.parametrize("op", PRIMITIVES.values(), ids=PRIMITIVES)
def test_nan_stays_visible(op):
    for place in range(op.arity):
        args = [np.ones(16) for _ in range(op.arity)]
        args[place] = np.full(16, math.nan)
        assert np.isnan(value(op, *args)).all(), f"argument {place}"


@pytest.mark.parametrize("op", PRIMITIVES.values(), ids=PRIMITIVES)
def test_parity(op):
    a = arguments(op)
    if op.arity == 2:
        assert op.parity is Parity.NONE
        return
    plain, mirrored = value(op, a[0]), value(op, -a[0])
    # Negation is exact and every definition treats both signs alike, so equality is exact, except where
    # an aggregation adds up in an order of its own.
    odd, even = (np.allclose(mirrored, s * plain, rtol=1e-14, atol=1e-15) for s in (-1, 1))
    assert (odd, even) == (op.parity is Parity.ODD, op.parity is Parity.EVEN)


@pytest.mark.parametrize("op", VALUED, ids=lambda op: op.name)
def test_nonnegative(op):
    args = [*arguments(op)] if op.name != "root" else [np.abs(a) for a in arguments(op)]  # a mean square
    assert (value(op, *args).min() >= 0) == op.nonnegative


@pytest.mark.parametrize("op", VALUED, ids=lambda op: op.name)
def test_vanishes_at_zero(op):
    # A mean of zeros is 0 too, but that follows from the mean of a constant, and the fact is for element-wise rows.
    if op.arity == 1 and not op.is_aggregation:
        zeros = value(op, np.array([0.0, -0.0]))
        assert op.vanishes_at_zero == (not zeros.any())
    else:
        assert not op.vanishes_at_zero


@pytest.mark.parametrize("op", VALUED, ids=lambda op: op.name)
def test_linear_and_bilinear(op):
    rng = np.random.default_rng(1)
    one, other = rng.uniform(-3.0, 3.0, (2, op.arity, 64))
    # Rounding is a few ulp of 2e-16 of values up to 30; an operation that is not linear misses by some tenths.
    close = {"rtol": 1e-12, "atol": 1e-12}
    together = value(op, *(2.0 * one + other))
    assert op.linear == np.allclose(together, 2.0 * value(op, *one) + value(op, *other), **close)
    if op.arity == 2:
        left = value(op, 2.0 * one[0] + other[0], one[1]), 2.0 * value(op, *one) + value(op, other[0], one[1])
        right = value(op, one[0], 2.0 * one[1] + other[1]), 2.0 * value(op, *one) + value(op, one[0], other[1])
        assert op.bilinear == (np.allclose(*left, **close) and np.allclose(*right, **close))
    else:
        assert not op.bilinear


@pytest.mark.parametrize("op", VALUED, ids=lambda op: op.name)
def test_at_least_root_eps(op):
    args = [np.concatenate([a, 1000 * a, np.zeros(8)]) for a in arguments(op)]
    if op.name == "root":  # it is only taken of mean squares
        assert value(op, np.abs(args[0])).min() >= EPS**0.5
        return
    # NaN, as of the root of a negative number, is not at least anything.
    assert op.at_least_root_eps == bool(value(op, *args).min() >= EPS**0.5)
    if op.at_least_root_eps:
        assert value(op, np.full(16, -9.0)).min() >= EPS**0.5  # where a deviation is smallest


ROW = PRIMITIVES["tanh"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluate": None}, r"primitive 'mine': its row lacks evaluate \(its value in PyTorch\); see CONTRIBUTING"),
        ({"array": None}, r"lacks array \(its value in NumPy\)"),
        ({"triton": ""}, r"lacks triton \(its Triton source\)"),
        ({"cpp": ""}, r"lacks cpp \(its C\+\+ source\)"),
        ({"infix": "%", "cpp": ""}, r"lacks cpp"),
        ({"noun": ""}, r"lacks noun"),
        ({"source": "", "latex": ""}, r"lacks source \(.*\), latex \(its LaTeX\);"),
        ({"derivative": ()}, r"lacks derivative \(one expression for each argument\)"),
        ({"derivative": ("g", "g")}, r"lacks derivative"),
        ({"arity": 2}, r"lacks derivative"),
        ({"moment": Moment.MEAN}, r"lacks index_set"),
        ({"name": "x"}, "primitive 'x': the name is in use or cannot be written"),
        ({"name": "g"}, "primitive 'g': the name is in use"),
        ({"name": "sign"}, "primitive 'sign': the name is in use"),
        ({"name": "a b"}, "primitive 'a b': the name is in use or cannot be written"),
    ],
)
def test_a_row_that_is_not_whole_is_refused(change, message):
    row = replace(ROW, **{"name": "mine", **change})
    with pytest.raises(ValueError, match=message):
        table([row], in_layers=True, known=["sign"])


def test_a_row_for_derivatives_alone_needs_no_text_of_layers():
    bare = replace(ROW, name="mine", source="", latex="", derivative=())
    assert dict(table([bare], in_layers=False)) == {"mine": bare}
    with pytest.raises(ValueError, match="primitive 'mine': the name is in use"):
        table([bare, bare], in_layers=False)


@pytest.mark.parametrize("op", [o for o in ELEMENTWISE if o.arity == 2], ids=lambda op: op.name)
def test_commutative(op):
    a, b = arguments(op)
    assert np.array_equal(value(op, a, b), value(op, b, a)) == op.commutative


def gradients(op: Primitive, *args: float) -> list[float]:
    leaves = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in args]
    return [g.item() for g in torch.autograd.grad(op.evaluate(*leaves, eps=EPS), leaves)]


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_gradient(op):
    step = 1e-6
    for args in np.stack(arguments(op, count=40)).T[:40]:
        # Closer to an edge the third derivative grows large, or the difference straddles a kink.
        if np.abs(args).min() < 0.05 or (abs(args[0] - args[-1]) < 0.01 and op.name == "max"):
            continue
        for place, gradient in enumerate(gradients(op, *args)):
            shift = step * (np.arange(op.arity) == place)
            high, low = (DEFINITIONS[op.name](*(args + s), EPS) for s in (shift, -shift))
            # Central differences err by step² f'''/6 and by 2e-16 · f / step = 1e-8; the largest third
            # derivative is that of x / y at 3 and 0.05, 6 · 3 / 0.05⁴, which gives 5e-7.
            assert gradient == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("div", (3.0, 0.5 * EPS), (1 / EPS, 0.0)),
        ("div", (3.0, -0.5 * EPS), (-1 / EPS, 0.0)),
        ("div", (3.0, 0.0), (1 / EPS, 0.0)),
        ("div", (3.0, -0.0), (1 / EPS, 0.0)),
        ("div", (3.0, EPS), (1 / EPS, -3 / EPS**2)),
        ("div", (3.0, -EPS), (-1 / EPS, -3 / EPS**2)),
        ("max", (2.0, 2.0), (0.5, 0.5)),
        ("max", (2.0, 1.0), (1.0, 0.0)),
        ("abs", (0.0,), (0.0,)),
        ("log", (0.0,), (0.0,)),
        ("sqrt", (0.0,), (0.0,)),
        ("square", (0.0,), (0.0,)),
    ],
)
def test_gradient_at_the_edge(name, args, expected):
    assert gradients(PRIMITIVES[name], *args) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_twice_differentiable_and_broadcast(op, swap):
    """The stability filter differentiates the norm of a gradient, through arguments of different extents."""
    narrow = torch.tensor([-1.3, 0.6, 2.0], dtype=torch.float64).view(1, 3, 1, 1)
    # No value within 0.1 of 0 or of a channel's narrow value, where div, abs, log, sqrt and max have edges.
    wide = torch.tensor([-2.1, 0.9, 1.4, -0.4, 1.9, 3.0], dtype=torch.float64).view(2, 3, 1, 1).expand(2, 3, 2, 1)
    pair = (wide, narrow) if swap else (narrow, wide)
    leaves = [leaf.clone().requires_grad_() for leaf in pair[: op.arity]]

    def call(*args):
        return op.evaluate(*args, eps=EPS)

    # gradcheck's own tolerances suit float64 where third and fourth derivatives are below 1e4, as here.
    assert torch.autograd.gradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(call, leaves)
    if op.arity == 2:  # and with a constant on one side
        for place in (0, 1):
            args = [leaf if i == place else leaf.detach() for i, leaf in enumerate(leaves)]
            assert torch.autograd.gradcheck(call, args)


def test_edges_in_float32():
    """eps is rounded to the tensor's type before it is compared, so that the clamp is exact there too."""
    eps = torch.tensor(EPS)
    y = torch.stack([eps, -eps, 0 * eps, eps / 2, -eps / 2]).requires_grad_()
    quotient = PRIMITIVES["div"].evaluate(torch.ones(5), y, eps=EPS)
    assert torch.equal(quotient, 1 / torch.stack([eps, -eps, eps, eps, -eps]))
    (gradient,) = torch.autograd.grad(quotient.sum(), y)
    assert (gradient != 0).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("op", [op for op in OPERATIONS.values() if op.moment is None and not op.of_planes])
def test_every_element_wise_operation_has_triton_and_cpp_source(op: Primitive) -> None:
    assert op.has_own_sign == (op.name in {"add", "mul", "neg"})
    assert op.has_own_sign or (op.triton and op.cpp)
    for text in (op.triton, op.cpp):
        assert not text or all(f"{{{place}}}" in text for place in range(op.arity))


@pytest.mark.parametrize("op", TEMPLATES, ids=lambda op: op.name)
def test_a_template_is_a_call_or_in_brackets_and_calls_what_is_there(op: Primitive) -> None:
    """Kernels put it next to any operator; they write a quotient themselves, with and without the clamp."""
    for text in (op.triton, op.cpp):
        assert re.fullmatch(r"[\w.]*\(.*\)", text)
    for name in re.findall(r"([\w.]+)\(", op.triton):
        assert hasattr(tl, name.removeprefix("tl.")) if name.startswith("tl.") else hasattr(triton_helpers, name), name
    for name in set(re.findall(r"(\w+)\(", op.cpp)) - {"T"}:
        for kind in "TV":
            assert re.search(rf"^inline {kind} {name}\({kind} ", CPP_HELPERS, re.M), f"{kind} {name}"


def test_there_is_a_mean_over_planes_for_each_index_set() -> None:
    found = [op for op in OPERATIONS.values() if op.of_planes]
    over_planes = {index_set for index_set, removed in REMOVES.items() if removed & Extent.PLANE}
    assert {op.index_set for op in found} == over_planes and {op.moment for op in found} == {Moment.MEAN}
