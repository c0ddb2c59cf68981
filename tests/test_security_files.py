"""Databases and exported files: nothing in them is run, and none is written but where it should be."""

from __future__ import annotations

import ast
import json
import os
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.db import open_store
from evonas.errors import EvonasError, UsageError
from evonas.kernels.export.layer_file import export_layer
from evonas.language.zoo import zoo
from tests.outside import LETTERS, RUNS, emptied, hostile, nothing_happens
from tests.store_samples import CONFIG, query, small_database
from tests.test_cli import Call


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(monkeypatch, capsys)


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
