"""How well does the start of training foretell which candidates learn? From the databases of recorded searches.

`python -m benchmarks.prospects RUNS.db [MORE.db …] -o prospects.json` goes through the candidates of each run in their
order, asks what each would have promised as a proposal (`evonas/judging/prospects.py`), from the candidates up to as
many before it as the run looks ahead, and compares that with what became of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from evonas.judging.prospects import Prospects, worth
from evonas.records.store import Store
from evonas.setup.assemble import open_storage

FIRST = 100
"""Candidates of a run that are not foretold, because little is known before them."""
GROUPS = 4


@dataclass(frozen=True, slots=True)
class Foretold:
    """One candidate.

    Attributes:
        promise: what it promised.
        worth: what it had at the quality test, 0 if it did not learn.
        core_seconds: what judging it took.
    """

    promise: float
    worth: float
    core_seconds: float


@dataclass(frozen=True, slots=True)
class Group:
    """A quarter of the candidates, by what they promised.

    Attributes:
        least, most: what they promised.
        learned: the share of them that learned.
        wasted: the share of the core-seconds of all candidates that those of them took that did not learn.
    """

    least: float
    most: float
    learned: float
    wasted: float


def foretold(store: Store, run_id: int) -> list[Foretold]:
    """Return the candidates of a run after the first `FIRST`, in order."""
    lookahead, known, found = store.run(run_id).config.lookahead, Prospects(), []
    evaluations = {evaluation.index: evaluation for evaluation in store.evaluations(run_id)}
    starts = [candidate.start for candidate in store.candidates(run_id)]
    for index, start in enumerate(starts):
        if index >= lookahead and index - lookahead in evaluations:
            known.add(starts[index - lookahead], worth(evaluations[index - lookahead]))
        if index >= FIRST and index in evaluations:
            ended = evaluations[index]
            found.append(Foretold(known.of(start or b"").promise, worth(ended), ended.core_seconds))
    return found


def ranked_rightly(some: Sequence[Foretold]) -> float:
    """Return the share of pairs, one that learned and one that did not, of which the former promised more.

    Half of it counts where both promised the same: the area under the receiver operating characteristic.
    """
    learned = np.sort([one.promise for one in some if one.worth])
    others = [one.promise for one in some if not one.worth]
    below = np.searchsorted(learned, others, "left") + np.searchsorted(learned, others, "right")
    return 1.0 - float(below.mean()) / (2 * len(learned))


def groups(some: Sequence[Foretold]) -> list[Group]:
    """Return quarters by what candidates promised, those that promised least first."""
    total = sum(one.core_seconds for one in some)
    ordered = sorted(some, key=lambda one: one.promise)
    parts = [ordered[len(some) * i // GROUPS : len(some) * (i + 1) // GROUPS] for i in range(GROUPS)]
    return [
        Group(
            part[0].promise,
            part[-1].promise,
            fmean(one.worth > 0 for one in part),
            sum(one.core_seconds for one in part if not one.worth) / total,
        )
        for part in parts
    ]


def summary(stores: Iterable[Store]) -> dict[str, object]:
    """Return the result for all runs of some databases together."""
    runs = [foretold(store, run_id) for store in stores for run_id in store.run_ids()]
    every = [one for run in runs for one in run]
    return {
        "runs": len(runs),
        "candidates": len(every),
        "learned": fmean(one.worth > 0 for one in every),
        "ranked_rightly": [ranked_rightly(run) for run in runs],
        "groups": [asdict(group) for group in groups(every)],
    }


def main() -> None:
    """Read databases, print the result, and write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prospects", description=__doc__)
    parser.add_argument("databases", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    document = summary([open_storage(path, read_only=True) for path in given.databases])
    text = json.dumps(document, indent=1)
    print(text)
    if given.output is not None:
        given.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
