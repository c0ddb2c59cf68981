"""Coordinators: which ones count as gone, and the heartbeat of one that is working."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evonas.errors import StorageError, StorageUnavailableError, UsageError
from evonas.records import coordinator as coordinators
from evonas.records import coordinator_claim
from evonas.records.coordinator import LOST_SECONDS, Coordinator, held_by_another
from evonas.records.coordinator_claim import check_free, claimed
from evonas.records.memory_store import MemoryStore
from tests.store_samples import CONFIG

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
PATIENCE = 20.0
"""Seconds in which a busy machine gets a thread its turn."""


@pytest.fixture
def asleep() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


def coordinator_of(pid: int) -> Coordinator:
    return replace(Coordinator.here(), token="theirs", pid=pid, started=coordinators._started(pid))


@needs_proc
def test_a_process_started_when_the_machine_says(tmp_path: Path) -> None:
    """In ticks since the machine started, whatever the name of the program."""
    ticks = os.sysconf("SC_CLK_TCK")
    program = tmp_path / "a) S 1 (b"
    shutil.copy("/bin/sleep", program)

    def uptime() -> float:
        return float(Path("/proc/uptime").read_text().split()[0])

    before = uptime()
    with subprocess.Popen([program, "60"]) as child:
        after = uptime()
        started = int(coordinators._started(child.pid)) / ticks
        child.kill()
    # Both are rounded down, to a hundredth of a second and to a tick.
    assert before - 1 / ticks - 0.01 <= started <= after + 1 / ticks
    assert coordinators._started(child.pid) == ""
    assert Coordinator.here().started == coordinators._started(os.getpid()) != str(int(started * ticks))


@needs_proc
def test_one_that_lives_is_there_however_long_it_was_silent(asleep: subprocess.Popen[bytes]) -> None:
    assert not Coordinator.here().gone(1e9)
    other = coordinator_of(asleep.pid)
    assert not other.gone(1e9)
    asleep.send_signal(signal.SIGSTOP)
    assert not other.gone(1e9)
    # Another process with the same id has another start.
    assert replace(other, started=str(int(other.started) + 1)).gone(0.0)


@needs_proc
def test_one_that_was_killed_is_gone_though_its_parent_has_not_looked(asleep: subprocess.Popen[bytes]) -> None:
    other = coordinator_of(asleep.pid)
    asleep.kill()
    end = time.monotonic() + PATIENCE
    while not other.gone(0.0) and time.monotonic() < end:
        time.sleep(0.01)
    assert other.gone(0.0) and asleep.returncode is None
    asleep.wait()
    assert other.gone(0.0)


def test_one_of_another_user_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        assert number == 0
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not Coordinator.here().gone(1e9)


def test_one_whose_start_cannot_be_read_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems without /proc."""
    other = replace(Coordinator.here(), started="12345")
    monkeypatch.setattr(coordinators, "_started", lambda pid: "")
    assert not other.gone(1e9)


@needs_proc
def test_containers_of_one_machine_are_places_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each counts its processes from 1, as does a machine after a restart."""
    mine = Coordinator.here()
    assert mine.place == Coordinator.here().place
    monkeypatch.setattr(Path, "readlink", lambda path: Path("pid:[4026539999]"))
    elsewhere = Coordinator.here()
    monkeypatch.undo()
    monkeypatch.setattr(Path, "read_text", lambda path: "another-boot")
    assert len({mine.place, elsewhere.place, coordinators._place()}) == 3


@pytest.mark.parametrize("missing", [0.1, 30.0, LOST_SECONDS])
def test_of_one_elsewhere_only_its_silence_is_known(missing: float) -> None:
    """Its process id may be that of a process here, or of none."""
    for pid in (os.getpid(), 2**22 + 1):
        other = replace(Coordinator.here(), place="another machine", pid=pid)
        assert not other.gone(LOST_SECONDS - missing) and other.gone(LOST_SECONDS)
    told = str(held_by_another(7, other, LOST_SECONDS - missing))
    assert f"the run is free in {max(1.0, missing):.0f} s" in told and "run 7 has a coordinator" in told
    assert "let it finish, or stop it first" in str(held_by_another(7, Coordinator.here(), 1.0))


class Heard(MemoryStore):
    """Counts renewals, and is unavailable at the second."""

    def __init__(self) -> None:
        super().__init__()
        self.renewals: list[Coordinator] = []
        self.often = threading.Event()

    def renew(self, run_id: int, coordinator: Coordinator) -> None:
        self.renewals.append(coordinator)
        if len(self.renewals) == 2:
            raise StorageUnavailableError("away")
        if len(self.renewals) >= 4:
            self.often.set()
        super().renew(run_id, coordinator)


def test_a_heart_beats_for_as_long_as_the_work_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_claim, "BEAT_SECONDS", 0.01)
    store = Heard()
    run = store.create_run(CONFIG, {}).id
    with claimed(store, run):
        mine = store.coordinator(run)
        assert mine is not None and mine.pid == os.getpid()
        assert store.often.wait(PATIENCE)  # and continues after the store was unavailable
        with pytest.raises(UsageError, match="has a coordinator"):
            check_free(store, run)
        assert store.coordinator(run) == mine
    assert set(store.renewals) == {mine}
    assert store.coordinator(run) is None
    beats = len(store.renewals)
    time.sleep(0.1)
    assert len(store.renewals) == beats


def test_the_first_beat_comes_after_a_while_and_the_end_does_not_wait_for_one() -> None:
    store = Heard()
    run, since = store.create_run(CONFIG, {}).id, time.monotonic()
    with pytest.raises(ZeroDivisionError), claimed(store, run):
        raise ZeroDivisionError
    assert time.monotonic() - since < coordinator_claim.BEAT_SECONDS / 2
    assert store.renewals == [] and store.coordinator(run) is None


def test_a_store_that_is_away_at_the_end_does_not_hide_what_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Heard()
    run = store.create_run(CONFIG, {}).id

    def away(run_id: int, coordinator: Coordinator) -> None:
        raise StorageError("away")

    monkeypatch.setattr(store, "release", away)
    with pytest.raises(ZeroDivisionError), claimed(store, run):
        raise ZeroDivisionError


def test_looking_whether_a_run_is_free_leaves_it_free() -> None:
    store = MemoryStore()
    run = store.create_run(CONFIG, {}).id
    check_free(store, run)
    assert store.coordinator(run) is None
