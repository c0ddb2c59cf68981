"""The size of the report of a large run, and the time to make and open it.

The run consists of synthetic candidates, recorded in a database: its graphs are real, its scores drift upwards with
noise, and nothing is trained. `python -m benchmarks.report_page` prints the measurements and writes them to
benchmarks/results/report_page.json. The time to open the page is measured in headless Chromium, if it is installed.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from evonas.judging.cheap_filters import structural
from evonas.language.graph import Graph
from evonas.records.environment import environment
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.records.run_info import RunStatus
from evonas.records.store import Store
from evonas.report.page import page
from evonas.report.report_data import read_report
from evonas.search_spaces import SPACES
from evonas.settings.candidate import Candidate, Evaluation, FilterOutcome, Origin, OriginKind, Reject, Status
from evonas.settings.run_config import RunConfig
from evonas.setup.assemble import open_storage

RESULT = Path(__file__).parent / "results" / "report_page.json"
_CHUNK = 500


def synthetic(store: Store, candidates: int, seed: int = 0, scored: float = 1.0, rungs: tuple[int, ...] = ()) -> int:
    """Record a finished run of synthetic candidates, and return its number.

    Args:
        store: the store to record it in.
        candidates: number of candidates.
        seed: seed of all random numbers.
        scored: the share of candidates that are scored; the signal filter rejects the others.
        rungs: the rungs of longer training, each of which the best quarter of the one before goes on to.
    """
    rng, evonorm = np.random.default_rng(seed), SPACES["evonorm"]
    config = RunConfig(space=evonorm, budget=candidates, seed=seed, rungs=rungs)
    run = store.create_run(config, environment())
    graphs: dict[int, Graph] = {}
    means: dict[int, float] = {}
    for start in range(0, candidates, _CHUNK):
        drawn, judged = [], []
        for index in range(start, min(start + _CHUNK, candidates)):
            origin, graph = Origin(OriginKind.RANDOM), evonorm.random_graph(rng)
            while isinstance(structural(graph), Reject):
                graph = evonorm.random_graph(rng)
            if len(means) > 10 and rng.random() < 0.7:
                parent = max((int(i) for i in rng.choice(list(means), 5)), key=means.__getitem__)
                words, graph = [], graphs[parent]
                for _ in range(config.mutations):
                    graph, change = evonorm.mutate(graph, rng)
                    words.append(change)
                if isinstance(structural(graph), Reject):
                    words, graph = [], graphs[parent]  # a copy of the parent instead of an invalid layer
                origin = Origin(OriginKind.MUTATION, parent, tuple(words))
            times = {"sampling": 1e-3, "structural": 1e-3}
            drawn.append(Candidate(index, graph, f"{index}", f"{index}", origin, {"structural": 20}, times))
            if rng.random() >= scored:
                fell = FilterOutcome("signal", False, "scale too high", 9.0, 0.02)
                judged.append(Evaluation(index, Status.REJECTED, filters=(fell,)))
                continue
            before = 0.3 if origin.parent is None else means[origin.parent]
            mean = float(np.clip(before + rng.normal(0.003, 0.04), 0.1, 0.95))
            graphs[index], means[index] = graph, mean
            scores = {anchor: float(np.clip(mean + rng.normal(0, 0.03), 0, 1)) for anchor in config.protocol.anchors}
            passed = FilterOutcome("signal", True, "", 0.5, 0.02)
            seconds = dict.fromkeys(config.protocol.anchors, 1.2)
            judged.append(Evaluation(index, Status.SCORED, scores, filters=(passed,), seconds=seconds))
        store.record(run.id, candidates=drawn, evaluations=judged)
    known = dict(means)
    for rung in range(1, len(rungs) + 1):
        best = sorted(known, key=lambda index: -known[index])[: max(1, len(known) // 4)]
        known = {index: float(np.clip(known[index] + rng.normal(0.05, 0.03), 0.1, 1.0)) for index in best}
        on = config.on_rung(rung)
        for index, mean in known.items():
            for anchor in on.anchors:
                record = Retraining(index, RetrainingStage.RUNG, anchor, on.seed, on.steps, 0.0, mean, 2.0)
                store.record_retraining(run.id, record)
    # Of three whose lines are near each other, each has to be told apart.
    for name, score in (("bn-relu", 0.6), ("evonorm-s0", 0.64), ("gn-relu", 0.602), ("evonorm-b0", 0.598)):
        store.record_reference(run.id, name, dict.fromkeys(config.protocol.anchors, score))
    store.record(run.id, status=RunStatus.FINISHED, elapsed=3600.0)
    return run.id


def measure(candidates: int, folder: Path) -> dict[str, Any]:
    """Measure CPU seconds and sizes for a run of so many candidates, all of them scored."""
    with open_storage(folder / "runs.db") as store:
        run_id = synthetic(store, candidates)
        start = time.process_time()
        gathered = read_report(store, run_id)
        read = time.process_time()
        text = page(gathered)
        rendered = time.process_time()
    file = folder / "report.html"
    file.write_text(text)
    return {
        "candidates": candidates,
        "scored": len(gathered.points),
        "tree_rows": len(gathered.tree),
        "gather_seconds": read - start,
        "render_seconds": rendered - read,
        "bytes": file.stat().st_size,
        "opened_ms": opened(file),
    }


def opened(file: Path) -> float | None:
    """Return the milliseconds until headless Chromium has drawn every chart; None if it is not installed."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return None
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", file.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'data-drawn="(\d+)"', dom)
    return float(found.group(1)) if found else None


def main() -> None:
    """Run the benchmark: measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", default=[200, 5000])
    sizes = parser.parse_args().candidates
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(size, Path(folder)))
        print(found[-1])
    RESULT.write_text(json.dumps({"environment": environment(), "pages": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
