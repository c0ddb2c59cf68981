"""Which layers of a run are verified after the search."""

from __future__ import annotations

from evonas.records.evidence import best_of_families
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
    return [candidate.index for candidate, *_ in best_of_families(store, store.run(run_id), limit)]
