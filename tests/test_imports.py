"""Imports run one way: the rooms of ARCHITECTURE.md, read with `ast`, and checked in a fresh interpreter."""

import ast
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pytest

import evonas
from evonas.db import open_store
from tests import store_samples

ROOT = Path(__file__).parents[1]
CORE = ("errors", "cache", "notebook", "language", "layers", "settings", "swapping", "judging", "records", "evolution")
"""The rooms of evonas from the lowest to the highest: each imports those before it and knows nothing of the others."""
JOINING = ("setup", "reruns", "report", "display", "front", "cli")
"""The rooms above, in the same order; they bring the four that lie beside evonas together, while something runs."""
BESIDE = ("search_spaces", "workers", "kernels", "db")
HEAVY = {"ray", "sqlalchemy", "alembic", "pymoo", "triton", "sklearn", "scipy"}
MAY_USE = {
    "search_spaces": set(),
    "workers": {"sklearn"},
    "kernels": {"triton"},
    "db": {"sqlalchemy", "alembic"},
}
"""Which of the heavy libraries a room beside may import."""
MAY_USE_RUNNING = {"judging": {"pymoo"}, "reruns": {"scipy"}, "report": {"pymoo"}}
"""Which a room of the core or above may import inside of functions: pymoo's sorting, scipy's distributions."""
WITHIN = {
    "kernels": (("plan",), ("printing",), ("triton", "cpp"), ("export",)),
    "workers": (("data", "anchors"), ("trial",), ("transfer", "executors")),
}
"""The rooms within a room, from the lowest to the highest; files beside them may import all and be imported by all."""


@dataclass(frozen=True)
class Import:
    """One imported module, where it stands, and whether the import is run when the file is loaded."""

    file: Path
    line: int
    module: str
    at_load: bool
    name: str = ""

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}: imports {self.module}"

    @property
    def library(self) -> str:
        return self.module.split(".")[0]

    @property
    def room(self) -> str | None:
        """The room of evonas that the module stands in, "" for evonas itself, None for what is not of evonas."""
        parts = self.module.split(".")
        if parts[0] != "evonas":
            return None
        return parts[1] if parts[1:] and parts[1] in {*CORE, *JOINING, *BESIDE} else ""

    @property
    def inner(self) -> str:
        """The room within that room."""
        return ".".join(self.module.split(".")[2:3])


def imports(file: Path, source: str | None = None) -> Iterator[Import]:
    """Every import of a file, but those for type checkers alone."""

    def visit(node: ast.AST, at_load: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            children = node.orelse
        else:
            children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_load = False
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, at_load)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are written in full here"
            for alias in node.names:
                # `from evonas import db` names a room, `from evonas.language.primitive_table import OPS` does not.
                joined = f"{node.module}.{alias.name}"
                yield Import(file, node.lineno, joined if node.module == "evonas" else node.module, at_load, alias.name)
        for child in children:
            yield from visit(child, at_load)

    text = file.read_text() if source is None else source
    return visit(ast.parse(text), True)


def files(room: str) -> list[Path]:
    """The files of a room, those of the rooms within it included."""
    if room in BESIDE:
        return sorted((ROOT / room).rglob("*.py"))
    place = ROOT / "evonas" / room
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def faults(room: str, found: Import) -> bool:
    """Whether an import breaks the rules of the room that its file is in."""
    if room in BESIDE:
        heavy = HEAVY - MAY_USE[room]
        if room == "workers" and found.file.stem.startswith("ray_"):
            heavy = heavy - {"ray"}
        return found.library in heavy or (found.room is not None and found.room not in ("", *CORE, room))
    banned = HEAVY if found.at_load else HEAVY - MAY_USE_RUNNING.get(room, set())
    if found.library in banned:
        return True
    if found.room in (None, "", room):
        return False
    order = (*CORE, *JOINING)
    if found.room in order:
        return order.index(found.room) > order.index(room)
    # What lies beside evonas is for the rooms that join it, and for them while something runs; spaces are mere values.
    return room in CORE or (found.at_load and found.room != "search_spaces")


@pytest.mark.parametrize("room", [*CORE, *JOINING, *BESIDE])
def test_imports_run_one_way(room: str) -> None:
    assert files(room)
    assert not [str(i) for file in files(room) for i in imports(file) if faults(room, i)]


def test_every_file_of_evonas_is_in_a_room() -> None:
    """So that no rule is escaped by a new folder, or by a file beside the rooms."""
    names = {place.stem for place in (ROOT / "evonas").iterdir() if place.is_dir() or place.suffix == ".py"}
    assert names - {"__pycache__"} == {"__init__", "__main__", "moved_modules", *CORE, *JOINING, *BESIDE}


@pytest.mark.parametrize("room", WITHIN)
def test_rooms_within_a_room_import_one_way_too(room: str) -> None:
    level = {name: number for number, names in enumerate(WITHIN[room]) for name in names}
    folders = {place.name for place in (ROOT / room).iterdir() if (place / "__init__.py").is_file()}
    assert folders == set(level)
    for file in files(room):
        place = file.relative_to(ROOT / room).parts[0]
        for found in imports(file):
            if place in level and found.room == room and found.inner in level and found.inner != place:
                assert level[found.inner] < level[place], found


def test_no_two_files_import_each_other() -> None:
    """Not inside of functions either: whoever reads one of a circle has to read all of it."""
    known = {}
    for room in (*CORE, *JOINING, *BESIDE):
        for file in files(room):
            parts = file.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts if parts[0] == "evonas" else ("evonas", *parts)).removesuffix(".__init__")
            known[name] = file
    graph = nx.DiGraph()
    for name, file in known.items():
        for found in imports(file):
            for target in (f"{found.module}.{found.name}", found.module):
                if target in known and target != name:
                    graph.add_edge(name, target)
                    break
    assert graph.number_of_edges() > 500
    circles = [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]
    assert circles == []


def test_rooms_are_imported_as_part_of_evonas():
    everything = [
        f
        for f in ROOT.rglob("*.py")
        if not {"build", ".venv", "dist", "evonas.egg-info"} & set(f.relative_to(ROOT).parts)
    ]
    assert len(everything) > 20
    assert not [str(i) for file in everything for i in imports(file) if i.library in BESIDE]


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("language", "import torch, numpy", False),
        ("language", "import ray", True),
        ("language", "from sqlalchemy.orm import Session", True),
        ("language", "def f():\n    import triton", True),
        ("language", "def f():\n    from pymoo.util import nds", True),
        ("judging", "def f():\n    from pymoo.util import nds", False),
        ("judging", "import pymoo.util", True),
        ("judging", "class A:\n    import pymoo", True),
        ("judging", "try:\n    import pymoo\nexcept ImportError: pass", True),
        ("records", "from evonas import db", True),
        ("layers", "from evonas.kernels.plan.plan import plan", True),
        ("layers", "def f():\n    from evonas.kernels.plan.plan import plan", True),
        ("layers", "from evonas.language.graph import Graph", False),
        ("language", "from evonas.layers.norm_act import NormAct", True),
        ("language", "def f():\n    from evonas.layers.norm_act import NormAct", True),
        ("front", "def f():\n    from evonas.kernels.plan.plan import plan", False),
        ("front", "from evonas.kernels.plan.plan import plan", True),
        ("front", "def f():\n    from evonas.cli import options", True),
        ("cli", "def f():\n    from evonas.front import api", False),
        ("front", "from evonas.display.live_display import LiveDisplay", False),
        ("display", "def f():\n    from evonas.front import api", True),
        ("display", "from evonas.report.funnel import funnel", False),
        ("front", "from evonas.reruns import reranking", False),
        ("reruns", "from evonas.setup import assemble", False),
        ("reruns", "def f():\n    from evonas.front import api", True),
        ("evolution", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray", False),
        ("workers", "import ray", True),
        ("workers", "from evonas.db import store", True),
        ("workers", "from evonas.front import api", True),
        ("workers", "from evonas.layers.norm_act import NormAct", False),
        ("db", "import sqlalchemy, evonas.records.store", False),
        ("db", "def f():\n    import evonas.workers", True),
        ("kernels", "import triton", False),
        ("kernels", "from evonas.search_spaces import SPACES", True),
        ("search_spaces", "from evonas.settings.search_space import SearchSpace", False),
    ],
)
def test_the_reader_of_imports_sees(room: str, source: str, fault: bool) -> None:
    file = ROOT / "evonas" / "sample.py"
    assert any(faults(room, found) for found in imports(file, source)) == fault


def test_ray_is_for_the_files_of_its_executor() -> None:
    for name, fault in (("ray_executor", False), ("local_executor", True), ("metrics", True)):
        file = ROOT / "workers" / "executors" / f"{name}.py"
        assert any(faults("workers", i) for i in imports(file, "import ray")) == fault


FRESH = """
import importlib, sys, time
import torch
before, start = set(sys.modules), time.process_time()
import evonas
spent = time.process_time() - start
for name in sys.argv[1:]:
    importlib.import_module(name)
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
rooms = {name for name in sys.modules if name.startswith(("evonas.db", "evonas.workers", "evonas.kernels"))}
print(spent, *sorted(loaded & HEAVY), *sorted(rooms))
"""


def fresh(source: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What a program prints in an interpreter of its own, which has to end well."""
    line = [sys.executable, "-c", source, *words]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.parametrize("modules", ["evonas", "core"])
def test_a_fresh_interpreter_loads_nothing_heavy(modules: str) -> None:
    names = []
    for file in (file for room in CORE for file in files(room)) if modules == "core" else ():
        names.append(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    source = FRESH.replace("HEAVY", repr(HEAVY))
    result = fresh(source, *names)
    spent, *loaded = result.stdout.split()
    assert not loaded
    # Under half a second beyond torch. In processor time, so that a busy machine does not count.
    assert float(spent) < 0.5


LOOKING = """
import sys
from evonas.cli import main
sys.argv = ["evonas", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {"torch", "ray", "pymoo", "networkx", "matplotlib", "triton", "alembic", "sklearn", "scipy"}
    print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["--help", "search --help", "runs", "status", "best", "pareto", "show 0"])
def test_commands_that_look_load_nothing_heavy(command: str, tmp_path: Path) -> None:
    """They should answer at once: importing PyTorch alone takes a second."""
    storage = tmp_path / "evonas.db"
    with open_store(str(storage)) as store:
        run = store.create_run(store_samples.CONFIG, {})
        candidates = [store_samples.candidate(i) for i in range(3)]
        store.record(run.id, candidates=candidates, evaluations=[store_samples.scored(i, 0.5) for i in range(3)])
    place = [] if "--help" in command else ["--storage", str(storage)]
    result = fresh(LOOKING, *command.split(), *place)
    # networkx draws the tree of `show`, pymoo sorts fronts; a database whose tables are up to date needs no migration.
    assert result.stderr.split() == {"show 0": ["networkx"], "pareto": ["pymoo"]}.get(command, [])


def test_the_names_of_the_package_are_the_same_to_readers_and_to_type_checkers() -> None:
    """They stand in three places of `evonas/__init__.py`: what type checkers see, `__all__`, and where each is from."""
    file = ROOT / "evonas" / "__init__.py"
    checked = {
        alias.asname or alias.name: node.module
        for block in ast.parse(file.read_text()).body
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert checked == evonas._FROM
    assert sorted(checked) == evonas.__all__
    assert set(evonas.__all__) <= set(dir(evonas))
    for name, now in evonas._DEPRECATED.items():
        with pytest.warns(DeprecationWarning, match=f"evonas.{name} is deprecated: use evonas.{now}"):
            assert getattr(evonas, name) is getattr(evonas, now)
    for name, module in checked.items():
        assert getattr(evonas, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = evonas.nonsense


@pytest.mark.parametrize("name", sorted(evonas.__all__))
def test_no_module_stands_in_the_way_of_a_name(name: str) -> None:
    """Importing a module `evonas.swap` would put it where the function `evonas.swap` is expected."""
    assert importlib.util.find_spec(f"evonas.{name}") is None
