"""The time of proposals in the cheap filters, which is what a search does between two candidates, on one core.

This file uses only stable parts of evonas, so that it can measure another checkout, as `python proposals.py SPACE
STRATEGY TWINS COUNT SEED` with that checkout first on the path (see `measured_elsewhere`).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from time import process_time
from typing import Any

WARM_UP = 200
"""Proposals before the clock starts, in which a process makes its tables and probes."""


def measured(space: str, strategy: str, twins: float, count: int, seed: int) -> dict[str, Any]:
    """Draw candidates until at least `count` proposals have been judged.

    Args:
        space: name of the search space.
        strategy: the strategy of the search. Every candidate gets random scores, so a strategy that chooses parents
            mutates random candidates, whereas a search mutates those that learn.
        twins: tolerance of the comparison at the start of training, the last of the cheap filters; 0 for none.
        count: number of proposals; those of the last candidate are completed.
        seed: seed of the run.

    Returns:
        The numbers of proposals and candidates, the CPU seconds in total, `discarded` and `seconds` by stage as the
        search records them, and a digest of the keys of all candidates.
    """
    _propose(space, strategy, twins, WARM_UP, seed + 1)
    return _propose(space, strategy, twins, count, seed)


def _propose(space: str, strategy: str, twins: float, count: int, seed: int) -> dict[str, Any]:
    from evonas.evolution.propose import Proposer
    from evonas.judging.selection import Population
    from evonas.search_spaces import space_named
    from evonas.settings.candidate import Evaluation, Status
    from evonas.settings.run_config import RunConfig

    proposer = Proposer(RunConfig(space_named(space), strategy=strategy, twins=twins, seed=seed))
    population, rng = Population(proposer.config.population), random.Random(seed)
    discarded, seconds, keys = Counter[str](), defaultdict[str, float](float), hashlib.sha256()
    proposals = candidates = 0
    start = process_time()
    while proposals < count:
        candidate = proposer.draw(candidates, population)
        candidates += 1
        proposals += 1 + sum(candidate.discarded.values())
        discarded.update(candidate.discarded)
        for stage, spent in candidate.seconds.items():
            seconds[stage] += spent
        scores = {anchor: rng.random() for anchor in proposer.config.protocol.anchors}
        population.add(candidate, Evaluation(candidate.index, Status.SCORED, scores))
        keys.update(f"{candidate.key} {candidate.functional_key}\n".encode())
    return {
        "proposals": proposals,
        "candidates": candidates,
        "core_seconds": process_time() - start,
        "discarded": dict(discarded),
        "seconds": dict(seconds),
        "keys": keys.hexdigest(),
    }


def measured_elsewhere(
    checkout: Path, space: str, strategy: str, twins: float, count: int, seed: int
) -> dict[str, Any]:
    """Measure the same in a new process with the evonas of another checkout."""
    command = [sys.executable, str(Path(__file__).resolve()), space, strategy, str(twins), str(count), str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    name, strategy_, tolerance, proposals_, seed_ = sys.argv[1:]
    print(json.dumps(measured(name, strategy_, float(tolerance), int(proposals_), int(seed_))))
