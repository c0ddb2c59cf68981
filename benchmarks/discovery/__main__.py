"""The command: searches, tests their winners, and writes the summary."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.discovery.picture import picture
from benchmarks.discovery.searching import VARIANTS, searched
from benchmarks.discovery.summary import summary, table
from benchmarks.discovery.testing import SEEDS, jobs
from benchmarks.training_rows import missing, read, train
from evonas.front.api import Result
from evonas.setup.make_executor import make_executor


def main() -> None:
    """Search, test, summarise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discovery", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the databases and rows; the command continues what is there")
    parser.add_argument("--seed", type=int, nargs="*", default=[0, 1, 2, 3, 4], help="seeds of the searches")
    parser.add_argument("--variant", nargs="*", default=["default"], choices=list(VARIANTS))
    parser.add_argument("--test-seeds", type=int, default=len(SEEDS), help="trainings of each layer and network")
    parser.add_argument("--workers", type=int, default=None, help="as for evonas search")
    parser.add_argument("-o", "--output", type=Path, default=None, help="the summary as JSON, and beside it a picture")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[int, Result]] = {label: {} for label in given.variant}
    for seed in given.seed:
        for label in given.variant:
            results[label][seed] = found = searched(given.folder, VARIANTS[label], seed, given.workers)
            print(f"{label}, seed {seed}:\n{found}\n", flush=True)
    rows = given.folder / "rows.jsonl"
    every = [result for of_label in results.values() for result in of_label.values()]
    left = missing(jobs(every, SEEDS[: given.test_seeds]), read(rows))
    total = sum(len(job.protocol.anchors) for job in left)
    if left:
        with make_executor("ray", left[0].protocol, deadline=3600.0, workers=given.workers) as executor:
            for number, row in enumerate(train(left, executor, rows), 1):
                print(
                    f"{number}/{total}  {row.score:.4f}  {row.seconds:5.1f} s  {row.anchor:18} {row.layer}", flush=True
                )
    document = summary(results, read(rows))
    print(table(document))
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n")
        if (drawn := picture(document, given.variant[0])) is not None:
            drawn.savefig(given.output.with_suffix(".svg"))


if __name__ == "__main__":
    main()
