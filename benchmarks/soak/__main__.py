"""`python -m benchmarks.soak run OUT` and `python -m benchmarks.soak report OUT`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Run the command line. The exit code is 1 if a report found a fault."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=sys.modules[__name__].__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a search with faults")
    run.add_argument("out", type=Path, help="folder for the database, the samples and the log; created if missing")
    run.add_argument("--minutes", type=float, default=60.0)
    run.add_argument("--every", type=float, default=60.0, help="seconds between faults")
    run.add_argument("--workers", type=int, default=2)
    run.add_argument("--seed", type=int, default=0)
    report = commands.add_parser("report", help="check the result, and write numbers, log and picture")
    report.add_argument("out", type=Path)
    report.add_argument("--results", type=Path, default=RESULTS)
    report.add_argument("--sample", type=int, default=40, help="candidates to evaluate again")
    given = parser.parse_args()
    if given.command == "run":
        from benchmarks.soak.running import Soak

        if (given.out / "events.jsonl").exists():
            parser.error(f"{given.out} already contains a soak test; choose another folder")
        Soak(given.out, given.minutes, given.every, given.workers, given.seed).run()
        return
    from benchmarks.soak.reporting import report as written

    if not (given.out / "soak.db").exists():
        parser.error(f"{given.out} does not contain a finished soak test")
    sys.exit(0 if written(given.out, given.results, given.sample) else 1)


if __name__ == "__main__":
    main()
