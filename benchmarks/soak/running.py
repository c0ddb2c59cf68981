"""The search of a soak test: starting it, injecting faults, monitoring, resuming it, and ending it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.soak.faults import Target, choose
from benchmarks.soak.processes import Process, alive, family

DISK_MIB = 64
SAMPLE_SECONDS = 10.0
BUDGET = 1_000_000  # more candidates than any soak test draws, so that time ends it
DEADLINE = 240.0
ATTEMPTS = 8
"""Enough attempts that no candidate is given up because of injected faults."""
RUN = 1


class Soak:
    """A soak test, in a folder that holds its database, samples and log.

    Args:
        folder: the folder for all files.
        minutes: how long faults are injected.
        every: seconds between faults.
        workers: number of workers of the search.
        seed: seed of the faults and of the search.
    """

    def __init__(self, folder: Path, minutes: float, every: float, workers: int, seed: int) -> None:
        self.folder, self.seconds, self.every, self.workers, self.seed = folder, 60 * minutes, every, workers, seed
        self.database = folder / "disk" / "soak.db"
        self._rng = random.Random(seed)
        self._coordinator: subprocess.Popen[bytes] | None = None
        self._known: dict[int, Process] = {}  # descendants of coordinators, by process id
        self._begun = False  # whether the run is in the database
        self._start = time.monotonic()
        self._over = threading.Event()

    def run(self) -> None:
        """Run the test to its end, after which every candidate in the database has an evaluation."""
        (self.folder / "disk").mkdir(parents=True, exist_ok=True)
        with _small_disk(self.folder / "disk") as small_disk:
            self._note(
                "soak", f"{self.seconds / 60:g} minutes, a fault every {self.every:g} s; disk of our own: {small_disk}"
            )
            watching = threading.Thread(target=self._watch, daemon=True)
            watching.start()
            self._disturb(small_disk)
            self._over.set()
            watching.join()
            self._end_coordinator()
            self._note("soak", f"the faults are over; {self._drain()} unfinished candidates were evaluated")
            self._note("soak", f"left behind by coordinators: {self._bury() or 'nothing'}")
            with (
                closing(sqlite3.connect(self.database)) as found,
                closing(sqlite3.connect(self.folder / "soak.db")) as kept,
            ):
                found.backup(kept)

    def _disturb(self, small_disk: bool) -> None:
        self._start_coordinator()
        following = time.monotonic() + self.every
        while time.monotonic() - self._start < self.seconds:
            time.sleep(0.5)
            coordinator = self._coordinator
            assert coordinator is not None
            if coordinator.poll() is not None:
                self._note("ended", f"coordinator {coordinator.pid} with code {coordinator.returncode}")
                self._start_coordinator()
            elif time.monotonic() >= following and self._at_work():
                fault = choose(self._rng)
                description = fault(Target(coordinator.pid, self.database, RUN, small_disk, self._rng))
                if description is not None:  # otherwise another fault is tried at once
                    self._note(fault.__name__, description)
                    # Some faults take a while, and the search needs time to recover before the next one.
                    following = max(following + self.every, time.monotonic() + self.every / 2)

    def _at_work(self) -> bool:
        """Whether there are workers; faults during the start of a search are less interesting."""
        assert self._coordinator is not None
        return any(process.role == "worker" for process in family(self._coordinator.pid))

    def _start_coordinator(self) -> None:
        self._begun = self._begun or self._recorded() is not None
        command = [sys.executable, "-m", "evonas", "resume" if self._begun else "search"]
        if not self._begun:
            command += ["--budget", str(BUDGET), "--seed", str(self.seed)]
            command += ["--set", f"deadline={DEADLINE}", "--set", f"max_attempts={ATTEMPTS}"]
        # What is checked afterwards is the search.
        command += ["--storage", str(self.database), "--workers", str(self.workers), "--no-verify"]
        with (self.folder / "coordinator.log").open("ab") as log:
            self._coordinator = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._note("started", f"coordinator {self._coordinator.pid}: evonas {command[3]}")

    def _end_coordinator(self) -> None:
        coordinator = self._coordinator
        assert coordinator is not None
        coordinator.terminate()  # like a job manager, and equal to Ctrl-C; a background process ignores SIGINT itself
        try:
            coordinator.wait(180)
        except subprocess.TimeoutExpired:
            self._note("soak", "the coordinator did not end within 180 s of SIGTERM, and was killed")
            coordinator.kill()
            coordinator.wait()
        self._note("ended", f"coordinator {coordinator.pid} with code {coordinator.returncode}")

    def _drain(self) -> int:
        """Evaluate the unfinished candidates in this process, and return their number."""
        from evonas.db import open_store
        from evonas.evolution.loop import Search
        from evonas.records.coordinator_claim import claimed
        from evonas.setup.make_executor import make_executor

        with open_store(str(self.database)) as store:
            run, summary = store.run(RUN), store.summary(RUN)
            if summary.candidates == summary.evaluations:
                return 0
            within = replace(run, config=replace(run.config, budget=summary.candidates))
            with claimed(store, RUN), make_executor("local", run.config.protocol) as executor:
                Search(within, store, executor).execute()
            return summary.candidates - summary.evaluations

    def _bury(self) -> list[str]:
        """Kill processes that have outlived their coordinator, and list them."""
        time.sleep(10.0)
        left = [process for pid, process in self._known.items() if alive(pid)]
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return [f"{process.pid} {process.command}" for process in left]

    def _watch(self) -> None:
        with (self.folder / "samples.jsonl").open("a") as file:
            while not self._over.wait(SAMPLE_SECONDS):
                coordinator = self._coordinator
                if coordinator is None:
                    continue
                found = family(coordinator.pid)
                self._known.update({process.pid: process for process in found if process.pid != coordinator.pid})
                memory = [(process.role, process.pid, process.resident) for process in found]
                sample = {"at": self._elapsed(), "memory": memory, "recorded": self._recorded()}
                file.write(json.dumps(sample) + "\n")
                file.flush()

    def _recorded(self) -> tuple[int, int, int] | None:
        """Return the numbers of candidates, evaluations and attempts so far; None if there is no run yet."""
        asked = "SELECT (SELECT count(*) FROM candidates), count(*), coalesce(sum(attempts), 0) FROM evaluations"
        try:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=1.0)) as connection:
                if not connection.execute("SELECT count(*) FROM runs").fetchone()[0]:
                    return None
                found: tuple[int, int, int] = connection.execute(asked).fetchone()
                return found
        except sqlite3.Error:
            return None

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._start, 1)

    def _note(self, kind: str, text: str) -> None:
        event: dict[str, Any] = {"at": self._elapsed(), "kind": kind, "told": text}
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps(event) + "\n")
        print(f"{self._elapsed():8.1f} s  {kind:22s} {text}", flush=True)


@contextmanager
def _small_disk(place: Path) -> Iterator[bool]:
    """Mount a file system of a few MiB at `place`, which may be filled; yields whether that was possible."""
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "evonas-soak", str(place)]
    mounted = mount is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)
