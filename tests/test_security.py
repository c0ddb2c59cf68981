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
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.config import RunConfig
from evonas.db import open_store
from evonas.errors import EvonasError, UsageError
from evonas.graph import FIRST, Graph, Node
from evonas.kernels.cpp_source import Variant, cpp_source
from evonas.kernels.export import export_layer
from evonas.kernels.plan import plan_of
from evonas.kernels.torch_source import to_torch
from evonas.kernels.triton_module import source_of
from evonas.ops import OPS
from evonas.presets import assignments, read_preset, resolve
from evonas.published import ROWS, zoo
from tests.store_samples import CONFIG, query, small_database
from tests.test_cli import Call

ROOT = Path(__file__).parent.parent
ROOMS = ("evonas", "workers", "kernels", "db", "search_spaces")
T = TypeVar("T")

RUNS = "import os; os.system('touch pwned')"
PAYLOADS = (
    *(f'"""\n{RUNS}\n"""', f"'); {RUNS} #", f"{{{RUNS}}}", "__import__('os').system('touch pwned')"),
    *("$(touch pwned)", "`touch pwned`", "; touch pwned", "| touch pwned", "x\ntouch pwned", "-o pwned"),
    *("'; DROP TABLE runs; --", "1 OR 1=1", "1/0; DELETE FROM candidates", "%s%n{0}{name}", "../../pwned", "/dev/full"),
    *("\0", "\ud800", "\u202e", "\x1b]0;x\x07", "x" * 300, "(" * 300, "[" * 300, "9" * 300, "-" * 300 + "x"),
    pickle.dumps(os.system).decode("latin1"),
)
LETTERS = "xv01 ()+-*/,.=<>[]{}_abceghmnoqrstuw'\"\\;:#@$%&|~?!\n\t\0é\u2028"


def hostile(size: int = 80) -> st.SearchStrategy[str]:
    return st.one_of(st.text(max_size=size), st.text(LETTERS, max_size=size), st.sampled_from(PAYLOADS))


@st.composite
def damaged(draw: st.DrawFn, texts: tuple[str, ...]) -> str:
    """A text that is right, with something in the place of a part of it."""
    text = draw(st.sampled_from(texts))
    start = draw(st.integers(0, len(text)))
    end = min(len(text), start + draw(st.integers(0, 6)))
    return text[:start] + draw(st.one_of(hostile(8), st.sampled_from(sorted(OPS)))) + text[end:]


def anything() -> st.SearchStrategy[Any]:
    """What JSON can say."""
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), hostile(20), st.sampled_from(sorted(OPS)))
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile(8), inner), max_leaves=8
    )


# -- what is watched ------------------------------------------------------------------------------------------------

_STARTED = {"os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen"}
_UNPICKLED = {"pickle.find_class", "code.__new__", "ctypes.dlopen"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_seen: list[tuple[str, object]] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if event in _STARTED | _UNPICKLED:
        _seen.append((event, arguments[:1]))
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""
        if path and "__pycache__" not in path:  # a module that is imported for the first time
            _seen.append(("write", path))


sys.addaudithook(_hook)


@contextmanager
def nothing_happens(but_in: Path | None = None) -> Iterator[None]:
    """Fails if the block starts a process, unpickles, loads a library, or writes a file that is not in a folder."""
    global _seen
    before, _seen = _seen, []
    try:
        yield
    finally:
        seen, _seen = _seen, before
    inside = [("write", name) for name in map(str, but_in.iterdir())] if but_in else []
    assert [one for one in seen if one not in inside and not _temporary(one, but_in)] == []


def _temporary(one: tuple[str, object], folder: Path | None) -> bool:
    """A file under another name, as it is before it is whole; it has to lie in the same folder."""
    return folder is not None and one[0] == "write" and Path(str(one[1])).parent == folder


def read(reader: Callable[[], T]) -> T | None:
    """What a reader makes of something; None where it says, in a line or few, that it makes nothing of it."""
    with nothing_happens():
        try:
            return reader()
        except EvonasError as error:
            assert 0 < len(str(error)) < 2000
            return None


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


# -- the parser, JSON, presets --------------------------------------------------------------------------------------

WRITTEN = re.compile(r"[a-z0-9_ ()+\-*/,]+…?")  # cut where it is long


def check_generated(graph: Graph) -> None:
    """A graph that was read is made of the table's words alone, and so is what is generated from it."""
    assert all(node.op in OPS for node in graph.nodes)
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
    single = [Graph((Node(op.name, (0,) * op.arity),), FIRST) for op in OPS.values()]
    return [ast.parse(to_torch(graph)) for graph in (*single, *zoo.values())]


IMPORTS = {
    ast.unparse(node)
    for tree in _every_operation()
    for node in ast.walk(tree)
    if isinstance(node, ast.Import | ast.ImportFrom)
}
CALLED = {name for tree in _every_operation() for name in called(tree)}
EXPRESSIONS = tuple(row.expression for row in ROWS.values())


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(monkeypatch, capsys)


@settings(max_examples=300)
@given(st.one_of(hostile(), damaged(EXPRESSIONS)))
def test_any_text_is_a_layer_or_refused(text: str) -> None:
    graph = read(lambda: Graph.parse(text))
    if graph is not None:
        check_generated(graph)


DOCUMENTS = tuple(graph.to_json() for graph in zoo.values())
NODES = st.lists(
    st.tuples(st.one_of(st.sampled_from(sorted(OPS)), hostile(8)), st.one_of(st.lists(st.integers(-2, 9)), anything())),
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
    for source in (cpp_source(graph, Variant(True)), source_of(plan_of(graph)), to_torch(graph)):
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
    st.one_of(hostile(), damaged(tuple((ROOT / "evonas" / "presets" / f"{n}.toml").read_text() for n in ("small",))))
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


# -- databases ------------------------------------------------------------------------------------------------------


@st.composite
def urls(draw: st.DrawFn) -> str:
    schemes = ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite", "postgresql", "postgres", "mysql+pickle", "file", ""]
    scheme = draw(st.one_of(st.sampled_from(schemes), st.text(LETTERS, max_size=6)))
    user = draw(st.sampled_from(["", "SECRET:SECRET@", "u:SECRET/@", "SECRET@"]))
    # Nothing listens on port 1, so that nothing is waited for.
    host = "127.0.0.1:1" if user or scheme.startswith("p") else draw(st.sampled_from(["", "127.0.0.1:1"]))
    path = draw(st.one_of(hostile(20), st.sampled_from(["", "runs.db", "/:memory:", "a/b"])))
    options = draw(st.sampled_from(["", "?mode=memory", "?uri=true&cache=shared", "?sslmode=x", "?=", "?a&a"]))
    return f"{scheme}://{user}{host}/{path}{options}"


@settings(max_examples=150)
@given(st.one_of(hostile(), urls()))
def test_any_storage_is_opened_or_refused_and_nothing_is_made(text: str) -> None:
    with emptied() as folder:
        for access in ({"read_only": True}, {"create": False}):
            with nothing_happens():
                try:
                    open_store(text, **access).close()
                except EvonasError as error:
                    assert "SECRET" not in str(error) or "SECRET@" not in text
        assert not list(folder.iterdir())


@contextmanager
def emptied() -> Iterator[Path]:
    """A folder of one's own to be in."""
    import tempfile

    here = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(here)


def columns(file: Path) -> list[tuple[str, str]]:
    tables = [str(row[0]) for row in query(file, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [(table, str(row[1])) for table in tables for row in query(file, f"PRAGMA table_info({table})")]


COMMANDS = (("best",), ("show", "0"), ("export", "0", "-o", "layer.py", "--force"))


@pytest.mark.parametrize("each", [1, pytest.param(len(COMMANDS), marks=pytest.mark.slow)])
def test_nothing_in_a_database_is_run(each: int, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each column in turn holds what would do harm if it were unpickled, evaluated, or put into SQL or a shell."""
    file = small_database(tmp_path)
    whole = file.read_bytes()
    monkeypatch.chdir(tmp_path)
    bomb = pickle.dumps(Bomb())
    harm: tuple[object, ...] = (bomb, RUNS, "'; DROP TABLE runs; --", "[" * 50_000, '{"py/reduce": 1}')
    refused = 0
    for number, (table, column) in enumerate(columns(file)):
        file.write_bytes(whole)
        for leftover in ("-wal", "-shm"):
            file.with_name(file.name + leftover).unlink(missing_ok=True)
        with closing(sqlite3.connect(file)) as connection:
            try:
                connection.execute(f"UPDATE {table} SET {column} = ?", (harm[number % len(harm)],))
                connection.commit()
            except sqlite3.IntegrityError:
                continue
        for command in (COMMANDS[(number + step) % len(COMMANDS)] for step in range(each)):
            code, _, told = call(*command, "--storage", file.name)
            assert code in (0, 2), (table, column, told)
            assert "Traceback" not in told and not (tmp_path / "pwned").exists()
            refused += code == 2
        if (tmp_path / "layer.py").exists():
            assert "os.system" not in _code(tmp_path / "layer.py")
    assert refused > 5
    with pytest.raises(AssertionError), nothing_happens():
        pickle.loads(bomb)


def test_a_file_that_a_database_names_is_run_by_no_command_that_does_not_name_it(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may have filters and objectives of a user's own; a database from elsewhere may name any file."""
    file = small_database(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('pwned', 'w').close()\nclass F: pass\n")
    document = json.loads(CONFIG.to_json())
    document["protocol"] |= {"filters": ["evil.py:F"], "objectives": ["anchors", "evil.py:F"]}
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE runs SET config = ?", (json.dumps(document),))
        connection.commit()
    for command in (*COMMANDS, ("status",), ("config", "1"), ("rerank", "1", "--executor", "local")):
        assert call(*command, "--storage", file.name)[0] in (0, 2)
        assert not (tmp_path / "pwned").exists(), command


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def _code(path: Path) -> str:
    """A file without its docstring."""
    tree = ast.parse(path.read_text())
    return ast.unparse(ast.Module(tree.body[1:], []))


# -- exported files -------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(hostile(30), hostile(30), hostile(30))
def test_an_export_writes_one_file_or_none(name: str, class_name: str, told: str) -> None:
    with emptied() as outer:
        folder = outer / "inner" / "here"
        folder.mkdir(parents=True)
        flat = name.replace("/", "⁄")  # a path of one's own is one's own business
        before = {path: path.stat().st_mtime_ns for path in outer.rglob("*") if path != folder}
        with nothing_happens(but_in=folder):
            try:
                export_layer(zoo["dyt"], folder / flat, class_name=class_name, provenance={told: told})
            except UsageError as error:
                assert 0 < len(str(error)) < 2000
        written = list(folder.iterdir())
        assert len(written) <= 1 and all(path.name == flat for path in written)
        assert {path: path.stat().st_mtime_ns for path in outer.rglob("*") if path not in (folder, *written)} == before


def test_an_export_follows_no_link(tmp_path: Path, call: Call) -> None:
    """A link in the place of the file is not followed, with --force neither: it is what is replaced."""
    kept, link, dangling = tmp_path / "kept.txt", tmp_path / "layer.py", tmp_path / "dangling.py"
    kept.write_text("mine")
    link.symlink_to(kept)
    dangling.symlink_to(tmp_path / "nowhere")
    for place in (link, dangling, kept):
        code, _, told = call("export", "dyt", "-o", place)
        assert code == 2 and "exists; use --force to replace it" in told
    assert kept.read_text() == "mine" and link.is_symlink() and not (tmp_path / "nowhere").exists()
    for place in (link, dangling):
        assert call("export", "dyt", "-o", place, "--force")[0] == 0
        assert not place.is_symlink() and "class Layer" in place.read_text()
    assert kept.read_text() == "mine" and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["../Layer", "a/../../b", "/etc/passwd", "Layer; import os", "x\ny", "..", ""])
def test_the_name_of_a_class_is_no_path(name: str, tmp_path: Path, call: Call) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    assert call("export", "dyt", "-o", inside / "layer.py", "--name", name)[0] == 2
    assert list(tmp_path.rglob("*")) == [inside]


# -- the code itself ------------------------------------------------------------------------------------------------


def sources() -> list[Path]:
    return sorted({path.resolve() for room in ROOMS for path in (ROOT / room).rglob("*.py")})


def test_nothing_is_unpickled_and_no_shell_is_asked() -> None:
    """`workers/pickled.py` alone reads pickles, the data sets that are published as such, and runs nothing in them."""
    assert len(sources()) > 80
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
                named = {module.partition(".")[0] for module in modules}
                assert not named & {"marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}, path
                assert "pickle" not in named or path.name == "pickled.py", path
            if isinstance(node, ast.Call):
                check_call(node, path)


EXECUTES = ("forward_edit.py", "plugins.py", "formats.py")
"""What torch.fx writes of a module that this process already runs, files that a user names in a command, and what
`to_torch` writes of a graph, which `check_generated` looks at above."""


def check_call(node: ast.Call, path: Path) -> None:
    function, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
    runs = ("eval", "exec", "compile") if path.name not in EXECUTES else ()
    assert function not in (*runs, "os.system", "os.popen", "__import__"), (path, node.lineno)
    assert keywords.get("shell", "False") == "False", (path, node.lineno)
    if function.endswith("torch.load"):
        assert keywords.get("weights_only") == "True", (path, node.lineno)
    if function in ("np.load", "numpy.load"):
        assert keywords.get("allow_pickle") == "False", (path, node.lineno)
    # Statements are built of columns and bound values; what is text is a constant of ours.
    if function.rpartition(".")[2] in ("exec_driver_sql", "text") and path.parent.name in ("db", "migrations"):
        assert not any(isinstance(part, ast.JoinedStr | ast.BinOp | ast.Name) for part in node.args), (
            path,
            node.lineno,
        )


# -- what listens ---------------------------------------------------------------------------------------------------

LISTENING = """
import ipaddress, json, os, time
from pathlib import Path
import ray
from evonas.workers.ray_cluster import start

def family(pid):
    children = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found

def sockets(pids):
    for pid in pids:
        try:
            names = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        yield from (name[8:-1] for name in names if name.startswith("socket:["))

def address(text):
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return getattr(found, "ipv4_mapped", None) or found

start(None, 1)

@ray.remote
class Worker:
    def ready(self):
        return True

worker = Worker.remote()
ray.get(worker.ready.remote())
time.sleep(1)
ours = set(sockets(family(os.getpid())))
found = []
for table in ("tcp", "tcp6", "udp", "udp6"):
    for line in Path("/proc/net", table).read_text().splitlines()[1:]:
        words = line.split()
        if words[9] in ours and (words[3] == "0A" or table.startswith("udp")):
            host, _, port = words[1].partition(":")
            found.append([str(address(host)), int(port, 16), address(host).is_loopback])
ray.shutdown()
print(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks in /proc for what listens")
def test_a_ray_that_is_started_here_listens_on_loopback_alone() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", LISTENING], capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 5, "Ray's head, its node, its workers and its dashboard all listen somewhere"
    assert [one for one in found if not one[2]] == []
