"""How far from its parent is an offspring that is better? A table from the databases of recorded searches.

`python -m benchmarks.strides RUNS.db [MORE.db …] -o strides.json` groups the offspring of all runs by the relative
distance of their output from that of their parent at the start of training (`evonas/judging/start_twins.py`), and says
what each group cost and how many of its layers were scored, and were better than their parent.
"""

from __future__ import annotations

import argparse
import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from evonas.judging.start_twins import start_distance
from evonas.records.store import Store
from evonas.settings.candidate import Status
from evonas.setup.assemble import open_storage

EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, float("inf"))
BETTER = 0.02
"""The gain in mean accuracy over the parent that counts as better; two trainings of a layer differ by less."""


@dataclass(slots=True)
class Group:
    """The offspring at some distances from their parents.

    Attributes:
        nearest, farthest: the distances, without the latter; None for no limit.
        judged: offspring that passed the cheap filters.
        core_seconds: what judging them took.
        scored: those that passed every filter.
        better: those whose mean accuracy is above their parent's by `BETTER`.
    """

    nearest: float
    farthest: float | None
    judged: int = 0
    core_seconds: float = 0.0
    scored: int = 0
    better: int = 0


def strides(stores: Iterable[Store]) -> list[Group]:
    """Return the groups, nearest first, of all offspring in all runs of some databases."""
    groups = [Group(low, None if high == EDGES[-1] else high) for low, high in pairwise(EDGES)]
    for store in stores:
        for run_id in store.run_ids():
            _add(store, run_id, groups)
    return groups


def _add(store: Store, run_id: int, groups: list[Group]) -> None:
    candidates = {candidate.index: candidate for candidate in store.candidates(run_id)}
    evaluations = {evaluation.index: evaluation for evaluation in store.evaluations(run_id)}
    for index, evaluation in evaluations.items():
        parent = candidates[index].origin.parent
        if parent is None:
            continue
        distance = start_distance(candidates[index].graph.canonical, candidates[parent].graph.canonical)
        group = groups[min(bisect_right(EDGES, distance), len(groups)) - 1]
        group.judged += 1
        group.core_seconds += evaluation.core_seconds
        if evaluation.status is Status.SCORED:
            group.scored += 1
            group.better += evaluation.mean - evaluations[parent].mean > BETTER


def main() -> None:
    """Read databases, print the table, and write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strides", description=__doc__)
    parser.add_argument("databases", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    stores = [open_storage(path, read_only=True) for path in given.databases]
    runs = sum(len(store.run_ids()) for store in stores)
    groups = strides(stores)
    print(f"{runs} runs\n distance    judged  core-s  scored  better")
    for group in groups:
        high = "   " if group.farthest is None else f"{group.farthest:.1f}"
        print(
            f"{group.nearest:.1f} to {high}  {group.judged:6,}  {group.core_seconds:6,.0f}  {group.scored:6}"
            f"  {group.better:6}"
        )
    if given.output is not None:
        document = {"runs": runs, "better": BETTER, "groups": [asdict(group) for group in groups]}
        given.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
