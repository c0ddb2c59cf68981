"""Selection: the sliding window of scored candidates, and which of them become parents.

Liu et al. 2020, section 3.3: the population is the newest scored candidates; a tournament is a random
share of it; its winner is a random member of the tournament's Pareto front over the objectives, so that a
layer which is best on one architecture is not lost. `Families` keeps several kinds of layers apart, and compares
layers by all of their trainings (`evonas/judging/rungs.py`). The other strategies serve for comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from evonas.errors import unknown
from evonas.settings.objectives import fitness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evonas.judging.rungs import Ladder
    from evonas.settings.candidate import Candidate, Evaluation
    from evonas.settings.objectives import Fitness
    from evonas.settings.run_config import RunConfig


@dataclass(frozen=True, slots=True)
class Individual:
    """A scored candidate in the window."""

    candidate: Candidate
    evaluation: Evaluation


_ObjectivesKey = tuple[tuple[str, ...], tuple[str, ...]]
"""A run's objectives, and its `EvaluationProtocol.plugins`."""


class Window(Sequence[Individual]):
    """The newest `size` members, oldest first, with their objectives in an array.

    A member's row of objectives is written once, when the member is added; tournaments index into the array.
    """

    def __init__(self, size: int, members: Iterable[Individual] = ()) -> None:
        self.size = size
        self._ring: list[Individual] = []
        self._oldest = 0  # index of the oldest member in the ring
        self._rows: dict[_ObjectivesKey, Fitness] = {}  # in the order of the ring
        for member in members:
            self.append(member)

    def append(self, member: Individual) -> None:
        """Add the newest member; a full window drops its oldest."""
        place = self._oldest
        if len(self._ring) < self.size:
            place = len(self._ring)
            self._ring.append(member)
        else:
            self._ring[place] = member
            self._oldest = (place + 1) % self.size
        for key, rows in self._rows.items():
            if place == len(rows):
                rows = self._rows[key] = np.concatenate([rows, np.empty_like(rows)])
            rows[place] = fitness([member.evaluation], *key)[0]

    def rows(
        self,
        objectives: tuple[str, ...],
        places: NDArray[np.intp] | None = None,
        plugins: tuple[str, ...] = (),
    ) -> Fitness:
        """The objectives of the members at some places of the window, members × objectives.

        Args:
            objectives: the run's objectives.
            places: the members' places in the window, in the order of the rows; None for all members.
            plugins: the run's `EvaluationProtocol.plugins`.
        """
        key = objectives, plugins
        rows = self._rows.get(key)
        if rows is None:
            rows = self._rows[key] = fitness([member.evaluation for member in self._ring], *key)
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
    """The newest `size` scored candidates, oldest first."""

    def __init__(self, size: int) -> None:
        self.members = Window(size)

    def add(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Append a scored candidate; a full window drops its oldest."""
        self.members.append(Individual(candidate, evaluation))

    def __len__(self) -> int:
        return len(self.members)


Selection = Callable[["Sequence[Individual]", np.random.Generator], Individual]
"""A function that chooses a parent among the members of a non-empty window."""


def pareto_front(scores: Fitness) -> NDArray[np.intp]:
    """The indices of the rows of `scores` (members × objectives, higher is better) that no other row dominates."""
    # Imported here because it takes most of a second, and only a running search needs it.
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    front = NonDominatedSorting().do(-scores, only_non_dominated_front=True)
    return np.sort(np.asarray(front, dtype=np.intp))


def _window(members: Sequence[Individual]) -> Window:
    return members if isinstance(members, Window) else Window(len(members), members)


@dataclass(frozen=True, slots=True)
class Tournament:
    """Tournament selection among a random share of the window.

    Attributes:
        share: the share of the window that takes part.
        smallest: the least number of members that take part, if the window has that many.
        objectives: the run's objectives, for the Pareto front.
        average: whether the best mean accuracy wins; otherwise a random member of the Pareto front wins.
        plugins: the run's `EvaluationProtocol.plugins`.
    """

    share: float
    smallest: int
    objectives: tuple[str, ...]
    average: bool = False
    plugins: tuple[str, ...] = ()

    def __call__(self, members: Sequence[Individual], rng: np.random.Generator) -> Individual:
        """The winner of one tournament."""
        size = min(len(members), max(self.smallest, round(self.share * len(members))))
        places = rng.choice(len(members), size=size, replace=False)
        if self.average:
            means = np.array([members[place].evaluation.mean for place in places.tolist()])
            best = np.flatnonzero(means == means.max())
        else:
            best = pareto_front(_window(members).rows(self.objectives, places, self.plugins))
        return members[int(places[int(rng.choice(best))])]


class Nsga2:
    """NSGA-II (Deb et al. 2002): binary tournaments among the window's best by rank and crowding distance.

    Args:
        survivors: how many members of the window survive.
        objectives: the run's objectives.
        plugins: the run's `EvaluationProtocol.plugins`.
    """

    def __init__(self, survivors: int, objectives: tuple[str, ...], plugins: tuple[str, ...] = ()) -> None:
        self.survivors, self.objectives, self.plugins = survivors, objectives, plugins
        self._sorted_for: tuple[int, ...] = ()
        self._sorted: list[tuple[int, float, Individual]] = []

    def __call__(self, members: Sequence[Individual], rng: np.random.Generator) -> Individual:
        """The better of two random survivors: the lower rank wins, at equal rank the larger crowding distance."""
        survivors = self._survive(members)
        one, other = (survivors[int(i)] for i in rng.integers(len(survivors), size=2))
        return min(one, other, key=lambda survivor: (survivor[0], -survivor[1]))[2]

    def _survive(self, members: Sequence[Individual]) -> list[tuple[int, float, Individual]]:
        """(rank, crowding distance, member) of each survivor; depends on the window alone."""
        window = tuple(member.candidate.index for member in members)
        if window != self._sorted_for:  # several parents are drawn between two changes of the window
            from pymoo.core.population import Population as Individuals
            from pymoo.core.problem import Problem
            from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

            scores = _window(members).rows(self.objectives, plugins=self.plugins)
            individuals = Individuals.new(F=-scores)
            survivors = RankAndCrowding().do(
                Problem(n_var=1, n_obj=scores.shape[1]),
                individuals,
                n_survive=self.survivors,
                random_state=np.random.default_rng(0),  # breaks ties at the cut the same way every time
                return_indices=True,
            )
            kept = [(individuals[i], members[i]) for i in sorted(survivors)]
            self._sorted = [(int(i.get("rank")), float(i.get("crowding")), member) for i, member in kept]
            self._sorted_for = window
        return self._sorted


_Family = list[tuple[float, Individual]]
"""The members of a family, best first, each with what it is compared by."""


class Families:
    """A parent from one of the best families: layers that do the same kind of thing compete among themselves.

    A family is as good as its best member. Of the best families two are drawn, and the better one wins; in it, a fifth
    of its members is drawn, and the best of them is the parent. Members are compared by `Outlook.cautious`. Of those
    families only so many descend from one root, the first ancestor of a family's best member, and only so many use the
    same statistics: otherwise the offspring of one lucky layer would fill the search, or layers of the kind that is
    ahead at first.

    Args:
        ladder: what is known of each member of the window.
        families: the number of the best families among which one is drawn.
        of_one_root: the share of them, from 0 to 1, that may have one root; one family may in any case.
        of_one_kind: the same for families with the same statistics.
    """

    SHARE = 0.2
    """The share of a family in a tournament, which has two members at least."""

    def __init__(self, ladder: Ladder, families: int, of_one_root: float = 1.0, of_one_kind: float = 1.0) -> None:
        self._ladder, self._number = ladder, families
        self._of_root, self._of_kind = (max(1, round(share * families)) for share in (of_one_root, of_one_kind))
        self._ranked_for: tuple[int, int] | None = None
        self._ranked: list[_Family] = []

    def __call__(self, members: Sequence[Individual], rng: np.random.Generator) -> Individual:
        """The parent."""
        families = self._families(members)
        family = families[int(rng.integers(len(families), size=2).min())]
        size = min(len(family), max(2, round(self.SHARE * len(family))))
        return family[int(rng.choice(len(family), size=size, replace=False).min())][1]

    def _families(self, members: Sequence[Individual]) -> list[_Family]:
        """The best families, best first, each with its members, best first; of equal ones the earlier comes first."""
        state = self._ladder.version, members[-1].candidate.index
        if state != self._ranked_for:
            groups: dict[Hashable, _Family] = {}
            for member in members:
                index = member.candidate.index
                rated = self._ladder.outlook(index).cautious, member
                groups.setdefault(self._ladder.family(index), []).append(rated)
            ranked = [sorted(group, key=lambda rated: -rated[0]) for group in groups.values()]
            self._ranked = self._of_several_origins(sorted(ranked, key=lambda group: -group[0][0]))
            self._ranked_for = state
        return self._ranked

    def _of_several_origins(self, ranked: Sequence[_Family]) -> list[_Family]:
        """The best families, best first, without those that come after too many others of their root or kind."""
        found, of_root, of_kind = list[_Family](), Counter[int](), Counter[Hashable]()
        for family in ranked:
            best = family[0][1].candidate.index
            root, kind = self._ladder.root(best), self._ladder.kind(best)
            if of_root[root] < self._of_root and of_kind[kind] < self._of_kind:
                found.append(family)
                of_root[root] += 1
                of_kind[kind] += 1
        return found[: self._number]


def _families(config: RunConfig, ladder: Ladder) -> Selection:
    return Families(ladder, config.families, config.of_one_root, config.of_one_kind)


def _tournament(config: RunConfig, average: bool = False) -> Selection:
    protocol = config.protocol
    share, smallest = config.tournament, config.smallest_tournament
    return Tournament(share, smallest, protocol.objectives, average, protocol.plugins)


def _nsga2(config: RunConfig, _: Ladder) -> Selection:
    return Nsga2(config.survivors, config.protocol.objectives, config.protocol.plugins)


SELECTIONS: dict[str, Callable[[RunConfig, Ladder], Selection]] = {
    "families": _families,
    "pareto": lambda config, _: _tournament(config),
    "average": lambda config, _: _tournament(config, average=True),
    "nsga2": _nsga2,
}
"""Makes the selection of a run, by the name of its strategy."""


def selection_of(config: RunConfig, ladder: Ladder) -> Selection:
    """The function by which a run chooses parents.

    Args:
        config: the configuration of the run.
        ladder: what is known of the run's scored candidates.

    Raises:
        UsageError: the strategy is unknown, or chooses no parents.
    """
    if config.strategy not in SELECTIONS:
        raise unknown("selection", config.strategy, SELECTIONS)
    return SELECTIONS[config.strategy](config, ladder)
