"""Which layers of a run are verified after the search."""

from __future__ import annotations

from evonas.judging.families import Family, family_of
from evonas.records.evidence import best_known
from evonas.records.store import Store


def finalists(store: Store, run_id: int, limit: int) -> list[int]:
    """The candidates to verify: of each family the best by all its trainings in the search, and of those the best.

    The best of a search resemble each other, and where one was lucky, so were its relatives. What is recorded by
    verifying must not change the choice, because an interrupted verification makes it again when it continues.

    Args:
        store: the store that holds the run.
        run_id: the run's number.
        limit: the largest number of candidates.

    Returns:
        The indices, best first: fewer than `limit` if the run has scored fewer families.
    """
    run, chosen = store.run(run_id), dict[Family, int]()
    seen, reading = 0, 8 * limit
    while True:
        pairs = best_known(store, run, reading)
        for candidate, *_ in pairs[seen:]:
            chosen.setdefault(family_of(candidate.graph.canonical), candidate.index)
            if len(chosen) >= limit:
                return list(chosen.values())[:limit]
        if len(pairs) < reading:
            return list(chosen.values())
        seen, reading = len(pairs), 4 * reading
