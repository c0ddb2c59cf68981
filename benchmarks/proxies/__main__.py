"""The command: trains what is missing, compares, and writes the summary."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.proxies.agreement import agreement, means
from benchmarks.proxies.proxy_table import PROXIES, SEEDS, protocol_of
from benchmarks.target.__main__ import ANCHORS, NAME, UNSEEN
from benchmarks.target.__main__ import SEEDS as TARGET_SEEDS
from benchmarks.training_rows import Job, missing, read, train
from evonas.setup.make_executor import make_executor


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxies", description=__doc__)
    parser.add_argument("--target", type=Path, required=True, help="rows of python -m benchmarks.target")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--rows", type=Path, default=Path("proxy_rows.jsonl"))
    parser.add_argument("--proxy", nargs="*", default=[proxy.name for proxy in PROXIES])
    parser.add_argument("--seed", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    target_rows = read(given.target)
    seeds = [seed for seed in TARGET_SEEDS if any(row.seed == seed for row in target_rows)]
    target = means(target_rows, NAME, (*ANCHORS, UNSEEN), seeds)
    for proxy in (one for one in PROXIES if one.name in given.proxy):
        protocols = [protocol_of(proxy, given.data_dir, seed) for seed in given.seed]
        jobs = [Job(layer, proxy.name, protocol, "validation") for protocol in protocols for layer in target]
        left = missing(jobs, read(given.rows))
        if left:
            with make_executor("ray", protocols[0], deadline=1800.0, workers=given.workers) as executor:
                done = sum(1 for _ in train(left, executor, given.rows))
            print(f"{proxy.name}: {done} trainings", flush=True)
    table = agreement(read(given.rows), target)
    for row in sorted(table, key=lambda row: -row["correlation"])[:30]:
        print(
            f"{row['correlation']:.2f} {row['correlation_of_better_half']:.2f} {row['regret']:.4f} "
            f"{row['core_seconds']:5.1f} s  {row['proxy']}, {row['seeds']} seeds, {', '.join(row['anchors'])}"
        )
    if given.output is not None:
        given.output.write_text(json.dumps({"layers": len(target), "table": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
