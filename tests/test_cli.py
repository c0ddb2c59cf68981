"""The command line: results in both formats, and one line for every bad request."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

import evonas
from evonas.cli import app, main
from evonas.records.environment import state_of_code
from evonas.records.run_info import RunStatus
from evonas.settings.presets import PRESETS
from evonas.setup.assemble import configure, open_storage

TINY = evonas.EvaluationProtocol(
    anchors=("resnet-small",), steps=3, early_steps=(), early_floors=(), quality_step=3, quality_floor=0.0
)
"""Everything that passes the signal filter is scored quickly."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "runs.db"
    found = evonas.search(
        budget=12,
        seed_graphs=["evonorm-s0", "x * sigmoid(x)"],
        protocol=TINY,
        storage=path,
        executor="local",
        references=("bn-relu",),
        verify=False,
    )
    assert found.best(1), "the fixture is of no use without a scored candidate"
    found.store.close()
    return path


class Call:
    """Runs the command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["evonas", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, before)
        captured = self.capsys.readouterr()
        assert isinstance(code, int | None)
        return code or 0, captured.out, captured.err

    def json(self, *arguments: object) -> Any:
        code, out, _ = self(*arguments, "-f", "json")
        assert code == 0
        return json.loads(out)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(monkeypatch, capsys)


def test_runs(call: Call, database: Path) -> None:
    (run,) = call.json("runs", "--storage", database)
    assert run["status"] == "finished"
    assert run["candidates"] == 12
    assert "evonorm" in call("runs", "--storage", database)[1]


def test_status_accounts_for_every_candidate(call: Call, database: Path) -> None:
    status = call.json("status", "--storage", database)
    assert sum(status["evaluations"].values()) == 12
    rejected = sum(f["rejected"] for f in status["filters"].values())
    assert rejected == status["evaluations"]["rejected"]
    assert set(status["references"]) == {"bn-relu"}
    assert "structural" in call("status", "--storage", database)[1]


def test_best_is_sorted_and_pareto_lies_within(call: Call, database: Path) -> None:
    best = call.json("best", "--storage", database, "--top", 100, "--all")
    means = [row["mean"] for row in best]
    assert means == sorted(means, reverse=True)
    front = call.json("pareto", "--storage", database)
    # With one anchor the front is the best score, and whatever ties with it.
    assert {row["mean"] for row in front} == {means[0]}
    assert "bn-relu" in call("best", "--storage", database)[1]


def test_best_shows_each_family_first(call: Call, database: Path) -> None:
    best = call.json("best", "--storage", database, "--top", 100)
    families = [row["family"] for row in best]
    first = families[: len(set(families))]
    assert len(set(first)) == len(first)
    whole = call.json("best", "--storage", database, "--top", 100, "--all")
    assert sorted(row["id"] for row in best) == sorted(row["id"] for row in whole) and best[0] == whole[0]
    for command in ("best", "pareto", "show"):
        out = call(command, *(["1/0"] if command == "show" else []), "--storage", database)[1]
        assert "scale-free" in out, "the seed graph is EvoNorm-S0"


def test_show_gives_the_seed_graph_its_name(call: Call, database: Path) -> None:
    shown = call.json("show", "1/0", "--storage", database)
    assert shown["name"] == "evonorm-s0"
    assert shown["origin"] == "seed"
    assert evonas.Graph.from_json(shown["graph"]).key == evonas.zoo["evonorm-s0"].key
    code, out, _ = call("show", "0", "--storage", database)
    assert code == 0
    assert "sigmoid" in out


def test_export_of_a_candidate_and_of_a_published_layer(call: Call, database: Path, tmp_path: Path) -> None:
    for what in ("1/0", "evonorm-s0"):
        target = tmp_path / f"{what.replace('/', '-')}.py"
        assert call("export", what, "-o", target, "--storage", database)[0] == 0
        module = runpy.run_path(str(target))
        x = torch.randn(2, 8, 4, 4)
        torch.testing.assert_close(module["Layer"](8)(x), evonas.NormAct("evonorm-s0", 8)(x))
        code, _, err = call("export", what, "-o", target, "--storage", database)
        assert code == 2
        assert "--force" in err
    text = (tmp_path / "1-0.py").read_text()
    assert "candidate: 1/0, seed, key" in text and "run: 1 of " in text and "validation accuracy on " in text
    assert "found with: evonas" in text and "def forward_on_chip" in text


def test_export_in_other_formats(call: Call, database: Path, tmp_path: Path) -> None:
    key = evonas.zoo["evonorm-s0"].key
    for name, more in (("a.json", ()), ("a.tex", ()), ("a.pt2", ("--channels", 4)), ("b", ("--format", "json"))):
        assert call("export", "1/0", "-o", tmp_path / name, *more, "--storage", database)[0] == 0
    assert all(evonas.Graph.from_json((tmp_path / name).read_text()).key == key for name in ("a.json", "b"))
    assert torch.export.load(tmp_path / "a.pt2").module()(torch.ones(1, 4, 2, 2)).shape == (1, 4, 2, 2)
    assert call("export", "1/0", "-o", tmp_path / "plain.py", "--no-triton", "--storage", database)[0] == 0
    assert "triton" not in (tmp_path / "plain.py").read_text()
    for more, message in (
        (("-o", tmp_path / "c.pt2"), "--channels"),
        (("-o", tmp_path / "c.onnx", "--groups", 2), "--channels"),
        (("-o", tmp_path / "c.py", "--channels", 4), "only for the formats pt2 and onnx"),
        (("-o", tmp_path / "c.py", "--name", "../c"), "class name"),
    ):
        code, _, err = call("export", "1/0", *more, "--storage", database)
        assert (code, message in err) == (2, True), err


def test_zoo_lists_draws_and_writes_a_picture(call: Call, tmp_path: Path) -> None:
    assert {row["name"] for row in call.json("zoo")} == set(evonas.zoo)
    assert "std_whcg" in call("zoo", "evonorm-s0")[1]
    assert call("zoo", "-o", tmp_path / "zoo.svg")[0] == 0
    assert (tmp_path / "zoo.svg").read_text().lstrip().startswith("<?xml")


def test_baseline_reports_each_layer_and_seed(call: Call) -> None:
    common = ("--anchor", "resnet-small", "--steps", 3, "--seeds", 2, "--executor", "local")
    rows = call.json("baseline", "--layer", "bn-relu", "--layer", "x * sigmoid(x)", *common)
    assert [row["layer"] for row in rows] == ["bn-relu", "x * sigmoid(x)"]
    assert all(len(row["scores"]["resnet-small"]) == 2 for row in rows)


def test_search_and_resume_print_json_alone_on_stdout(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    common = ("--storage", path, "--executor", "local", "--no-verify")
    seed = ("--seed-graph", "evonorm-s0")  # it is scored, and a run that scores nothing exits with 1
    done = call.json("search", "--budget", 3, "--steps", 2, "--anchor", "resnet-small", *seed, *common)
    assert done["status"] == "finished"
    assert done["candidates"] == 3
    assert call.json("resume", *common)["candidates"] == 3


@pytest.mark.parametrize("space", ["evonorm", "evonorm-s"])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_settings_of_a_preset_are_a_preset_of_the_same_run(
    preset: str, space: str, call: Call, tmp_path: Path
) -> None:
    """Also in a space that cannot hold all of its published layers, which in a file of one's own are an error."""
    own = tmp_path / "own.toml"
    own.write_text(call("config", "--preset", preset, "--space", space)[1])
    assert configure(preset=str(own), look_up=False) == configure(space, preset=preset, look_up=False)
    assert call("config", "--preset", own) == (0, own.read_text(), "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "--space", "nowhere"], "unknown search space 'nowhere'; known: evonorm, evonorm-s"),
        (["search", "--budget", "0"], "budget must be at least 1"),
        (["search", "--data", "imagenet"], "imagenet"),
        (["search", "--data-dir", "/nowhere"], "/nowhere"),
        (["search", "--anchor", "vgg"], "unknown anchor 'vgg'"),
        (["search", "--strategy", "guess"], "unknown strategy 'guess'"),
        (["search", "--executor", "cloud"], "unknown executor 'cloud'"),
        (["search", "--set", "fresh=2"], "fresh must be between 0 and 1"),
        (["config", "--set", "fresh=2"], "fresh must be between 0 and 1"),
        (["config", "--preset", "paper", "--set", "protocol.lr=-1"], "lr must be positive"),
        (["config", "--set", "seed_graphs=['softmax(x)']"], "'softmax(x)' is neither a published layer"),
        (["search", "--seed", "-1"], "seed must be at least 0"),
        (["search", "--steps", "0"], "steps must be at least 1"),
        (["search", "--workers", "0"], "workers must be at least 1"),
        (["search", "--gpus-per-worker", "1.5"], "gpus_per_worker must be an integer or a fraction"),
        (["baseline", "--gpus-per-worker", "1.5"], "gpus_per_worker must be an integer or a fraction"),
        (["rerank", "--cpus-per-worker", "0"], "cpus_per_worker must be at least 1"),
        (["resume", "--recycle-after", "0"], "recycle_after must be at least 1"),
        (["search", "--data", "cifar10"], "say where they are with --data-dir"),
        (["search", "--data", "npz", "--data-dir", "."], "contains no .npz file"),
        (["search", "--core-minutes", "-1"], "core_minutes must be positive"),
        (["search", "--set", "deadline=nan"], "deadline must be positive"),
        (["search", "--seed", str(10**30)], "seed must be below"),
        (["search", "--storage", "~nobody-here/runs.db"], "~nobody-here"),
        (["baseline", "--first-seed", "-5", "--layer", "dyt"], "seed must be at least 0"),
        (["zoo", "-o", "x" * 300 + ".svg"], "cannot be written"),
        (["search", "--set", "protocol.backend=triton"], "backend triton computes on device cuda, not cpu"),
        (["search", "--seed-graph", "softmax(x)"], "unknown name 'softmax'"),
        (["search", "--seed-graph", "v0 + v1"], "ignores its input"),
        (["search", "--seed-graph", "-(-(x + x) * x) / (x * tanh(x) + exp(x) * log(x) + sqrt(x) * x)"], "nodes"),
        (["search", "--space", "evonorm-s", "--seed-graph", "bn-relu"], "mean_bwh, which is not in 'evonorm-s'"),
        (["search", "--storage", "/nowhere/runs.db"], "/nowhere"),
        (["search", "--storage", "mysql://host/db"], "mysql"),
        (["search", "--ray-address", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["search", "--ray-address", "ray://127.0.0.1:10001"], "for Ray Client, under which a search would end"),
        (["search", "--ray-address", "http://127.0.0.1:8265"], "a Ray address is HOST:PORT or 'auto', not"),
        (["resume", "--storage", "absent.db"], "absent.db"),
        (["best", "--storage", "absent.db"], "absent.db"),
        (["zoo", "resnet"], "unknown layer 'resnet'"),
        (["baseline", "--layer", "x +"], "x +"),
        (["baseline", "--seeds", "0"], "seeds must be at least 1"),
        (["export", "evonorm-s0", "-o", "layer.py", "--name", "not a name"], "not a name"),
        (["export", "evonorm-s0", "-o", "/nowhere/layer.py"], "/nowhere"),
    ],
)
def test_a_bad_request_is_one_line(
    call: Call, arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert code == 2, (out, err)
    assert says in err
    assert err.startswith("evonas: ")
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err + out
    if "--ray-address" not in arguments:  # which is only used once the database is open
        assert list(tmp_path.iterdir()) == [], "a refused request leaves nothing behind"


@pytest.mark.parametrize("text", ["7", "xx", "1/99", "2/0", "1/-1", "9" * 400, "1/0/0", ""])
def test_a_candidate_that_is_not_there(call: Call, database: Path, text: str) -> None:
    if text == "7":
        text = "700"
    code, _, err = call("show", "--storage", database, "--", text)
    assert code == 2
    assert len(err.strip().splitlines()) == 1


def test_a_file_that_is_not_a_database(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(b"not a database" * 100)
    for command in (["search", "--budget", "1"], ["best"], ["resume"]):
        code, _, err = call(*command, "--storage", path)
        assert code == 2
        assert str(path) in err.replace("\n", "")


def test_a_pipe_is_not_a_database(call: Call, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code, _, err = call("best", "--storage", tmp_path / "pipe")
    assert code == 2
    assert "is not a file" in err


def test_json_names_the_space_of_the_run(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    options: dict[str, Any] = {"protocol": TINY, "executor": "local", "references": (), "verify": False}
    evonas.search("evonorm-s", budget=1, seed_graphs=["evonorm-s0"], storage=path, **options).store.close()
    (row,) = call.json("best", "--storage", path)
    assert row["graph"]["space"] == "evonorm-s"
    assert call.json("show", "0", "--storage", path)["graph"]["space"] == "evonorm-s"


def test_a_run_that_cannot_be_read_leaves_the_others_visible(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    options: dict[str, Any] = {"protocol": TINY, "executor": "local", "references": (), "budget": 1, "verify": False}
    for _ in range(2):
        evonas.search(seed_graphs=["evonorm-s0"], storage=path, **options).store.close()
    with sqlite3.connect(path) as connection:
        connection.execute('update runs set config = \'{"from": "another version"}\' where id = 1')
    assert [run["run"] for run in call.json("runs", "--storage", path)] == [2]
    assert len(call.json("best", "--storage", path)) == 1
    assert call("best", "1", "--storage", path)[0] == 2


def test_a_terminal_without_unicode_gets_its_answer(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "evonas", "zoo", "evonorm-b0"]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert "evonorm-b0" in shown.stdout and "?" in shown.stdout


def test_show_and_export_take_what_transfer_takes(call: Call, database: Path, tmp_path: Path) -> None:
    """An id, the best of a run, a published name, and an expression, which may have a slash."""
    best = call.json("best", "--storage", database)[0]
    for text in ("best", "1/best", "last/best", best["id"], best["id"].split("/")[1]):
        assert call.json("show", text, "--storage", database)["id"] == best["id"]
    for text in ("x / std_bwh(x)", "evonorm-s0"):
        told = call.json("show", text, "--storage", "absent.db")
        assert (
            told["expression"] == evonas.Graph.parse(text).canonical.written() if "/" in text else told["name"] == text
        )
        assert "sweep 1" in call("show", text, "--plan", "--storage", "absent.db")[1]
        path = tmp_path / f"{len(text)}.json"
        assert call("export", text, "-o", path, "--storage", "absent.db")[0] == 0
        assert evonas.Graph.from_json(path.read_text()).key == told["key"]
    assert call("export", "best", "-o", tmp_path / "best.py", "--storage", database)[::2] == (0, "")


def test_exporting_a_rejected_candidate_says_so(call: Call, database: Path, tmp_path: Path) -> None:
    with open_storage(database) as store:
        rejected = next(e.index for e in store.evaluations(1) if e.status.value == "rejected")
    code, out, err = call("export", f"1/{rejected}", "-o", tmp_path / "l.py", "--storage", database)
    assert code == 0 and "wrote" in out
    assert err.startswith(f"note: candidate 1/{rejected} is rejected (")


def test_trainings_are_counted_where_there_is_no_terminal(call: Call, database: Path) -> None:
    options = ["--layer", "dyt", "--seeds", "1", "--steps", "2", "--anchor", "resnet-small", "--executor", "local"]
    code, _, err = call("baseline", *options, "--storage", database)
    assert code == 0 and "training: 0 of 1 trainings done" in err and "training: 1 of 1 trainings done" in err


def test_a_run_whose_process_is_gone_is_not_running(call: Call, database: Path, tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    with sqlite3.connect(database) as source, sqlite3.connect(path) as copy:
        source.backup(copy)
        copy.execute("update runs set status = 'running'")
    assert call.json("status", "--storage", path)["killed"]
    assert "killed" in call("runs", "--storage", path)[1]
    assert "evonas resume 1" in call("status", "--storage", path)[1]
    assert not call.json("status", "--storage", database)["killed"]


def test_a_folder_may_have_any_name(call: Call, tmp_path: Path) -> None:
    """Also one that is not UTF-8, as an old disk may have them."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    with open_storage(folder / "runs.db") as store:
        assert list(store.run_ids()) == []
    assert call("runs", "--storage", folder / "runs.db")[0] == 0
    assert (folder / "runs.db").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_device_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "evonas", "zoo"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "evonas: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("request_to_stop", "executor"), [(signal.SIGINT, "local"), (signal.SIGHUP, "local"), (signal.SIGTERM, "ray")]
)
def test_a_request_to_stop_ends_a_run_cleanly_and_resume_finishes_it(
    tmp_path: Path, call: Call, request_to_stop: signal.Signals, executor: str
) -> None:
    path = tmp_path / "runs.db"
    options = ["--budget", "60", "--steps", "2", "--anchor", "resnet-small", "--executor", executor, "--data", "digits"]
    options += ["--set", "seed_graphs=[]", "--set", "rungs=[]", "--set", "protocol.floors=absolute"]
    options += [f"--set=protocol.{setting}" for setting in ("quality_floor=0.0", "early_steps=[]", "early_floors=[]")]
    command = [sys.executable, "-m", "evonas", "search", *options, "--storage", str(path)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell makes background jobs ignore Ctrl-C, and nohup a terminal that closes; their children inherit that.
        preexec_fn=lambda: [
            signal.signal(one, handler)
            for one, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL))
        ],
    )
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and _recorded(path) < 3:
        time.sleep(0.05)
    process.send_signal(request_to_stop)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "resume" in out
    with open_storage(path) as store:
        assert store.run(1).status is RunStatus.INTERRUPTED
        before = [c.key for c in store.candidates(1)]
    assert 3 <= len(before) < 60
    assert call.json("resume", "--storage", path, "--executor", "local", "--no-verify")["candidates"] == 60
    with open_storage(path) as store:
        assert [c.key for c in store.candidates(1)][: len(before)] == before


def _recorded(path: Path) -> int:
    """Evaluations in the database so far."""
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return int(connection.execute("select count(*) from evaluations").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # not created yet


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_help_of_a_command_ends_with_an_example_that_it_can_read(name: str) -> None:
    command = commands()[name]
    assert command.epilog is not None and command.epilog.startswith("Example: evonas ")
    words = shlex.split(command.epilog.removeprefix("Example: evonas "))
    assert words[0] == name
    context = command.make_context(name, words[1:])  # raises for an unknown option or a missing argument
    assert context.params
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output.split()
    assert " ".join(shown).endswith(" ".join(command.epilog.split()))


def test_the_version_is_that_of_the_package_and_names_the_code() -> None:
    shown = CliRunner().invoke(app, ["--version"]).output
    assert shown == f"evonas {evonas.__version__} ({state_of_code()})\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands(shell: str) -> None:
    asked = {"_EVONAS_COMPLETE": f"complete_{shell}", "COMP_WORDS": "evonas re", "COMP_CWORD": "1"}
    asked |= {"_TYPER_COMPLETE_ARGS": "evonas re", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = "import sys; sys.argv[0] = 'evonas'; from evonas.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | asked
    )
    completed = set(re.findall(r"\w+", done.stdout))
    assert {"rerank", "report", "resume"} <= completed and not {"search", "zoo"} & completed
