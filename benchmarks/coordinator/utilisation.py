"""The utilisation of thousands of workers, as a function of the lookahead, if trainings differ widely in length.

The real search loop submits the candidates; drawing, training and the database are replaced by stand-ins, and the clock
is simulated. Candidate i waits for the results of candidates up to i − lookahead, so one long training stops all
drawing once the lookahead is used up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.coordinator.driving import config_of
from benchmarks.coordinator.stand_ins import SimulatedExecutor
from evonas.evolution.loop import Search
from evonas.judging.selection import Population
from evonas.language.graph import Graph
from evonas.records.memory_store import MemoryStore
from evonas.settings.candidate import Candidate, Origin, OriginKind

WORKERS = 5000
CANDIDATES = 50_000
LOOKAHEADS = (0.5, 1.0, 1.5, 2.0, 4.0, 8.0)
"""In multiples of the number of workers."""
_LAYER = Graph.parse("x * sigmoid(x) / std_wh(x)")

Durations = Callable[[np.random.Generator, int], np.ndarray[Any, np.dtype[np.float64]]]


def _log_normal(sigma: float) -> Durations:
    return lambda rng, count: rng.lognormal(-(sigma**2) / 2, sigma, count)


def _pareto(rng: np.random.Generator, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return (1.0 + rng.pareto(1.5, count)) / 3.0  # at least a third


DISTRIBUTIONS: dict[str, Durations] = {
    "log-normal, sigma 1": _log_normal(1.0),
    "log-normal, sigma 2": _log_normal(2.0),
    "Pareto, exponent 1.5": _pareto,
    "Pareto, stopped at 10 times the mean": lambda rng, count: np.minimum(_pareto(rng, count), 10.0),
}
"""Distributions of training times with a mean of 1, or slightly less if a deadline stops long trainings."""


def utilisation(durations: np.ndarray[Any, np.dtype[np.float64]], workers: int, lookahead: int) -> float:
    """Return the share of the workers' time spent on trainings, from the start until the last training begins."""
    budget = len(durations)
    store, executor = MemoryStore(), SimulatedExecutor(workers, lambda index: float(durations[index]))
    config = replace(config_of(budget, lookahead=lookahead, twins=0.0, strategy="random"))
    search = Search(store.create_run(config, {}), store, executor)

    def draw(index: int, population: Population) -> Candidate:
        return Candidate(index, _LAYER, str(index), str(index), Origin(OriginKind.RANDOM))

    search.proposer.draw = draw  # type: ignore[method-assign]
    search.execute()
    starts = np.array([executor.started[index] for index in range(budget)])
    until = starts.max()
    busy = np.minimum(starts + durations, until) - starts
    return float(busy.sum() / (workers * until))


def measure(workers: int = WORKERS, candidates: int = CANDIDATES) -> dict[str, Any]:
    """Measure the utilisation by distribution and lookahead."""
    found: dict[str, dict[str, float]] = {}
    for name, distribution in DISTRIBUTIONS.items():
        durations = distribution(np.random.default_rng(7), candidates)
        found[name] = {
            str(factor): utilisation(durations, workers, max(1, round(factor * workers))) for factor in LOOKAHEADS
        }
    return {"workers": workers, "candidates": candidates, "by_lookahead_over_workers": found}
