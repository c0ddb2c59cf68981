"""Selection: the sliding window of scored candidates, and who of it becomes a parent.

Liu et al. 2020, section 3.3: the population is the newest scored candidates; a tournament is a random
share of it; its winner is a random member of the tournament's Pareto front over the objectives, so that a
layer which is best on one architecture stays in the race. The other strategies are there to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from evonas.errors import unknown
from evonas.settings.objectives import fitness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evonas.settings.candidate import Candidate, Evaluation
    from evonas.settings.objectives import Fitness
    from evonas.settings.run_config import RunConfig


@dataclass(frozen=True, slots=True)
class Individual:
    """A scored candidate in the window."""

    candidate: Candidate
    evaluation: Evaluation


class Window(Sequence[Individual]):
    """Members, oldest first, at most `size` of them, with what they are compared by in an array.

    A member's row is written once, when it comes; a tournament reads the rows of those that enter it.
    """

    def __init__(self, size: int, members: Iterable[Individual] = ()) -> None:
        self.size = size
        self._ring: list[Individual] = []
        self._oldest = 0  # its place in the ring, which is written to round and round
        self._rows: dict[tuple[str, ...], Fitness] = {}  # by objectives; in the order of the ring
        for member in members:
            self.append(member)

    def append(self, member: Individual) -> None:
        """Adds the newest; the oldest leaves a full window."""
        place = self._oldest
        if len(self._ring) < self.size:
            place = len(self._ring)
            self._ring.append(member)
        else:
            self._ring[place] = member
            self._oldest = (place + 1) % self.size
        for objectives, rows in self._rows.items():
            if place == len(rows):
                rows = self._rows[objectives] = np.concatenate([rows, np.empty_like(rows)])
            rows[place] = fitness([member.evaluation], objectives)[0]

    def rows(self, objectives: tuple[str, ...], places: NDArray[np.intp] | None = None) -> Fitness:
        """The objectives of the members at some places of the window, or of all; one row each."""
        rows = self._rows.get(objectives)
        if rows is None:
            rows = self._rows[objectives] = fitness([member.evaluation for member in self._ring], objectives)
        if places is None:
            places = np.arange(len(self._ring))
        return rows[(places + self._oldest) % len(self._ring)]

    def __len__(self) -> int:
        return len(self._ring)

    @overload
    def __getitem__(self, place: int) -> Individual: ...
    @overload
    def __getitem__(self, place: slice) -> list[Individual]: ...
    def __getitem__(self, place: int | slice) -> Individual | list[Individual]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return self._ring[(place % len(self) + self._oldest) % len(self)]


class Population:
    """The newest scored candidates, oldest first, at most `size` of them."""

    def __init__(self, size: int) -> None:
        self.members = Window(size)

    def add(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Appends a scored candidate; the oldest leaves a full window."""
        self.members.append(Individual(candidate, evaluation))

    def __len__(self) -> int:
        return len(self.members)


Selection = Callable[["Sequence[Individual]", np.random.Generator], Individual]
"""Chooses a parent among the members of a window that is not empty."""


def pareto_front(scores: Fitness) -> NDArray[np.intp]:
    """Rows of `scores` (members × objectives, higher is better) that no other row dominates."""
    # pymoo takes most of a second to import; only a running search needs it.
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    front = NonDominatedSorting().do(-scores, only_non_dominated_front=True)
    return np.sort(np.asarray(front, dtype=np.intp))


def _window(members: Sequence[Individual]) -> Window:
    return members if isinstance(members, Window) else Window(len(members), members)


@dataclass(frozen=True, slots=True)
class Tournament:
    """The winner among a random share of the window, at least `smallest` of it.

    Attributes:
        share: of the window that takes part.
        smallest: how many take part at least, where there are as many.
        objectives: what is compared; for the Pareto front alone.
        average: whether the best mean accuracy wins; else a random member of the Pareto front does.
    """

    share: float
    smallest: int
    objectives: tuple[str, ...]
    average: bool = False

    def __call__(self, members: Sequence[Individual], rng: np.random.Generator) -> Individual:
        """The winner."""
        size = min(len(members), max(self.smallest, round(self.share * len(members))))
        places = rng.choice(len(members), size=size, replace=False)
        if self.average:
            means = np.array([members[place].evaluation.mean for place in places.tolist()])
            best = np.flatnonzero(means == means.max())
        else:
            best = pareto_front(_window(members).rows(self.objectives, places))
        return members[int(places[int(rng.choice(best))])]


class Nsga2:
    """Deb et al. 2002: the best of the window by rank and crowding survive; binary tournaments among them.

    Args:
        survivors: how many of the window survive.
        objectives: what is compared.
    """

    def __init__(self, survivors: int, objectives: tuple[str, ...]) -> None:
        self.survivors, self.objectives = survivors, objectives
        self._sorted_for: tuple[int, ...] = ()
        self._sorted: list[tuple[int, float, Individual]] = []

    def __call__(self, members: Sequence[Individual], rng: np.random.Generator) -> Individual:
        """The better of two random survivors: of lower rank, or of equal rank and in the emptier place."""
        survivors = self._survive(members)
        one, other = (survivors[int(i)] for i in rng.integers(len(survivors), size=2))
        return min(one, other, key=lambda survivor: (survivor[0], -survivor[1]))[2]

    def _survive(self, members: Sequence[Individual]) -> list[tuple[int, float, Individual]]:
        """(rank, crowding distance, member) of the survivors, a function of the window alone."""
        window = tuple(member.candidate.index for member in members)
        if window != self._sorted_for:  # several parents are drawn between two changes of the window
            from pymoo.core.population import Population as Individuals
            from pymoo.core.problem import Problem
            from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

            scores = _window(members).rows(self.objectives)
            individuals = Individuals.new(F=-scores)
            survivors = RankAndCrowding().do(
                Problem(n_var=1, n_obj=scores.shape[1]),
                individuals,
                n_survive=self.survivors,
                random_state=np.random.default_rng(0),  # between equals at the cut, the same choice every time
                return_indices=True,
            )
            kept = [(individuals[i], members[i]) for i in sorted(survivors)]
            self._sorted = [(int(i.get("rank")), float(i.get("crowding")), member) for i, member in kept]
            self._sorted_for = window
        return self._sorted


def _pareto(config: RunConfig) -> Selection:
    return Tournament(config.tournament, config.smallest_tournament, config.protocol.objectives)


def _average(config: RunConfig) -> Selection:
    return Tournament(config.tournament, config.smallest_tournament, config.protocol.objectives, average=True)


def _nsga2(config: RunConfig) -> Selection:
    return Nsga2(config.survivors, config.protocol.objectives)


SELECTIONS: dict[str, Callable[[RunConfig], Selection]] = {"pareto": _pareto, "average": _average, "nsga2": _nsga2}
"""Ways to choose parents, by the strategy's name."""


def selection_of(config: RunConfig) -> Selection:
    """How a run chooses parents.

    Raises:
        UsageError: for a strategy that chooses none, or is unknown.
    """
    if config.strategy not in SELECTIONS:
        raise unknown("selection", config.strategy, SELECTIONS)
    return SELECTIONS[config.strategy](config)
