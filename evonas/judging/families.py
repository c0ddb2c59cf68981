"""Families: what a layer does, told by its behaviour on fixed random inputs.

`x / std_wh(x)` and `-(x / rms_wh(x + v0))` are written differently and are variants of one idea, so they share a
family. It has three features, each measured with v0 = 0 and v1 = 1, as at the start of training:

- which statistics the output depends on. There is one comparison for each index set, of two inputs between which only
  statistics over that index set differ at the positions compared, whatever is computed from what;
- what becomes of the output when the whole input is scaled, by the degree of its growth at small and at large scales;
- the curve of one element while all statistics stay, whether it grows for large values of either sign, and whether it
  turns back.

The thresholds lie where few layers do. Of 2,000 random layers that pass the cheap filters, 99 in 100 keep their
family under other random inputs, as does every published layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from math import log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evonas.judging.numpy_evaluation import Probe, Probes
from evonas.language.axes import REMOVES, Extent
from evonas.language.primitive_table import PRIMITIVES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evonas.language.graph import Graph

    Array = NDArray[np.float64]

UNCLEAR = "unclear"
"""What a feature is called whose measurement has no finite answer."""

SEED = 20_200_405
"""The seed of the inputs that families are measured on."""

_SHAPE = (4, 4, 3, 3)
_GROUPS = 2  # of two channels each
_SCALES = (1 / 32, 1 / 8, 1e3, 1e6)
"""Two small scales, at which eps does not show yet, and two large ones, at which the growth of a logarithm is small."""
_INDEX_SETS = ("bwh", "whc", "whcg", "wh")
_WITH_POSITIONS = ("bwh", "whc", "whcg", "wh", "c", "cg")
"""The index sets in the order of the comparisons, of layers that take no statistics at single positions and of those
that do."""

_AT_POSITIONS = frozenset(
    op.name for op in PRIMITIVES.values() if op.index_set is not None and not REMOVES[op.index_set] & Extent.PLANE
)

_CORE = np.linspace(-4.0, 4.0, 33)
_FAR = 8.0, 32.0
_GRID = np.concatenate([_CORE, [side * far for side in (-1.0, 1.0) for far in _FAR]])

_DEPENDS = 3e-3
"""The relative change above which an output depends on a statistic. Rounding leaves 1e-12, a dependence mostly 0.1."""
_SMALL_DEGREE = 0.3  # a square root has 0.5, what does not depend on the scale 0
_DEGREES = ((-0.25, "shrinks"), (0.25, "scale-free"), (0.75, "sublinear"), (1.25, "proportional"))
"""The degree of growth at large scales below which the response to scale has a name."""
_CONSTANT = 1e-6  # the spread of a constant output relative to its size; rounding leaves 1e-16
_GROWS = 0.2
"""The share of the spread on [-4, 4] by which a curve that grows changes from 8 to 32: linear 3.75, square root 0.7,
logarithm 0.4; of x / (x + 1) it is 0.1."""
_TURNS = 0.01  # the share of all movement on [-4, 4] that goes the other way: swish 0.047, the identity 0
_BENT = 0.018  # the distance from a straight line, relative to the spread: ReLU 0.45, x + sigmoid(x) 0.025


class Family(NamedTuple):
    """What the layers of a family do in common.

    Attributes:
        statistics: the index sets of the statistics that the output depends on, such as "bwh+wh", or "no statistics".
        scale: the response to a scaling of the whole input. "scale-free": the size of the output does not change;
            "saturates": it does for small inputs alone; "shrinks": it falls; "proportional", "sublinear" and
            "superlinear": it grows as its input does, more slowly or faster.
        shape: the response to one element. "linear"; "both sides grow"; "folds": both grow, and it turns back;
            "rectifies": one side grows; "rectifies with a dip"; "bounded"; "bounded with a bend".
            Each of the three starts with "unclear" where the output is not finite or does not vary.
    """

    statistics: str
    scale: str
    shape: str

    def __str__(self) -> str:
        return f"{self.statistics}, {self.scale}, {self.shape}"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The probes and the planes of the first one, whose statistics curves are drawn with."""

    probes: Probes
    planes: NDArray[np.intp]
    positions: Probes


@lru_cache(maxsize=8192)  # a search asks again for each parent, and tables for each row
def family_of(graph: Graph) -> Family:
    """The family of a layer. It is defined for every graph and costs a third of a millisecond.

    The canonical form is measured: as drawn, a graph may overflow in a part that comes to a constant.
    """
    return measure(graph.canonical, inputs(SEED))


@cache
def inputs(seed: int) -> Inputs:
    """The random inputs of a seed; the inputs of further seeds tell how far an answer is from chance."""
    rng = np.random.default_rng(seed)
    b, c, _, _ = _SHAPE
    x, other = _planes(rng), _planes(rng)
    other_samples, other_channels = x.copy(), x.copy()
    other_samples[b // 2 :] = 3 * other[b // 2 :]
    other_channels[:, c // 2 :] = 3 * other[:, c // 2 :]
    exchanged = x[:, [0, 2, 1, 3]]  # a channel of each group; statistics over all channels stay
    cells = [x, other_samples, other_channels, exchanged, *(scale * x for scale in _SCALES)]
    probes = [Probe(values, _GROUPS) for values in cells]
    probes += [Probe(values, 1) for values in _rearranged_planes(rng)]
    return Inputs(Probes(probes), np.arange(b * c), Probes(_for_positions(x, other, rng)))


def _for_positions(x: Array, other: Array, rng: np.random.Generator) -> list[Probe]:
    """Pairs of inputs for a layer that takes statistics at single positions, compared where `_position_changes` does.

    Between the inputs of a pair one kind of statistic differs at the positions compared. Those over whole planes are
    told apart by changes at other positions; those at a position by moving values within planes. Channels 0 and 1 are
    one group, 2 and 3 the other.
    """
    samples, layer, group, moved = (x.copy() for _ in range(4))
    samples[x.shape[0] // 2 :] = 3 * other[x.shape[0] // 2 :]
    layer[:, 2:, :, 1:] = 3 * other[:, 2:, :, 1:]
    group[:, [1, 2], :, 1:] = x[:, [2, 1], :, 1:]
    moved[:, 2:] = x[:, 2:, ::-1, ::-1]
    # Channel 2 has the values of channel 1 in reverse order, so that exchanging the two leaves, at every position, the
    # same values among all channels.
    paired = x.copy()
    paired[:, 2] = paired[:, 1, ::-1, ::-1]
    probes = [Probe(values, _GROUPS) for values in (x, samples, layer, group, moved, paired, paired[:, [0, 2, 1, 3]])]
    return [*probes, *(Probe(values, 1) for values in _rearranged_planes(rng))]


def _planes(rng: np.random.Generator) -> Array:
    """Planes whose scales and means are spread evenly, so that every statistic differs between cells."""
    b, c, _, _ = _SHAPE
    scale, mean = np.exp(np.linspace(-0.8, 0.8, b * c)), np.linspace(-0.7, 0.7, b * c)
    spread, shift = (rng.permutation(values).reshape(b, c, 1, 1) for values in (scale, mean))
    planes: Array = rng.standard_normal(_SHAPE) * spread + shift
    return planes


def _rearranged_planes(rng: np.random.Generator) -> list[Array]:
    """Two inputs of 2 samples and 2 channels, of which every sample and every channel has the same values in both.

    Planes differ in their first column and keep their second, so that only statistics over planes tell the two apart.
    """

    def column(scale: float, mean: float) -> Array:
        drawn = rng.standard_normal(4)
        standard: Array = (drawn - drawn.mean()) / drawn.std()
        return scale * standard + mean

    one, two = column(2.5, 1.0), column(0.3, 0.2)
    first, second = column(1.5, -1.0), column(0.5, 0.0)
    inputs_of_both = []
    for left, other_left in ((one, two), (two, one)):
        plane, other = np.stack([left, first], 1), np.stack([other_left, second], 1)
        inputs_of_both.append(np.array([[plane, other], [other, plane]]))
    return inputs_of_both


def measure(graph: Graph, given: Inputs) -> Family:
    """The family of a layer by its behaviour on given inputs."""
    output, curves = given.probes.evaluate_with_curves(graph, given.planes, _GRID)
    with np.errstate(all="ignore"):
        y, samples, channels, exchanged, *scaled, one, two = given.probes.parts(output)
        b, c, _, _ = _SHAPE
        if any(op in _AT_POSITIONS for op, _ in graph.nodes):
            statistics = _statistics(_WITH_POSITIONS, _position_changes(graph, given))
        else:
            changes = (
                _change(y[: b // 2], samples[: b // 2]),
                _change(y[:, : c // 2], channels[:, : c // 2]),
                _change(y[:, [0, 3]], exchanged[:, [0, 3]]),
                _change(one[..., 1:], two[..., 1:]),
            )
            statistics = _statistics(_INDEX_SETS, changes)
        return Family(statistics, _scale(scaled), _shape(curves))


def _position_changes(graph: Graph, given: Inputs) -> tuple[float, ...]:
    """The changes by which a layer that takes statistics at single positions shows which statistics it depends on."""
    parts = given.positions.parts(given.positions.evaluate(graph))
    y, samples, layer, group, moved, paired, swapped, one, two = parts
    half = y.shape[0] // 2
    return (
        _change(y[:half], samples[:half]),
        _change(y[:, :2, :, :1], layer[:, :2, :, :1]),
        _change(y[:, :1, :, :1], group[:, :1, :, :1]),
        _change(one[..., 1:], two[..., 1:]),
        _change(y[:, :2], moved[:, :2]),
        _change(paired[:, :1], swapped[:, :1]),
    )


def _change(one: Array, two: Array) -> float:
    """The largest change of a plane, relative to its spread; NaN if a value is not finite."""
    size = one.shape[2] * one.shape[3]
    one, two = one.reshape(-1, size), two.reshape(-1, size)
    change = np.sqrt(np.square(one - two).mean(1))
    spread = np.sqrt((one.var(1) + two.var(1)) / 2)
    # The further terms keep rounding small where a plane, or every plane, is constant.
    floor = 1e-3 * spread.max() + 1e-6 * np.abs(one).max() + 1e-300
    return float((change / (spread + floor)).max())


def _statistics(index_sets: tuple[str, ...], changes: tuple[float, ...]) -> str:
    if not np.isfinite(changes).all():
        return f"{UNCLEAR} statistics"
    found = [name for name, change in zip(index_sets, changes, strict=True) if change > _DEPENDS]
    return "+".join(found) or "no statistics"


def _scale(scaled: list[Array]) -> str:
    # Each channel is centred, because the affine after the layer absorbs a constant.
    spreads = [np.abs(values - values.mean((0, 2, 3), keepdims=True)).mean((0, 2, 3)) for values in scaled]
    for values, spread in zip(scaled, spreads, strict=True):
        spread[np.isinf(values).any((0, 2, 3))] = np.inf
    degrees = [np.log(spreads[i + 1] / spreads[i]) / log(_SCALES[i + 1] / _SCALES[i]) for i in (0, 2)]
    degrees[1][np.isinf(spreads[3])] = np.inf
    level = np.abs(scaled[3]).mean((0, 2, 3))
    degrees[1][level == 0.0] = -np.inf
    small, large = map(_median, degrees)
    if _median(spreads[3] / level) < _CONSTANT:  # tanh(square(x)) is 1 at large scales
        return "saturates"
    if np.isnan(large):
        return f"{UNCLEAR} scale"
    name = next((name for limit, name in _DEGREES if large < limit), "superlinear")
    return "saturates" if name == "scale-free" and not small < _SMALL_DEGREE else name


def _shape(curves: Array) -> str:
    core, far = curves[:, : _CORE.size], curves[:, _CORE.size :]
    ordered = np.sort(core, axis=1)
    spread = ordered[:, 29] - ordered[:, 3]  # from one tenth to nine tenths of the values, because there may be a pole
    growth = np.abs(far[:, 1::2] - far[:, ::2]) / spread[:, None]
    growth[np.isinf(far[:, 1::2])] = np.inf
    steps = np.diff(core, axis=1)
    moved, net = np.abs(steps).sum(1), np.abs(core[:, -1] - core[:, 0])
    turned = _median((moved - net) / 2 / moved)
    most, least = _median(growth.max(1)), _median(growth.min(1))
    if np.isnan(turned) or np.isnan(most):
        return f"{UNCLEAR} shape"
    turns = turned > _TURNS
    if most < _GROWS:
        return "bounded with a bend" if turns else "bounded"
    if least < _GROWS:
        return "rectifies with a dip" if turns else "rectifies"
    if turns:
        return "folds"
    slopes = core @ _CORE / (_CORE @ _CORE)
    bent = np.sqrt(np.square(core - core.mean(1, keepdims=True) - slopes[:, None] * _CORE).mean(1))
    return "linear" if _median(bent / core.std(1)) < _BENT else "both sides grow"


def _median(values: Array) -> float:
    """The middle one of the values that are numbers, never the mean of two; NaN if there is none."""
    numbers = np.sort(values[~np.isnan(values)])
    return float(numbers[numbers.size // 2]) if numbers.size else float("nan")
