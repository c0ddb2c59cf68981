"""The cost of comparing a graph with all earlier ones, and the memory for these, as their number grows."""

from __future__ import annotations

import tracemalloc
from time import process_time
from typing import Any

import numpy as np

from evonas.judging.start_twins import Twins, read_sketch, sketch, write_sketch
from evonas.search_spaces import SPACES
from evonas.settings.search_space import generator

_SEEDS = 1000
_ASKED = 500


def measure(most: int) -> dict[str, Any]:
    """Measure the microseconds of a comparison, and the bytes per candidate, by the number of known sketches.

    It would take long to find a hundred thousand candidates that pass the filters, so most sketches are mixtures of
    two real ones. They have as many dimensions as real ones, but are closer to each other.
    """
    real = _real()
    rng = np.random.default_rng(3)
    twins, known = Twins(0.02), 0
    found: list[dict[str, float]] = []
    tracemalloc.start()
    for count in sorted({most // 100, most // 10, most}):
        while known < count:
            twins.recall(_mixed(real, rng))
            known += 1
        held = tracemalloc.get_traced_memory()[0] / known
        asked = [_mixed(real, rng) for _ in range(_ASKED)]
        start = process_time()
        for one in asked:
            twins.matches(one)
        per = 1e6 * (process_time() - start) / _ASKED
        found.append({"known": known, "microseconds_a_comparison": per, "bytes_a_candidate": held})
    tracemalloc.stop()
    return {"tolerance": twins.tolerance, "by_known": found}


def _real() -> list[bytes]:
    rng = generator(11)
    found: list[bytes] = []
    while len(found) < _SEEDS:
        canonical = SPACES["evonorm"].random_graph(rng).canonical
        if 0 in canonical.live and (made := sketch(canonical)):
            found.append(made)
    return found


def _mixed(real: list[bytes], rng: np.random.Generator) -> bytes:
    (one, first), (other, second) = (read_sketch(real[int(i)]) for i in rng.integers(len(real), size=2))
    angle = rng.uniform(0.0, np.pi / 2)
    return write_sketch(
        float(np.sqrt(one * other)) * np.exp(rng.normal()), np.cos(angle) * first + np.sin(angle) * second
    )
