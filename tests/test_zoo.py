"""The zoo against the table of SPEC section 1, which is written out here."""

import pytest

from evonas.errors import UsageError
from evonas.language.graph import Graph
from evonas.language.zoo import FOUND, NAMES_BY_KEY, PUBLISHED, ROWS, TOKENS, as_graph, zoo
from evonas.search_spaces import SPACES
from evonas.settings.search_space import generator

TABLE = {
    "evonorm-b0": "x / max(std_bwh(x), v1 * x + std_wh(x))",
    "evonorm-b1": "x / max(std_bwh(x), (x + exp(zero)) * rms_wh(x))",
    "evonorm-b2": "x / max(std_bwh(x), rms_wh(x) - x)",
    "evonorm-s0": "x * sigmoid(v1 * x) / std_whcg(x)",
    "evonorm-s1": "x * sigmoid(x) / std_whcg(x)",
    "evonorm-s2": "x * sigmoid(x) / rms_whcg(x)",
    "bn-relu": "max((x - mean_bwh(x)) / std_bwh(x) * v1 + v0, 0)",
    "gn-relu": "max((x - mean_whcg(x)) / std_whcg(x) * v1 + v0, 0)",
    "ln-relu": "max((x - mean_whc(x)) / std_whc(x) * v1 + v0, 0)",
    "in-relu": "max((x - mean_wh(x)) / std_wh(x) * v1 + v0, 0)",
    "bn-swish": ("((x - mean_bwh(x)) / std_bwh(x) * v1 + v0) * sigmoid((x - mean_bwh(x)) / std_bwh(x) * v1 + v0)"),
    "rmsnorm": "x / rms_whc(x)",
    "dyt-channels": "tanh(v1 * x)",
    "layernorm": "(x - mean_c(x)) / std_c(x)",
    "rmsnorm-c": "x / rms_c(x)",
    "headnorm": "x / rms_cg(x)",
    "dyt": "tanh(s1 * x)",
    "derf": "erf(s1 * x + s0)",
    "isru": "(s1 * x + s0) / sqrt(1 + square(s1 * x + s0))",
    "expsign": "(s1 * x + s0) / abs(s1 * x + s0) * (1 - exp(-abs(s1 * x + s0)))",
    "evonas-1": (
        "((x + v0) / std_whc(sqrt(x)) * v1 - mean_bwh(x)) * sigmoid((x + v0) / std_whc(sqrt(x)) * v1 - mean_bwh(x))"
    ),
    "evonas-2": (
        "((x - max(mean_whcg(x), 0)) / std_bwh(x) * v1 + v0) * sigmoid((x - max(mean_whcg(x), 0)) / std_bwh(x) * v1)"
    ),
    "evonas-3": (
        "((x + v0) / std_whc(max(x + v0, x)) * v1 - mean_bwh((x + v0) / std_whc(max(x + v0, x))))"
        " * sigmoid((x + v0) / std_whc(max(x + v0, x)) * v1 - mean_bwh((x + v0) / std_whc(max(x + v0, x))))"
    ),
}
LINEAR = {"bn-relu": "bwh", "bn-swish": "bwh", "gn-relu": "whcg", "ln-relu": "whc", "in-relu": "wh", "layernorm": "c"}
ITSELF = {"rmsnorm-c", "headnorm"}
STARTS = {name: {"s1": 0.5} for name in ("dyt", "derf", "isru", "expsign")}


def test_the_names_are_those_of_the_table():
    assert list(zoo) == list(ROWS) == [row.name for row in (*PUBLISHED, *TOKENS, *FOUND)]
    assert set(zoo) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_layer_is_what_the_table_says(name):
    assert zoo[name].key == Graph.parse(TABLE[name]).key
    assert NAMES_BY_KEY[zoo[name].key] == name
    assert ROWS[name].source
    # People see the published form, which no canonical spelling should replace.
    assert Graph.parse(zoo[name].expression()) == zoo[name]


@pytest.mark.parametrize("name", TABLE)
def test_positions_without_activation(name):
    index_set = LINEAR.get(name)
    expected = f"(x - mean_{index_set}(x)) / std_{index_set}(x)" if index_set else None
    assert ROWS[name].linear == (TABLE[name] if name in ITSELF else expected)


@pytest.mark.parametrize("name", TABLE)
def test_what_parameters_start_at(name):
    assert ROWS[name].start == STARTS.get(name, {})


@pytest.mark.parametrize("name", TABLE)
def test_a_layer_fits_its_space(name):
    assert ("bwh" in TABLE[name]) == any("bwh" in node.op for node in zoo[name].nodes)
    of_tokens = name in {row.name for row in TOKENS}
    space = SPACES["tokens" if of_tokens else "evonorm" if "bwh" in TABLE[name] else "evonorm-s"]
    assert space.embed(zoo[name], generator(0)).key == zoo[name].key


def test_the_zoo_is_read_only():
    with pytest.raises(TypeError):
        zoo["mine"] = zoo["dyt"]


def test_as_graph():
    assert as_graph("dyt") is zoo["dyt"]
    assert as_graph(zoo["dyt"]) is zoo["dyt"]
    assert as_graph("tanh(v1 * x)") == zoo["dyt-channels"]
    with pytest.raises(UsageError, match=r"'bn-rleu' is neither a published layer .*evonorm-b0.* nor an expr"):
        as_graph("bn-rleu")
