"""Drawings: what is in them, that nothing overlaps, and that they can be written."""

import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise

import networkx as nx
import pytest
from hypothesis import given, settings
from rich.console import Console

from evonas.errors import UsageError
from evonas.language.graph import FIRST, Graph, X
from evonas.language.zoo import zoo
from evonas.report.graph_drawing import framed, gallery, picture, to_networkx, tree
from evonas.report.graph_layout import Bend, layered
from tests.strategies import graphs


def test_networkx():
    graph = Graph.parse("x * x / max(std_bwh(x), v1)")
    drawn = to_networkx(graph)
    assert nx.is_directed_acyclic_graph(drawn)
    assert {data["label"]: data["kind"] for _, data in drawn.nodes(data=True)} == {
        "x": "input",
        "v1": "parameter",
        "×": "element-wise",
        "÷": "element-wise",
        "max": "element-wise",
        "std_bwh": "statistic",
    }
    assert [data["index_set"] for _, data in drawn.nodes(data=True) if data["kind"] == "statistic"] == ["bwh"]
    assert drawn.edges[X, FIRST]["places"] == (0, 1)


@given(graphs())
@settings(max_examples=30)
def test_networkx_holds_what_is_live(graph):
    drawn = to_networkx(graph)
    assert set(drawn) == set(graph.live)
    for number in graph.live:
        args = graph.node(number).args if number >= FIRST else ()
        arguments = {place: a for a in drawn.pred[number] for place in drawn.edges[a, number]["places"]}
        assert tuple(arguments[place] for place in sorted(arguments)) == args


def rendered(graph: Graph) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(tree(graph))
    return capture.get()


def test_tree():
    assert rendered(zoo["evonorm-s0"]).splitlines() == [
        "÷",
        "├── ×",
        "│   ├── x",
        "│   └── sigmoid",
        "│       └── ×",
        "│           ├── v1",
        "│           └── x",
        "└── std_whcg",
        "    └── x",
    ]
    shared = rendered(zoo["bn-swish"])
    assert shared.count("mean_bwh") == 1
    assert "+ [1]" in shared
    assert "+ (see 1)" in shared


def test_tree_of_a_graph_that_doubles_stays_small():
    text = "x"
    for _ in range(12):
        text = f"exp({text} * {text})"
    assert len(rendered(Graph.parse(text)).splitlines()) < 50


@given(graphs())
@settings(max_examples=30)
def test_layout(graph):
    drawn = framed(graph)
    layout = layered(drawn, anchor=X)
    assert set(drawn) <= set(layout.place)
    for (source, target), bends in layout.route.items():
        columns = [layout.place[node][0] for node in (source, *bends, target)]
        assert all(b - a == 1 for a, b in pairwise(columns))  # every edge goes right, stopping in each column
    for a, b in combinations(layout.place, 2):
        (xa, ya), (xb, yb) = layout.place[a], layout.place[b]
        least = 0.6 if isinstance(a, Bend) or isinstance(b, Bend) else 1.0
        assert xa != xb or abs(ya - yb) > least - 1e-6, (a, b)
    assert all(y >= 0 for _, y in layout.place.values())
    assert layout == layered(framed(graph), anchor=X)


@pytest.mark.parametrize("name", ["evonorm-b0", "evonorm-s0"])
def test_zoo_is_drawn_without_crossings(name):
    layout = layered(framed(zoo[name]), anchor=X)
    steps = {pair for (s, t), bends in layout.route.items() for pair in pairwise((s, *bends, t))}
    for (a, b), (c, d) in combinations(steps, 2):
        if layout.place[a][0] == layout.place[c][0]:
            left = layout.place[a][1] - layout.place[c][1]
            right = layout.place[b][1] - layout.place[d][1]
            assert left * right >= 0


def test_pictures(tmp_path):
    svg = picture(zoo["evonorm-b0"], tmp_path / "b0.svg", title="$B_0 <&> 'x'")
    text = "".join(ElementTree.parse(svg).getroot().itertext())
    for label in ("std_bwh", "std_wh", "max", "÷", "output", "$B_0 <&> 'x'"):
        assert label in text
    again = picture(zoo["evonorm-b0"], tmp_path / "again.svg", title="$B_0 <&> 'x'")
    assert svg.read_bytes() == again.read_bytes()
    png = picture(zoo["bn-swish"], str(tmp_path / "swish.PNG"))
    assert png.read_bytes().startswith(b"\x89PNG")
    for number, graph in enumerate((Graph((), 0), Graph.parse("0"), Graph.parse("v0 * v1"))):
        assert picture(graph, tmp_path / f"{number}.svg").stat().st_size > 1000


def test_gallery(tmp_path):
    path = gallery(zoo, tmp_path / "zoo.svg")
    text = "".join(ElementTree.parse(path).getroot().itertext())
    assert all(name in text for name in zoo)


def test_refusals(tmp_path):
    with pytest.raises(UsageError, match=r"\.svg or a \.png"):
        picture(zoo["dyt"], tmp_path / "layer.jpg")
    with pytest.raises(UsageError, match="cannot write"):
        picture(zoo["dyt"], tmp_path / "missing" / "layer.png")
    with pytest.raises(UsageError, match="no layer"):
        gallery({}, tmp_path / "none.svg")
