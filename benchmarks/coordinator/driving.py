"""A whole search without training: the coordinator's cost per candidate, from the first thousand to the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic, process_time
from typing import Any

from benchmarks.coordinator.stand_ins import InstantExecutor, PassingFilters
from evonas.db import open_store
from evonas.evolution.loop import Search
from evonas.judging.floors import TurnedAway
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.settings.candidate import Candidate, Evaluation
from evonas.settings.run_config import RunConfig
from evonas.setup.assemble import configure

WORKERS = 256
LOOKAHEAD = 4 * WORKERS
PART = 1000
"""Number of consecutive candidates whose costs are added up."""


def config_of(budget: int, **settings: Any) -> RunConfig:
    """Return the default preset, with more candidates in flight."""
    # Stand-ins train no published layers, from which floors could follow.
    protocol = {"floors": "absolute"}
    return configure("evonorm", protocol=protocol, settings={"budget": budget, "lookahead": LOOKAHEAD, **settings})


def yardstick() -> float:
    """Return the CPU seconds of a fixed task in Python, which other load on the machine slows down equally."""
    start = process_time()
    table: dict[str, int] = {}
    for number in range(20_000):
        table[f"{number % 997}"] = number
    return process_time() - start


@dataclass
class Meter:
    """An observer that measures the CPU time of every `PART` candidates, by activity.

    Attributes:
        parts: for each part, the CPU seconds in total (`cpu`), for recording (`recording`) and for drawing
            (`drawing`), the wall-clock seconds (`wall`), the seconds of the yardstick at that time (`yardstick`), and
            the resident memory in MiB at its end (`resident`).
    """

    parts: list[dict[str, float]] = field(default_factory=list)
    _judged: int = 0
    _spent: dict[str, float] = field(default_factory=lambda: {"recording": 0.0, "drawing": 0.0})
    _since: tuple[float, float] = (0.0, 0.0)

    def begin(self, search: Search) -> None:
        """Start to measure the calls of the search's store and proposer."""
        search.store.record = self._timed("recording", search.store.record)  # type: ignore[method-assign]
        search.proposer.draw = self._timed("drawing", search.proposer.draw)  # type: ignore[method-assign]
        self._since = process_time(), monotonic()

    def _timed(self, name: str, call: Any) -> Any:
        def timed(*args: Any, **options: Any) -> Any:
            start = process_time()
            try:
                return call(*args, **options)
            finally:
                self._spent[name] += process_time() - start

        return timed

    def evaluated(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Count a candidate, and note the costs of each complete part."""
        self._judged += 1
        if self._judged % PART:
            return
        cpu, wall = process_time() - self._since[0], monotonic() - self._since[1]
        reference = median(yardstick() for _ in range(5))
        self.parts.append({"cpu": cpu, **self._spent, "wall": wall, "yardstick": reference, "resident": resident()})
        self._spent = dict.fromkeys(self._spent, 0.0)
        self._since = process_time(), monotonic()

    def drawn(self, candidate: Candidate) -> None:
        """Ignore a drawn candidate."""

    def referenced(self, layer: str, evaluation: Evaluation) -> None:
        """Ignore a published layer."""

    def turned_away(self, layer: TurnedAway) -> None:
        """Ignore a published layer that a filter would reject."""

    def tick(self, pending: int) -> None:
        """Ignore a tick."""


def resident() -> float:
    """Return the resident memory of the process in MiB, from /proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def search_of(run: RunInfo, store: Store, workers: int, meter: Meter | None, filters: bool = False) -> Search:
    """Make a search with the real loop, without training, and without filters unless `filters` is true."""
    observers = () if meter is None else [meter]
    stand_in = None if filters else PassingFilters()
    search = Search(run, store, InstantExecutor(workers), observers, filters=stand_in)
    if meter is not None:
        meter.begin(search)
    return search


def drive(path: Path, config: RunConfig, workers: int = WORKERS, *, filters: bool = False) -> Meter:
    """Execute a whole run, in a new database at `path`."""
    meter = Meter()
    with open_store(str(path)) as store:
        search_of(store.create_run(config, {}), store, workers, meter, filters).execute()
    return meter


def costs(parts: Sequence[dict[str, float]], judged: int = PART) -> dict[str, Any]:
    """Summarise the parts: milliseconds per candidate, and how the costs change over the run."""
    own = [1000 * (p["cpu"] - p["drawing"]) / judged for p in parts]
    whole = [1000 * p["cpu"] / judged for p in parts]
    even = [p["cpu"] / p["yardstick"] for p in parts]
    tenth = max(1, len(parts) // 10)
    return {
        "candidates": judged * len(parts),
        "cpu_ms": {"median": median(whole), "first": whole[0], "last": whole[-1]},
        "cpu_ms_without_drawing": {"median": median(own), "first": own[0], "last": own[-1]},
        "recording_cpu_ms": median(1000 * p["recording"] / judged for p in parts),
        "drawing_cpu_ms": median(1000 * p["drawing"] / judged for p in parts),
        "wall_ms": median(1000 * p["wall"] / judged for p in parts),
        "judged_a_cpu_second": judged * len(parts) / sum(p["cpu"] for p in parts),
        "last_tenth_over_first_tenth": median(even[-tenth:]) / median(even[:tenth]),
        "last_tenth_over_second": median(even[-tenth:]) / median(even[tenth : 2 * tenth] or even[:tenth]),
        "last_over_first": even[-1] / even[0],
        "resident_mib": {"first": parts[0]["resident"], "last": parts[-1]["resident"]},
        "bytes_a_candidate": (parts[-1]["resident"] - parts[len(parts) // 2]["resident"])
        * 2**20
        / max(1, judged * (len(parts) - 1 - len(parts) // 2)),
        "parts": parts,
    }
