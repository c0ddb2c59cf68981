"""A run that continues with another version, machine or state of the code warns about it, and continues."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import evonas
from evonas.db import open_store
from evonas.records import environment as environment_file
from evonas.records.environment import DECISIVE, changes, environment, state_of_code
from evonas.records.run_info import RunStatus
from evonas.setup.assemble import configure
from tests.test_cli import TINY

TOLD = "continues in another environment than it began in, and may find other candidates"


def recorded(path: Path, **otherwise: str) -> None:
    """A run of one candidate that has not begun, created by another installation."""
    config = configure(seed_graphs=["evonorm-s0"], protocol=TINY, settings={"budget": 1, "finalists": 0})
    with open_store(str(path)) as store:
        store.create_run(config, {**environment(), **otherwise})


@pytest.mark.parametrize(
    "otherwise", [{"evonas": "0.0.1"}, {"torch": "1.13.0", "processor": "Z80"}, {"code": "commit 0123456789ab"}]
)
def test_a_resume_under_another_version_warns_and_goes_on(
    otherwise: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorded(tmp_path / "runs.db", **otherwise)
    with caplog.at_level(logging.WARNING, "evonas"):
        found = evonas.resume(storage=tmp_path / "runs.db", executor="local", references=())
    (said,) = [r.getMessage() for r in caplog.records if r.name == "evonas"]
    now = environment()
    assert said.startswith(f"run 1 {TOLD}: ")
    assert [*said.partition(": ")[2].split("; ")] == [
        f"{name} was {otherwise[name]} and is now {now[name]}" for name in DECISIVE if name in otherwise
    ]
    assert found.run.status is RunStatus.FINISHED and found.summary.evaluations == 1
    assert found.run.environment["evonas"] == otherwise.get("evonas", now["evonas"])  # as it began
    found.store.close()


def test_the_command_warns_on_stderr_and_ends_well(tmp_path: Path) -> None:
    recorded(tmp_path / "runs.db", evonas="0.0.1")
    command = [sys.executable, "-m", "evonas", "resume", "--executor", "local", "-f", "json"]
    command += ["--storage", str(tmp_path / "runs.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert f"run 1 {TOLD}: evonas was 0.0.1 and is now {environment()['evonas']}" in done.stderr
    assert TOLD not in done.stdout


def test_what_does_not_decide_scores_is_no_reason_to_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorded(tmp_path / "runs.db", host="elsewhere", memory="1.0 GiB", ray="1.0", python="3.99")
    with caplog.at_level(logging.WARNING, "evonas"):
        evonas.resume(storage=tmp_path / "runs.db", executor="local", references=()).store.close()
    assert not [r for r in caplog.records if r.name == "evonas"]


def test_what_is_gone_is_told_and_what_was_not_recorded_is_not() -> None:
    assert changes({"numpy": "2.0"}, {}) == ["numpy was 2.0 and is now not installed"]
    assert changes({}, environment()) == [] == changes(environment(), environment())


@pytest.mark.parametrize(
    ("decides", "names"),
    [
        (True, ("evonas", "code", "torch", "numpy", "pillow", "pymoo", "scikit-learn")),
        (True, ("compiler", "processor", "gpus")),
        (False, ("triton", "ray", "sqlalchemy", "python", "system", "host", "cores", "memory")),
    ],
)
def test_each_of_what_is_recorded_decides_scores_or_does_not(decides: bool, names: tuple[str, ...]) -> None:
    for name in names:
        assert changes({name: "before"}, {name: "now"}) == [f"{name} was before and is now now"] * decides


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_state_of_a_checkout_is_its_commit_and_what_was_changed_in_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    files = [
        tmp_path / f"{room}/room/file.py" for room in ("evonas", "db", "kernels", "search_spaces", "workers", "notes")
    ]
    for file in (*files, tmp_path / "pyproject.toml"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("as it was\n")
    monkeypatch.setattr(environment_file, "__file__", str(files[0]))
    assert state_of_code() == f"package {evonas.__version__}"  # no checkout
    git("init", "-q")
    assert state_of_code() == "a checkout, of which git tells nothing"  # no commit yet
    git("add", ".")
    git("commit", "-q", "-m", "first")
    states = {found := state_of_code()}
    assert found == f"commit {git('rev-parse', '--short=12', 'HEAD')}"
    for file in files[:-1]:
        file.write_text("otherwise\n")
        states.add(state_of_code())
    assert len(states) == len(files) and all(state.startswith(f"{found}, changed (") for state in states - {found})
    files[-1].write_text("otherwise\n")  # no code
    git("add", ".")  # staged changes count as well
    assert state_of_code() in states - {found}
    git("commit", "-q", "-m", "second")
    assert state_of_code() not in states
