"""The command: trains what is missing, compares, and writes the summary."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.proxies.agreement import means
from benchmarks.proxies.layer_list import proxy_layers
from benchmarks.proxies.picture import picture
from benchmarks.proxies.proxy_table import (
    ANCHORS,
    FURTHER,
    LONG,
    LONG_SEEDS,
    LONGS,
    OF_TARGET,
    PROXIES,
    SEEDS,
    TARGET,
    protocol_of,
)
from benchmarks.proxies.summary import summary
from benchmarks.target.__main__ import ANCHORS as TARGET_ANCHORS
from benchmarks.target.__main__ import NAME
from benchmarks.target.__main__ import SEEDS as TARGET_SEEDS
from benchmarks.target.layer_list import target_layers
from benchmarks.training_rows import Job, Row, complete, read


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxies", description=__doc__)
    parser.add_argument("--target", type=Path, default=None, help="rows of python -m benchmarks.target")
    parser.add_argument("--data-dir", default="", help="CIFAR-10, for the proxies that need it")
    parser.add_argument("--rows", type=Path, default=Path("proxy_rows.jsonl"))
    parser.add_argument("--proxy", nargs="*", default=None, help="by default all but the further long ones")
    parser.add_argument("--seed", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--long-seed", type=int, nargs="*", default=LONG_SEEDS)
    parser.add_argument("--anchor", nargs="*", default=ANCHORS, choices=ANCHORS, help="of the small networks")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    chosen = given.proxy
    if chosen is None:
        chosen = [one.name for one in (LONG, *PROXIES) if one not in OF_TARGET or given.target is not None]
    for proxy in (one for one in (*LONGS, *PROXIES) if one.name in chosen):
        layers = target_layers() if proxy in OF_TARGET else proxy_layers()
        anchors = given.anchor if proxy.anchors == ANCHORS else proxy.anchors
        seeds = given.long_seed if proxy in LONGS else given.seed
        protocols = [protocol_of(proxy, given.data_dir, seed, anchors) for seed in seeds]
        jobs = [Job(layer["layer"], proxy.name, protocol, "validation") for protocol in protocols for layer in layers]
        complete(jobs, given.rows, given.workers, deadline=1800.0)
    rows = read(given.rows)
    targets = {
        long.name: means(rows, long.name, given.anchor, seeds)
        for long in LONGS
        if (seeds := _trained(rows, long.name, given.long_seed))
    }
    if given.target is not None:
        of_target = read(given.target)
        reached = means(of_target, NAME, TARGET_ANCHORS, _trained(of_target, NAME, TARGET_SEEDS))
        fifty = {layer["layer"] for layer in proxy_layers()}
        targets[TARGET] = {layer: score for layer, score in reached.items() if layer in fifty}
        targets[FURTHER] = {layer: score for layer, score in reached.items() if layer not in fifty}
    found = summary(target_layers(), rows, targets)
    for name, target in found["targets"].items():
        print(f"target {name}, {len(target['layers'])} layers")
        for row in sorted(target["proxies"], key=lambda row: -row["correlation"])[:30]:
            print(
                f"{row['correlation']:.2f} {row['correlation_of_better_half']:.2f} {row['regret']:.4f} "
                f"{row['core_seconds']:5.1f} s  {row['proxy']}, {row['seeds']} seeds, {', '.join(row['anchors'])}"
            )
    if given.output is not None:
        given.output.write_text(json.dumps(found, indent=1) + "\n")
        picture(found["targets"][LONG.name]).savefig(given.output.with_suffix(".svg"))


def _trained(rows: Sequence[Row], name: str, seeds: Sequence[int]) -> list[int]:
    """Return the seeds with which there are trainings."""
    return [seed for seed in seeds if any(row.seed == seed and row.protocol == name for row in rows)]


if __name__ == "__main__":
    main()
