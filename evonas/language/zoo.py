"""Published layers, and layers that evonas found, as graphs: the zoo.

`zoo["evonorm-s0"]` is a graph. Sources: EvoNorm B0 to S2 from the authors' released code for Liu et al. 2020; batch,
group, layer and instance normalisation from Ioffe & Szegedy 2015, Wu & He 2018, Ba et al. 2016 and Ulyanov et al. 2016;
swish from Ramachandran et al. 2017; RMSNorm from Zhang & Sennrich 2019; dynamic tanh from Zhu et al. 2025; dynamic erf,
and the functions beside it, from Chen et al. 2025 (arXiv 2512.10938). What evonas found was trained longer than the
search trained it, beside published layers (docs/SCIENCE.md), and the default search starts from it as from those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from evonas.errors import GraphError, UsageError, shorten
from evonas.language.graph import Graph


@dataclass(frozen=True, slots=True)
class Published:
    """A layer with a name.

    Attributes:
        name: its name in commands and in `zoo`.
        expression: the layer before its affine.
        source: where it was published or found, and a note.
        linear: the normalisation alone, for positions of a network that have no activation; None where
            the publication uses only the affine there, as that of the EvoNorms does.
        start: what parameters start at where that is not what the table of leaves says, by name.
    """

    name: str
    expression: str
    source: str
    linear: str | None = None
    start: Mapping[str, float] = field(default_factory=dict)

    @property
    def linear_graph(self) -> Graph | None:
        """`linear` as a graph; None where that is None."""
        return None if self.linear is None else Graph.parse(self.linear)


def _normalised(index_set: str) -> str:
    return f"(x - mean_{index_set}(x)) / std_{index_set}(x)"


def _relu(name: str, index_set: str, source: str) -> Published:
    normalised = _normalised(index_set)
    return Published(name, f"max({normalised} * v1 + v0, 0)", source, normalised)


_BN_AFFINE = f"({_normalised('bwh')} * v1 + v0)"

PUBLISHED: tuple[Published, ...] = (
    Published("evonorm-b0", "x / max(std_bwh(x), v1 * x + std_wh(x))", "Liu et al. 2020; batch statistics"),
    Published("evonorm-b1", "x / max(std_bwh(x), (x + exp(0)) * rms_wh(x))", "Liu et al. 2020; batch statistics"),
    Published("evonorm-b2", "x / max(std_bwh(x), rms_wh(x) - x)", "Liu et al. 2020; batch statistics"),
    Published("evonorm-s0", "x * sigmoid(v1 * x) / std_whcg(x)", "Liu et al. 2020; one sample at a time"),
    Published("evonorm-s1", "x * sigmoid(x) / std_whcg(x)", "Liu et al. 2020; one sample at a time"),
    Published("evonorm-s2", "x * sigmoid(x) / rms_whcg(x)", "Liu et al. 2020; one sample at a time"),
    _relu("bn-relu", "bwh", "Ioffe & Szegedy 2015; batch normalisation"),
    _relu("gn-relu", "whcg", "Wu & He 2018; group normalisation"),
    _relu("ln-relu", "whc", "Ba et al. 2016; layer normalisation"),
    _relu("in-relu", "wh", "Ulyanov et al. 2016; instance normalisation"),
    Published(
        "bn-swish",
        f"{_BN_AFFINE} * sigmoid{_BN_AFFINE}",
        "Ramachandran et al. 2017; swish of batch normalisation",
        _normalised("bwh"),
    ),
    Published("rmsnorm", "x / rms_whc(x)", "Zhang & Sennrich 2019; no activation of its own"),
    Published("dyt-channels", "tanh(v1 * x)", "dynamic tanh with a factor for each channel; no statistics"),
)
"""Layers of convolutional networks."""


def _of_tokens(name: str, expression: str, source: str) -> Published:
    return Published(name, expression, source, expression)


def _pointwise(name: str, expression: str, source: str) -> Published:
    return Published(name, expression, source, start={"s1": 0.5})


_DERF = "Chen et al. 2025; no statistics"

TOKENS: tuple[Published, ...] = (
    _of_tokens("layernorm", _normalised("c"), "Ba et al. 2016; of transformers, over the channels of a token"),
    _of_tokens("rmsnorm-c", "x / rms_c(x)", "Zhang & Sennrich 2019; over the channels of a token"),
    _of_tokens("headnorm", "x / rms_cg(x)", "RMSNorm of each head; groups are heads"),
    _pointwise("dyt", "tanh(s1 * x)", "Zhu et al. 2025; dynamic tanh, no statistics"),
    _pointwise("derf", "erf(s1 * x + s0)", "Chen et al. 2025; dynamic erf, no statistics"),
    _pointwise("isru", "(s1 * x + s0) / sqrt(1 + square(s1 * x + s0))", _DERF),
    _pointwise("expsign", "(s1 * x + s0) / abs(s1 * x + s0) * (1 - exp(-abs(s1 * x + s0)))", _DERF),
)
"""Layers of transformers. Statistics over `c` and `cg` are those of one token, so that nothing mixes positions."""


def _swish(name: str, normalised: str, source: str, gated: str = "") -> Published:
    return Published(name, f"({normalised}) * sigmoid({gated or normalised})", source)


_WITHIN_GROUPS = "v1 * ((x - max(0, mean_whcg(x))) / std_bwh(x))"
_BY_SAMPLES = "(v0 + x) / std_whc(max(x, v0 + x))"

FOUND: tuple[Published, ...] = (
    _swish("evonas-1", "v1 * ((v0 + x) / std_whc(sqrt(x))) - mean_bwh(x)", "found by evonas; batch statistics"),
    _swish("evonas-2", f"v0 + {_WITHIN_GROUPS}", "found by evonas; batch statistics", _WITHIN_GROUPS),
    _swish("evonas-3", f"v1 * ({_BY_SAMPLES}) - mean_bwh({_BY_SAMPLES})", "found by evonas; batch statistics"),
)
"""What searches of evonas ended with, or had among their best, and what held in longer training."""

ROWS: Mapping[str, Published] = MappingProxyType({row.name: row for row in (*PUBLISHED, *TOKENS, *FOUND)})
zoo: Mapping[str, Graph] = MappingProxyType({name: Graph.parse(row.expression) for name, row in ROWS.items()})
"""Every published layer and every one that evonas found by name, as a graph."""

NAMES_BY_KEY: Mapping[str, str] = MappingProxyType({graph.key: name for name, graph in zoo.items()})
"""Names by canonical key, by which a layer with a name is recognised among candidates."""


def as_graph(layer: Graph | str) -> Graph:
    """The graph that a name in the zoo or an expression stands for; a graph stands for itself.

    Raises:
        UsageError: when `layer` is none of the three.
    """
    if isinstance(layer, Graph):
        return layer
    if not isinstance(layer, str):
        raise UsageError(f"a layer must be a graph, a published name or an expression, not {shorten(layer)}")
    if layer in zoo:
        return zoo[layer]
    try:
        return Graph.parse(layer)
    except GraphError as error:
        raise UsageError(
            f"{shorten(layer)} is neither a published layer ({', '.join(zoo)}) nor an expression: {error}"
        ) from None
