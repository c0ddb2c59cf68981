"""Which layers of a run are verified after the search."""

from __future__ import annotations

from collections import Counter

from evonas.judging.families import family_of
from evonas.records.evidence import best_of_families
from evonas.records.store import Store


def finalists(store: Store, run_id: int, limit: int) -> list[int]:
    """The candidates to verify: of each family the best by all its trainings in the search, and of those the best.

    The best of a search resemble each other, and where one was lucky, so were its relatives. So only a share of the
    finalists (`RunConfig.of_one_kind`) may use the same statistics; places that no other kind takes go to the next
    best. What is recorded by verifying must not change the choice, because an interrupted verification makes it again
    when it continues.

    Args:
        store: the store that holds the run.
        run_id: the run's number.
        limit: the largest number of candidates.

    Returns:
        The indices, best first: fewer than `limit` if the run has scored fewer families.
    """
    run = store.run(run_id)
    share = run.config.of_one_kind
    of_one_kind = max(1, round(share * limit))
    chosen, others, of_kind = list[int](), list[int](), Counter[str]()
    best = [candidate for candidate, *_ in best_of_families(store, run, limit if share == 1.0 else run.config.budget)]
    for candidate in best:
        kind = family_of(candidate.graph).statistics
        of_kind[kind] += 1
        (chosen if of_kind[kind] <= of_one_kind else others).append(candidate.index)
    kept = {*chosen[:limit], *others[: max(0, limit - len(chosen))]}
    return [candidate.index for candidate in best if candidate.index in kept]
