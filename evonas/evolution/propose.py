"""Drawing candidates, which is the random part of a search.

Candidate i is drawn from a generator keyed by the run's seed and i; it depends only on that, the candidates before it
and the population. Proposals are made until one passes the cheap filters. Rejected proposals are counted and cost no
budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from evonas.judging.cheap_filters import PROSPECTS, SAMPLING, SELECTION, STRIDE, CheapFilters, Passed, Tally
from evonas.judging.prospects import Prospects
from evonas.judging.rungs import Ladder
from evonas.judging.selection import Population, selection_of
from evonas.judging.start_twins import sketch, start_distance
from evonas.language.graph import Graph
from evonas.settings.candidate import Candidate, Origin, OriginKind
from evonas.settings.search_space import generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from evonas.settings.run_config import RunConfig

MAX_PROPOSALS = 20_000
"""The number of consecutive rejected proposals after which the space counts as exhausted."""

_DRAW = 0  # the first counter of a candidate's generator, which no other use of the seed shares


class SpaceExhausted(Exception):  # noqa: N818  # it ends a search, and is not an error
    """No new candidate was found in `MAX_PROPOSALS` proposals."""


@dataclass(frozen=True, slots=True)
class _Proposal:
    """A graph that passed the cheap filters."""

    graph: Graph
    keys: Passed
    origin: Origin


class Proposer:
    """Draws the candidates of one run, in order of index.

    Args:
        config: the configuration of the run.
        ladder: what is known of its scored candidates, for strategies that select by it; by default nothing.
        prospects: what became of its candidates, by which one of several proposals is chosen; by default nothing.
    """

    def __init__(self, config: RunConfig, ladder: Ladder | None = None, prospects: Prospects | None = None) -> None:
        self.config = config
        self._prospects = prospects or Prospects()
        self.filters = CheapFilters(config.twins)
        known = ladder or Ladder(len(config.rungs), config.promotion)
        self._select = None if config.strategy == "random" else selection_of(config, known)

    def remember(self, candidate: Candidate) -> None:
        """Add a candidate that was drawn in an earlier session of the run."""
        self.filters.remember(candidate.graph, candidate.key, candidate.functional_key)

    def draw(self, index: int, population: Population) -> Candidate:
        """Draw a candidate.

        Args:
            index: its index.
            population: the population after the results of all candidates up to index − lookahead.

        Raises:
            SpaceExhausted: no new graph was found.
        """
        rng = generator(self.config.seed, _DRAW, index)
        tally = Tally()
        if index < len(self.config.seed_graphs) and (seeded := self._seeded(index, rng, tally)):
            return self._remembered(index, seeded, tally)
        # A rejected seed graph, such as a duplicate, is replaced by a proposal of the search.
        several = self.config.choices > 1 and rng.random() >= self.config.strays
        found = list(islice(self._proposals(population, rng, tally), self.config.choices if several else 1))
        if not found:
            raise SpaceExhausted
        return self._remembered(index, self._most_promising(found, tally), tally)

    def _remembered(self, index: int, chosen: _Proposal, tally: Tally) -> Candidate:
        graph, keys = chosen.graph, chosen.keys
        self.filters.remember(graph, keys.key, keys.functional_key)
        counts = dict(tally.discarded), dict(tally.seconds)
        return Candidate(index, graph, keys.key, keys.functional_key, chosen.origin, *counts)

    def _most_promising(self, proposals: Sequence[_Proposal], tally: Tally) -> _Proposal:
        """The proposal that promises most, of equal ones the first."""
        if len(proposals) == 1:
            return proposals[0]
        promises = [self._prospects.promise(sketch(proposal.graph.canonical)) for proposal in proposals]
        tally.spent(PROSPECTS)
        tally.discarded[PROSPECTS] += len(proposals) - 1
        return proposals[promises.index(max(promises))]

    def _proposals(self, population: Population, rng: np.random.Generator, tally: Tally) -> Iterator[_Proposal]:
        """Proposals that pass the cheap filters, until none is found any more."""
        rejected = 0
        while rejected < MAX_PROPOSALS:
            graph, origin, parent = self._propose(population, rng, tally)
            tally.spent(SAMPLING)
            result = self.filters.judge(graph, tally)
            rejected += 1
            if isinstance(result, Passed) and (parent is None or self._in_stride(graph, parent.graph, rng, tally)):
                rejected = 0
                yield _Proposal(graph, result, origin)

    def _seeded(self, index: int, rng: np.random.Generator, tally: Tally) -> _Proposal | None:
        """The seed graph with this index, unless a cheap filter rejects it."""
        graph = self.config.space.embed(Graph.from_json(self.config.seed_graphs[index]), rng)
        tally.spent(SAMPLING)
        result = self.filters.judge(graph, tally)
        return _Proposal(graph, result, Origin(OriginKind.SEED)) if isinstance(result, Passed) else None

    def _propose(
        self, population: Population, rng: np.random.Generator, tally: Tally
    ) -> tuple[Graph, Origin, Candidate | None]:
        """A proposal, its origin, and its parent; None for a random graph."""
        config = self.config
        fresh = rng.random() < config.fresh
        if self._select is None or fresh or not population:
            return config.space.random_graph(rng), Origin(OriginKind.RANDOM), None
        members = population.members
        parent = self._select(members, rng).candidate
        tally.spent(SELECTION)
        graph, mutations = parent.graph, []
        several = config.mutation == "edit"
        for _ in range(1 + int(rng.integers(config.mutations)) if several else config.mutations):
            graph, change = self._mutate(graph, rng)
            mutations.append(change)
        return graph, Origin(OriginKind.MUTATION, parent.index, tuple(mutations)), parent

    def _mutate(self, graph: Graph, rng: np.random.Generator) -> tuple[Graph, str]:
        space, mutation = self.config.space, self.config.mutation
        if mutation == "node":
            return space.mutate(graph, rng)
        if mutation == "edit" and rng.random() < 0.5 and (longer := space.insert(graph, rng)) is not None:
            return longer
        return space.mutate_part(graph, rng)

    def _in_stride(self, graph: Graph, parent: Graph, rng: np.random.Generator, tally: Tally) -> bool:
        """Whether an offspring is to be judged, by how far it is from its parent.

        One that does nearly the same scores alike, and one that does something else can mostly not be trained, so a
        share of these is enough.
        """
        if not self.config.stride:
            return True
        nearest, farthest = self.config.stride
        judged = nearest <= start_distance(graph.canonical, parent.canonical) <= farthest
        judged = judged or bool(rng.random() < self.config.strays)
        tally.spent(STRIDE)
        if not judged:
            tally.discarded[STRIDE] += 1
        return judged
