"""Text from outside is read and refused, and never run: the parser, JSON, presets, databases, URLs, exported files.

Each reader is fed with what hypothesis thinks of, and with what an attacker would. Only errors of evonas may come out,
and while a reader is at work no process starts, nothing is unpickled, and no file is written but where it should be.
"""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.db import open_store
from evonas.errors import EvonasError
from evonas.kernels.cpp.source import cpp_source
from evonas.kernels.export.torch_source import to_torch
from evonas.kernels.plan.planner import plan_of
from evonas.kernels.triton.module import source_of
from evonas.language.graph import FIRST, Graph, Node
from evonas.language.leaf import leaf_named
from evonas.language.primitive_table import PRIMITIVES
from evonas.language.zoo import ROWS, zoo
from evonas.settings.presets import assignments, read_preset, resolve
from evonas.settings.run_config import RunConfig
from tests.outside import RUNS, anything, damaged, hostile, nothing_happens, read
from tests.store_samples import CONFIG

ROOT = Path(__file__).parent.parent


def test_the_watch_sees_what_it_should(tmp_path: Path) -> None:
    for harm in (
        lambda: os.system("true"),
        lambda: subprocess.run(["true"], check=True),
        lambda: pickle.loads(pickle.dumps(os.system)),
        lambda: (tmp_path / "file").write_text("x"),
    ):
        with pytest.raises(AssertionError), nothing_happens():
            harm()
    with nothing_happens(but_in=tmp_path):
        (tmp_path / "file").write_text("x")


WRITTEN = re.compile(r"[a-z0-9_ ()+\-*/,.]+…?")  # cut where it is long


def check_generated(graph: Graph) -> None:
    """A graph that was read is made of the table's words alone, and so is what is generated from it."""
    assert all(node.op in PRIMITIVES if node.args else leaf_named(node.op) for node in graph.nodes)
    tree = ast.parse(to_torch(graph))
    imported = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert {ast.unparse(n) for n in imported} <= IMPORTS
    assert called(tree) <= CALLED
    try:
        text = graph.written()
    except EvonasError:  # too long to be written out
        return
    assert WRITTEN.fullmatch(text)


def called(tree: ast.AST) -> set[str]:
    """The last word of whatever is called."""
    return {ast.unparse(node.func).rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.Call)}


def _every_operation() -> list[ast.Module]:
    """Exported files of graphs that use each operation of the table."""
    single = [Graph((Node(op.name, (0,) * op.arity),), FIRST) for op in PRIMITIVES.values()]
    return [ast.parse(to_torch(graph)) for graph in (*single, *zoo.values())]


IMPORTS = {
    ast.unparse(node)
    for tree in _every_operation()
    for node in ast.walk(tree)
    if isinstance(node, ast.Import | ast.ImportFrom)
}
CALLED = {name for tree in _every_operation() for name in called(tree)}
EXPRESSIONS = tuple(row.expression for row in ROWS.values())


@settings(max_examples=300)
@given(st.one_of(hostile(), damaged(EXPRESSIONS)))
def test_any_text_is_a_layer_or_refused(text: str) -> None:
    graph = read(lambda: Graph.parse(text))
    if graph is not None:
        check_generated(graph)


DOCUMENTS = tuple(graph.to_json() for graph in zoo.values())
NODES = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(sorted(PRIMITIVES)), hostile(8)), st.one_of(st.lists(st.integers(-2, 9)), anything())
    ),
    max_size=6,
)


@settings(max_examples=300)
@given(
    st.one_of(
        hostile(),
        damaged(DOCUMENTS),
        anything(),
        st.fixed_dictionaries({"nodes": NODES}, optional={"space": anything(), "output": anything()}),
    ),
    st.booleans(),
)
def test_any_json_is_a_layer_or_refused(document: Any, as_text: bool) -> None:
    source = document if isinstance(document, str) or not as_text else json.dumps(document)
    graph = read(lambda: Graph.from_json(source))
    if graph is not None:
        check_generated(graph)


def test_kernels_hold_no_text_from_outside() -> None:
    """Sources are of a graph's operations, which are names of the table, and of numbers."""
    document = {**json.loads(zoo["evonorm-b0"].to_json()), "space": RUNS, "comment": RUNS}
    graph = Graph.from_json(json.dumps(document))
    for source in (cpp_source(plan_of(graph)), source_of(plan_of(graph)), to_torch(graph)):
        assert "pwned" not in source


def leaves(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested tables and lists, as (container, key)."""
    for key in document if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from leaves(document[key])


@settings(max_examples=300)
@given(st.integers(0, 10_000), st.one_of(anything(), hostile(20)))
def test_any_recorded_configuration_is_read_or_refused(place: int, value: Any) -> None:
    document = json.loads(CONFIG.to_json())
    places = list(leaves(document))
    container, key = places[place % len(places)]
    container[key] = value
    text = json.dumps(document)
    config = read(lambda: RunConfig.from_json(text))
    if config is not None:
        read(config.to_json)


@pytest.mark.parametrize(
    "text", ["[" * 50_000, '{"a":' * 50_000, "9" * 50_000, "-" * 50_000, "(" * 50_000, "\0"], ids=lambda t: t[:5]
)
def test_text_that_exhausts_a_reader_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text(f"a = {text}")
    readers: list[Callable[[], object]] = [
        lambda: Graph.parse(text),
        lambda: Graph.from_json(text),
        lambda: RunConfig.from_json(text),
        lambda: assignments([f"protocol.lr={text}"]),
        lambda: read_preset(str(tmp_path / "deep.toml")),
        lambda: open_store(text, read_only=True),
    ]
    for reader in readers:
        assert read(reader) is None


@given(
    st.one_of(hostile(), st.builds("{}={}".format, st.sampled_from(["protocol.lr", "population", "space"]), hostile()))
)
def test_any_setting_is_read_or_refused(text: str) -> None:
    read(lambda: assignments([text]))


@given(
    st.one_of(
        hostile(),
        damaged(tuple((ROOT / "evonas" / "settings" / "presets" / f"{n}.toml").read_text() for n in ("small",))),
    )
)
def test_any_preset_is_read_or_refused(text: str) -> None:
    file = Path(os.environ["PYTEST_PRESET"])
    file.write_text(text, errors="surrogatepass")
    read(lambda: resolve(read_preset(str(file))))


@pytest.fixture(autouse=True, scope="module")
def _preset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_PRESET", str(tmp_path_factory.mktemp("presets") / "hostile.toml"))
        yield
