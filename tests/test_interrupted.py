"""Ctrl-C at any moment: the run is recorded as interrupted, and nothing stays locked."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from sqlalchemy import Connection

from evonas.db import open_store, sqlite
from evonas.db.interrupts import deferred_interrupts
from evonas.evolution.loop import Search
from evonas.records.run_info import RunStatus
from tests.fakes import FakeExecutor, config
from tests.store_samples import CONFIG, candidate


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Make Ctrl-C raise, as in a terminal, whatever shell the tests were started from."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        interrupt()
        interrupt()
        reached.append("the end")
    assert reached == ["the end"]
    with pytest.raises(KeyboardInterrupt):  # and is as it was after that
        interrupt()


def test_what_the_block_raises_is_told_too() -> None:
    with pytest.raises(KeyboardInterrupt) as raised, deferred_interrupts():
        interrupt()
        raise ValueError("of the block")
    assert isinstance(raised.value.__context__, ValueError)
    with pytest.raises(ValueError, match="alone"), deferred_interrupts():
        raise ValueError("alone")


def test_signals_that_nobody_handles_and_other_threads_are_left_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with deferred_interrupts():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        found = []

        def elsewhere() -> None:
            with deferred_interrupts():  # setting a handler there would raise
                found.append(signal.getsignal(signal.SIGINT))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert found == [signal.default_int_handler]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_transaction_that_is_interrupted_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, armed = sqlite._begin, False

    def interrupted(connection: Connection) -> None:
        nonlocal armed
        begin(connection)
        if armed:
            armed = False
            interrupt()

    monkeypatch.setattr(sqlite, "_begin", interrupted)
    with open_store(str(tmp_path / "runs.db")) as store:
        store.create_run(CONFIG, {})
        armed = True
        with pytest.raises(KeyboardInterrupt):
            store.record(1, candidates=[candidate(0)])
        assert [one.index for one in store.candidates(1)] == [0]
        store.record(1, candidates=[candidate(1)])


@pytest.mark.slow
def test_a_search_that_is_interrupted_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.5)
    drawn = random.Random(0)

    def forward(number: int, frame: FrameType | None) -> None:
        interrupt()

    before = signal.signal(signal.SIGALRM, forward)
    try:
        for number in range(200):  # without care one in thirty finds the database locked
            with open_store(str(tmp_path / f"{number}.db")) as store:
                run = store.create_run(config(budget=400), {})
                search = Search(run, store, FakeExecutor())
                signal.setitimer(signal.ITIMER_REAL, drawn.uniform(0.01, 0.4))
                status = search.execute()
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert store.run(run.id).status is status
                assert status in (RunStatus.INTERRUPTED, RunStatus.FINISHED)
    finally:
        signal.signal(signal.SIGALRM, before)
