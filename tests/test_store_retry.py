"""A search waits for a database that is locked, full, read-only or unreachable, and ends like one that did not."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from evonas.db import open_store, sqlite
from evonas.errors import StorageError, StorageUnavailableError
from evonas.evolution.loop import Search
from evonas.records import store_retry as store_retry
from evonas.records.run_info import RunStatus
from evonas.records.store import Store
from evonas.settings.candidate import Candidate
from tests.fakes import FakeExecutor, config, table
from tests.postgres import VARIABLE, started
from tests.test_evolution import searched
from tests.test_evolution_faults import Interrupter

Undo = Callable[[], None]
Obstacle = Callable[[Path], Undo]
"""Stands in the way of the database at a path, until the function that it returns is called."""


def locked(path: Path) -> Undo:
    """A transaction of another connection, which for SQLite is like one of another process."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other.close


def full(path: Path) -> Undo:
    ballast = path.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass
    return ballast.unlink


def read_only(path: Path) -> Undo:
    """A read-only file system, as after an error of the disk."""
    _mount("-o", "remount,ro", str(path.parent))
    return lambda: _mount("-o", "remount,rw", str(path.parent))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; the test is skipped where it cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "evonas-test", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode(errors='replace').strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture(scope="module")
def undisturbed() -> list[tuple[object, ...]]:
    return table(*searched(config(), FakeExecutor(1)))


class Meddler:
    """Creates an obstacle at the n-th evaluation, and removes it after a while, or never."""

    def __init__(self, store: Store, path: Path, obstacle: Obstacle, seconds: float | None) -> None:
        self.store, self.path, self.obstacle, self.seconds, self.countdown = store, path, obstacle, seconds, 9
        self.undo: Undo = lambda: None

    def drawn(self, candidate: Candidate) -> None:
        self.countdown -= 1
        if self.countdown == 0:
            self.store.close()  # it cannot become read-only while a file is open; the next call connects again
            self.undo = self.obstacle(self.path)
            if self.seconds is not None:
                threading.Timer(self.seconds, self.undo).start()

    def evaluated(self, *_: object) -> None: ...

    def referenced(self, *_: object) -> None: ...

    def turned_away(self, *_: object) -> None: ...

    def tick(self, pending: int) -> None: ...


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(store_retry, "RETRY_SECONDS", 0.05)


OBSTACLES = [
    (locked, "is locked by another process"),
    (full, "the disk that holds .* is full|cannot be read or written"),
    (read_only, "is read-only|cannot be opened; check the permissions of the file and its folder, and the disk"),
]


@pytest.mark.parametrize(("obstacle", "said"), OBSTACLES)
def test_the_run_pauses_and_goes_on(
    small_disk: Path,
    undisturbed: list[tuple[object, ...]],
    caplog: pytest.LogCaptureFixture,
    obstacle: Obstacle,
    said: str,
) -> None:
    path = small_disk / "runs.db"
    with open_store(str(path)) as store:
        run = store.create_run(config(), {})
        search = Search(run, store, FakeExecutor(2), [Meddler(store, path, obstacle, 1.0)])
        with caplog.at_level(logging.WARNING, "evonas"):
            assert search.execute() is RunStatus.FINISHED
        assert table(store, run) == undisturbed
    pauses, goes_on = (record.getMessage() for record in caplog.records)
    assert re.match(rf"the run pauses: .*({said})", pauses)
    assert goes_on.startswith("the run continues after a pause of")


@pytest.mark.parametrize(("obstacle", "said"), OBSTACLES)
def test_one_that_waits_in_vain_stops_and_is_resumed(
    small_disk: Path,
    undisturbed: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
    obstacle: Obstacle,
    said: str,
) -> None:
    monkeypatch.setattr(store_retry, "PATIENCE_SECONDS", 0.2)
    path = small_disk / "runs.db"
    with open_store(str(path)) as store:
        run = store.create_run(config(), {})
        meddler = Meddler(store, path, obstacle, None)
        with pytest.raises(StorageUnavailableError, match=said) as caught:
            Search(run, store, FakeExecutor(2), [meddler]).execute()
        assert "\n" not in str(caught.value)
        meddler.undo()
        recorded = table(store, run)
        assert len(recorded) >= 8  # and each evaluation as in the other run
        assert all(one in undisturbed for one in recorded if one[6] is not None)
    with open_store(str(path)) as store:
        assert Search(store.run(1), store, FakeExecutor(2)).execute() is RunStatus.FINISHED
        assert table(store, run) == undisturbed


@pytest.mark.parametrize(("away", "goes_on"), [(0.0, True), (590.0, True), (610.0, False), (1e6, False)])
def test_ten_minutes_are_waited_and_no_longer(
    away: float, goes_on: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a fake clock, and an attempt every two seconds."""
    monkeypatch.undo()  # the short interval
    now, tries = [1000.0], []

    def write() -> None:
        tries.append(now[0])
        if now[0] < 1000.0 + away:
            raise StorageUnavailableError("away")

    monkeypatch.setattr(store_retry, "monotonic", lambda: now[0])
    monkeypatch.setattr(store_retry, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    with (
        caplog.at_level(logging.WARNING, "evonas"),
        nullcontext() if goes_on else pytest.raises(StorageUnavailableError),
    ):
        store_retry.retry_while_unavailable(write)
    waited = away if goes_on else 600.0
    assert waited <= tries[-1] - tries[0] <= waited + 2.0 and len(tries) == 1 + round((tries[-1] - tries[0]) / 2)
    assert len(caplog.records) == (0 if away == 0.0 else 1 + goes_on)  # once, however many attempts there were


def test_ctrl_c_ends_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.db"

    def pressed(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store_retry, "sleep", pressed)
    with open_store(str(path)) as store:
        run = store.create_run(config(), {})
        meddler = Meddler(store, path, locked, None)
        with pytest.raises(StorageError, match="is locked by another process"):  # the end could not be recorded
            Search(run, store, FakeExecutor(2), [meddler]).execute()
        meddler.undo()
        Search(run, store, FakeExecutor(2), [Interrupter("tick", 10**6)]).execute()
        assert store.run(run.id).status is RunStatus.FINISHED


@contextmanager
def _own_server() -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    if os.environ.get(VARIABLE):
        pytest.skip(f"the server that {VARIABLE} names is not ours to stop")
    with started() as server:
        yield server.url, server.stop, server.start


def test_a_server_that_is_restarted(undisturbed: list[tuple[object, ...]], caplog: pytest.LogCaptureFixture) -> None:
    with _own_server() as (url, stop, start), open_store(url) as store:

        def away(path: Path) -> Undo:
            stop()
            return start

        run = store.create_run(config(), {})
        search = Search(run, store, FakeExecutor(2), [Meddler(store, Path(), away, 0.5)])
        with caplog.at_level(logging.WARNING, "evonas"):
            assert search.execute() is RunStatus.FINISHED
        assert table(store, run) == undisturbed
    assert re.match("the run pauses: postgresql://.* does not answer", caplog.records[0].getMessage())


def test_two_runs_side_by_side_in_one_server(postgres: str, undisturbed: list[tuple[object, ...]]) -> None:
    """Two searches write to one database at the same time, each to its own run."""
    tables: dict[int, list[tuple[object, ...]]] = {}

    def one(seed: int) -> None:
        with open_store(postgres) as store:
            run = store.create_run(config(seed=seed), {})
            Search(run, store, FakeExecutor(2, seed)).execute()
            tables[seed] = table(store, run)

    threads = [threading.Thread(target=one, args=(seed,)) for seed in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert tables[3] == undisturbed
    assert tables[4] == table(*searched(config(seed=4), FakeExecutor(1)))
