"""The command: searches, tests their winners, and writes the summary."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.discovery.leaders import leaders, medians, passing
from benchmarks.discovery.picture import picture
from benchmarks.discovery.searching import VARIANTS, searched
from benchmarks.discovery.summary import summary, table
from benchmarks.discovery.testing import YARDSTICKS, as_long, jobs, winner_of, yardstick
from benchmarks.training_rows import complete, read
from evonas.front.result import Result

DEADLINE = 3600.0
"""Seconds after which a training counts as hung."""


def main() -> None:
    """Search, test, summarise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discovery", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the databases and rows; the command continues what is there")
    parser.add_argument("--seed", type=int, nargs="*", default=[0, 1, 2, 3, 4], help="seeds of the searches")
    parser.add_argument("--variant", nargs="*", default=["default"], choices=list(VARIANTS))
    parser.add_argument("--test", nargs="*", default=["crops"], choices=YARDSTICKS, help="what winners are compared by")
    parser.add_argument("--seeds", type=int, default=None, help="trainings of each layer on each network in a test")
    parser.add_argument("--also", nargs="*", default=[], help="further layers to test, as the zoo calls them")
    parser.add_argument("--leaders", action="store_true", help="train all layers that ever led, and time the search")
    parser.add_argument("--data-dir", default=None, help="CIFAR-10 as a folder of images or an archive of one")
    parser.add_argument("--workers", type=int, default=None, help="as for evonas search")
    parser.add_argument("-o", "--output", type=Path, default=None, help="the summary as JSON, and beside it pictures")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[int, Result]] = {label: {} for label in given.variant}
    labels = sorted(given.variant, key=lambda label: VARIANTS[label].as_long_as is not None)
    for seed in given.seed:
        for label in labels:
            found = searched(given.folder, VARIANTS[label], seed, given.workers, given.data_dir)
            results[label][seed] = found
            print(f"{label}, seed {seed}:\n{found}\n", flush=True)
    rows, by = given.folder / "rows.jsonl", [yardstick(name, given.data_dir) for name in given.test]
    by = [one if given.seeds is None else replace(one, seeds=given.seeds) for one in by]
    winners = [winner for of in results.values() for result in of.values() if (winner := winner_of(result))]
    for one in by:
        complete(jobs([*winners, *given.also], one), rows, given.workers, DEADLINE)
    document = summary(results, read(rows), by)
    print(table(document))
    if given.leaders:
        document["passing"] = {label: _passing(of, rows, given.workers) for label, of in results.items()}
        print(json.dumps(document["passing"], indent=1))
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n")
        for name in given.test:
            for label in given.variant:
                if (drawn := picture(document, name, label)) is not None:
                    drawn.savefig(given.output.with_name(f"{given.output.stem}_{label}_{name}.svg"))


def _passing(results: Mapping[int, Result], rows: Path, workers: int | None) -> dict[str, Any]:
    """Return when each search of a variant passed published layers, and the medians over the searches."""
    found = {seed: leaders(result) for seed, result in results.items()}
    by = as_long(next(iter(results.values())).run.config)
    complete(jobs((leader.layer for some in found.values() for leader in some), by), rows, workers, DEADLINE)
    times = {seed: passing(some, read(rows), by) for seed, some in found.items()}
    return {"searches": times, "medians": medians(list(times.values()))}


if __name__ == "__main__":
    main()
