"""Extents against values: a value may vary over an axis only where its extent says so."""

import pytest
import torch
from hypothesis import given, settings

from evonas.language.graph import Graph, trimmed
from evonas.language.primitive_table import PRIMITIVES, IndexSet
from evonas.language.varying_axes import INPUT_EXTENTS, REMOVES, Extent, is_constant_over, result_extent
from evonas.layers.reference import evaluate
from tests.strategies import GROUPS, extents, graphs, probe


def varies_over(value: torch.Tensor) -> Extent:
    """The axes over which a (b, c, h, w) value differs, where groups of channels are an axis of their own."""
    b, c, h, w = value.shape
    cells = value.reshape(b, GROUPS, c // GROUPS, h * w)
    found = Extent.NONE
    for flag, axis in ((Extent.BATCH, 0), (Extent.GROUP, 1), (Extent.MEMBER, 2), (Extent.PLANE, 3)):
        if not torch.equal(cells, cells.narrow(axis, 0, 1).expand_as(cells)):
            found |= flag
    return found


def test_each_flag_has_a_bit_of_its_own():
    # The complement of a flag drops bits without a name, so that FULL & ~PLANE once lost the channel.
    assert ~Extent.PLANE == Extent.BATCH | Extent.CHANNEL
    assert Extent.GROUP | Extent.MEMBER == Extent.CHANNEL
    assert Extent.CHANNEL | Extent.BATCH | Extent.PLANE == Extent.FULL
    assert set(REMOVES) == set(IndexSet)
    assert not Extent.NONE and [flag.value for flag in Extent] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("expression", "extent"),
    [
        ("x", Extent.FULL),
        ("0", Extent.NONE),
        ("v0", Extent.CHANNEL),
        ("v1", Extent.CHANNEL),
        ("mean_wh(x)", Extent.BATCH | Extent.CHANNEL),
        ("mean_whcg(x)", Extent.BATCH | Extent.GROUP),
        ("mean_whc(x)", Extent.BATCH),
        ("mean_bwh(x)", Extent.CHANNEL),
        ("std_whc(mean_bwh(x))", Extent.NONE),
        ("rms_whcg(mean_wh(x))", Extent.BATCH | Extent.GROUP),
        ("mean_whcg(v1)", Extent.GROUP),
        ("mean_bwh(mean_whcg(x))", Extent.GROUP),
        ("v1 + mean_whc(x)", Extent.BATCH | Extent.CHANNEL),
        ("x * 0", Extent.FULL),  # extents look at the structure alone
    ],
)
def test_extent(expression, extent):
    graph = Graph.parse(expression)
    assert extents(graph)[graph.output] == extent


@pytest.mark.parametrize("index_set", IndexSet)
def test_what_each_index_set_removes(index_set):
    name = f"std_{index_set.value}"
    result = result_extent(PRIMITIVES[name], [Extent.FULL])
    assert is_constant_over(result, index_set)
    assert not is_constant_over(Extent.FULL, index_set)
    assert result | REMOVES[index_set] == Extent.FULL
    # The table says exactly what a statistic of random numbers shows.
    x, _ = probe()
    assert varies_over(evaluate(Graph.parse(f"{name}(x)"), x, groups=GROUPS)) == result


def test_inputs():
    x, parameters = probe()
    for number, extent in enumerate(INPUT_EXTENTS):
        assert varies_over(evaluate(Graph((), number), x, parameters)) == extent


@settings(max_examples=300)
@given(graphs())
def test_no_node_varies_beyond_its_extent(graph):
    x, parameters = probe()
    claimed = extents(graph)
    for number in range(graph.first, graph.last + 1):
        value = evaluate(trimmed(graph.nodes, number), x, parameters, groups=GROUPS).nan_to_num()
        excess = varies_over(value) & ~claimed[number]
        assert not excess, f"node {number}, {PRIMITIVES[graph.node(number).op].name}, varies over {excess}"
