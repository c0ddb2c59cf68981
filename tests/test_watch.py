"""`evonas watch` shows the run of another process, ends when the run does, and never blocks the writer."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evonas.cli.watch import Snapshot, read_snapshot
from evonas.db.connect import open_store
from evonas.errors import StorageError, UsageError
from evonas.records.run_info import RunStatus
from tests.store_samples import CONFIG, small_database
from tests.test_cli import Call, call  # noqa: F401  a fixture

_WRITER = """
import sys, time
import evonas.db.sqlite
evonas.db.sqlite.BUSY_SECONDS = 0.0  # a lock that anybody else holds is an error at once, and not a wait
from evonas.db.connect import open_store
from evonas.records.run_info import RunStatus
from tests.store_samples import CONFIG, candidate, scored

with open_store(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for index in range(int(sys.argv[2])):
        store.record(1, candidates=[candidate(index)], evaluations=[scored(index, 0.5)], elapsed=float(index))
        time.sleep(0.002)
    store.record(1, status=RunStatus.FINISHED)
"""


def writer(file: Path, records: int) -> subprocess.Popen[str]:
    """A process that records candidates of run 1 as soon as it reads a line."""
    with open_store(str(file)) as store:
        store.create_run(CONFIG, {})
    command = [sys.executable, "-c", _WRITER, str(file), str(records)]
    pipe = subprocess.PIPE
    started = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def test_a_writer_commits_undisturbed_while_it_is_watched(tmp_path: Path) -> None:
    """The command watches in a process of its own, this process reads as often as it can, and both end with the run."""
    file, records = tmp_path / "runs.db", 150
    process = writer(file, records)
    command = [sys.executable, "-m", "evonas", "watch", "1", "--every", "0.1", "--storage", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None and process.stdin is not None
        assert watching.stdout.readline().startswith("0 of 50 judged")
        process.stdin.write("\n")
        process.stdin.flush()
        snapshots: list[Snapshot] = []
        while not snapshots or snapshots[-1].run.status is RunStatus.RUNNING:
            snapshots.append(read_snapshot(str(file), "1"))
        _, errors = process.communicate(timeout=60)
        # Had a reader held a lock, the writer, which does not wait, would have failed.
        assert process.returncode == 0, errors
        out, errors = watching.communicate(timeout=60)
    assert watching.returncode == 0, errors
    assert f"run 1, finished: {records} judged" in out
    counts = [one.summary.evaluations for one in snapshots]
    assert counts == sorted(counts) and counts[-1] == records
    assert len(set(counts)) > 3, "no snapshot was taken while the writer was at work"
    assert all(one.summary.candidates == one.summary.evaluations for one in snapshots), (
        "a snapshot contains half of a record"
    )


def test_interrupting_it_is_no_fault(tmp_path: Path) -> None:
    file = small_database(tmp_path)
    command = [sys.executable, "-m", "evonas", "watch", "--every", "0.1", "--storage", str(file)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, such as these tests may be, leave Ctrl-C aside.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert errors == ""
    with open_store(str(file), read_only=True) as store:
        assert store.run(1).status is RunStatus.RUNNING


def test_a_run_that_is_over_is_shown_at_once(call: Call, tmp_path: Path) -> None:  # noqa: F811
    file = small_database(tmp_path)
    with open_store(str(file)) as store:
        store.record(1, status=RunStatus.INTERRUPTED)
    code, out, _ = call("watch", "--storage", file)
    assert code == 0
    assert "run 1, interrupted: 2 judged" in out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("7",), "no run 7"),
        (("x",), "a run is a number"),
        (("--every", "0"), "every must be between"),
        (("--storage", "elsewhere.db"), "there is no database"),
    ],
)
def test_bad_requests(call: Call, tmp_path: Path, arguments: tuple[str, ...], match: str) -> None:  # noqa: F811
    if "--storage" not in arguments:
        arguments = (*arguments, "--storage", str(small_database(tmp_path)))
    code, _, errors = call("watch", *arguments)
    assert code == 2
    assert match in errors


def test_a_store_for_reading_refuses_to_write(tmp_path: Path) -> None:
    file = small_database(tmp_path)
    with open_store(str(file), read_only=True) as store, pytest.raises(StorageError, match="read-only"):
        store.record(1, status=RunStatus.FINISHED)
    with pytest.raises(UsageError, match="no run"):
        read_snapshot(str(file), "3")
