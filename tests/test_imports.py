"""Imports run one way: DESIGN's rooms, read from the source with `ast`, and checked in a fresh interpreter."""

import ast
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import evonas
from evonas.db import open_store
from tests import store_samples

ROOT = Path(__file__).parents[1]
ROOMS = ("search_spaces", "workers", "kernels", "db")
JOINING = {"__init__", "__main__", "api", "assemble", "comparison", "doctor", "executors", "reranking", "transferring"}
"""The files of the core that join all rooms, with the command line in evonas/cli and the report in evonas/report."""
HEAVY = {"ray", "sqlalchemy", "alembic", "pymoo", "triton", "sklearn", "scipy"}
MAY_USE = {
    "core": set(),
    "search_spaces": set(),
    "workers": {"sklearn"},
    "kernels": {"triton"},
    "db": {"sqlalchemy", "alembic"},
}
"""Which of the heavy libraries a room may import."""


@dataclass(frozen=True)
class Import:
    """One imported module, where it stands, and whether the import is run when the file is loaded."""

    file: Path
    line: int
    module: str
    at_load: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}: imports {self.module}"

    @property
    def library(self) -> str:
        return self.module.split(".")[0]

    @property
    def room(self) -> str | None:
        """The room of evonas that the module stands in, None for what is not of evonas."""
        parts = self.module.split(".")
        if parts[0] != "evonas":
            return None
        return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "core"


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
                # `from evonas import db` names a room, `from evonas.ops import OPS` does not.
                joined = f"{node.module}.{alias.name}"
                yield Import(file, node.lineno, joined if node.module == "evonas" else node.module, at_load)
        for child in children:
            yield from visit(child, at_load)

    text = file.read_text() if source is None else source
    return visit(ast.parse(text), True)


def files(room: str) -> list[Path]:
    if room == "core":
        return [f for f in sorted((ROOT / "evonas").glob("*.py")) if f.stem not in JOINING]
    return sorted((ROOT / room).rglob("*.py"))


def faults(room: str, found: Import) -> bool:
    """Whether an import breaks the rules of the room that its file is in."""
    if room == "core":
        # Core may reach for pymoo's sorting, scipy's distributions, or a room, only while something runs.
        banned = HEAVY if found.at_load else HEAVY - {"pymoo", "scipy"}
        return found.library in banned or (found.at_load and found.room in ROOMS)
    heavy = HEAVY - MAY_USE[room]
    if room == "workers" and "ray" in found.file.stem:
        heavy = heavy - {"ray"}
    return found.library in heavy or found.room not in (None, "core", room)


@pytest.mark.parametrize("room", ["core", *ROOMS])
def test_imports_run_one_way(room):
    assert files(room)
    assert not [str(i) for file in files(room) for i in imports(file) if faults(room, i)]


def test_files_that_join_are_imported_by_nobody_below():
    """Nothing in the rooms or the core imports what joins them; `evonas/__init__` may, on request."""
    joining = tuple(f"evonas.{name}" for name in (*(JOINING - {"__init__"}), "cli", "report"))
    for room in ("core", *ROOMS):
        for file in files(room):
            if file != ROOT / "evonas" / "__init__.py":
                assert not [str(i) for i in imports(file) if i.module.startswith(joining)]


def test_rooms_are_imported_as_part_of_evonas():
    everything = [
        f
        for f in ROOT.rglob("*.py")
        if not {"build", ".venv", "dist", "evonas.egg-info"} & set(f.relative_to(ROOT).parts)
    ]
    assert len(everything) > 20
    assert not [str(i) for file in everything for i in imports(file) if i.library in ROOMS]


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("core", "import torch, numpy", False),
        ("core", "import ray", True),
        ("core", "from sqlalchemy.orm import Session", True),
        ("core", "def f():\n    import triton", True),
        ("core", "def f():\n    from pymoo.util import nds", False),
        ("core", "import pymoo.util", True),
        ("core", "class A:\n    import pymoo", True),
        ("core", "try:\n    import pymoo\nexcept ImportError: pass", True),
        ("core", "from evonas import db", True),
        ("core", "from evonas.kernels.plan import plan", True),
        ("core", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray", False),
        ("workers", "import ray", True),
        ("workers", "from evonas.db import store", True),
        ("workers", "from evonas.layer import NormAct", False),
        ("db", "import sqlalchemy, evonas.store", False),
        ("db", "def f():\n    import evonas.workers", True),
        ("kernels", "import triton", False),
        ("kernels", "from evonas.search_spaces import SPACES", True),
        ("search_spaces", "from evonas.space import SearchSpace", False),
    ],
)
def test_the_reader_of_imports_sees(room, source, fault):
    file = ROOT / "evonas" / "sample.py"
    assert any(faults(room, found) for found in imports(file, source)) == fault


def test_ray_is_for_the_file_of_its_executor():
    for name, fault in (("ray_executor", False), ("local", True)):
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
def test_a_fresh_interpreter_loads_nothing_heavy(modules):
    names = [f"evonas.{file.stem}" for file in files("core") if file.stem != "__init__"] if modules == "core" else []
    source = FRESH.replace("HEAVY", repr(HEAVY))
    result = fresh(source, *names)
    spent, *loaded = result.stdout.split()
    assert not loaded
    # DESIGN: under half a second beyond torch. In processor time, so that a busy machine does not count.
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
    for name, module in checked.items():
        assert getattr(evonas, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = evonas.nonsense


@pytest.mark.parametrize("name", sorted(evonas.__all__))
def test_no_module_stands_in_the_way_of_a_name(name: str) -> None:
    """Importing a module `evonas.swap` would put it where the function `evonas.swap` is expected."""
    assert importlib.util.find_spec(f"evonas.{name}") is None
