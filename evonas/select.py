"""Selection: the sliding window of scored candidates, and the tournament whose winner is mutated.

Liu et al. 2020, section 3.3: the population is the newest scored candidates; a tournament is a random
share of it; its winner is a random member of the tournament's Pareto front over the anchors' scores, so
that a layer which is best on one architecture stays in the race.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evonas.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from evonas.candidate import Candidate, Evaluation

    Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Member:
    """A scored candidate in the window."""

    candidate: Candidate
    evaluation: Evaluation


class Population:
    """The newest scored candidates, oldest first, at most `size` of them."""

    def __init__(self, size: int) -> None:
        self.members: deque[Member] = deque(maxlen=size)

    def add(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Appends a scored candidate; the oldest leaves a full window."""
        self.members.append(Member(candidate, evaluation))

    def __len__(self) -> int:
        return len(self.members)


def pareto_front(scores: Scores) -> NDArray[np.intp]:
    """Rows of `scores` (members × objectives, higher is better) that no other row dominates."""
    # pymoo takes most of a second to import; only a running search needs it.
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    front = NonDominatedSorting().do(-scores, only_non_dominated_front=True)
    return np.sort(np.asarray(front, dtype=np.intp))


def _pareto_winner(scores: Scores, rng: np.random.Generator) -> int:
    return int(rng.choice(pareto_front(scores)))


def _average_winner(scores: Scores, rng: np.random.Generator) -> int:
    means = scores.mean(axis=1)
    return int(rng.choice(np.flatnonzero(means == means.max())))


WINNERS: dict[str, Callable[[Scores, np.random.Generator], int]] = {
    "pareto": _pareto_winner,
    "average": _average_winner,
}
"""Ways to choose a tournament's winner, by the strategy's name."""


def tournament_winner(members: Sequence[Member], share: float, strategy: str, rng: np.random.Generator) -> Member:
    """The winner of a tournament among a random `share` of `members`, at least two where there are two.

    Raises:
        UsageError: for an unknown strategy.
    """
    if strategy not in WINNERS:
        raise unknown("selection", strategy, WINNERS)
    size = min(len(members), max(2, round(share * len(members))))
    chosen = rng.choice(len(members), size=size, replace=False)
    scores = np.array([list(members[i].evaluation.scores.values()) for i in chosen], dtype=np.float64)
    return members[int(chosen[WINNERS[strategy](scores, rng)])]
