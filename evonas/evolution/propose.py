"""Drawing candidates, which is the random part of a search.

Candidate i is drawn from a generator keyed by the run's seed and i; it depends only on that, the candidates before it
and the population. Proposals are made until one passes the cheap filters. Rejected proposals are counted and cost no
budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from evonas.evolution.user_proposals import UserProposals
from evonas.judging.cheap_filters import PROSPECTS, SAMPLING, SELECTION, STRIDE, CheapFilters, Passed, Tally
from evonas.judging.prospects import Prospects
from evonas.judging.rungs import Ladder
from evonas.judging.selection import Population, selection_of
from evonas.judging.start_twins import sketch, start_distance
from evonas.language.graph import Graph
from evonas.settings.candidate import Candidate, Origin, OriginKind
from evonas.settings.search_space import generator

if TYPE_CHECKING:
    import numpy as np

    from evonas.settings.run_config import RunConfig

MAX_PROPOSALS = 20_000
"""The number of consecutive rejected proposals after which the space counts as exhausted."""
TRIES = 20
"""Proposals, for each that is wanted to choose from, after which a parent has no more. With `MOST_CHOICES` of them
there is one parent before the space counts as exhausted."""

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
        known = ladder or Ladder.of(config)
        self._select = None if config.strategy == "random" else selection_of(config, known)
        self._users = UserProposals(config, known) if config.propose else None

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
            UsageError: the user's function raised an exception, or answered what it may not.
        """
        rng = generator(self.config.seed, _DRAW, index)
        tally = Tally()
        if index < len(self.config.seed_graphs) and (seeded := self._seeded(index, rng, tally)):
            return self._remembered(index, seeded, tally)
        # A rejected seed graph, such as a duplicate, is replaced by a proposal of the search; so are a user's.
        if self._users is not None and rng.random() < self.config.proposed:
            answers = self._users.answers(population, rng, tally)
            if found := next(filter(None, (self._passing(*answer, tally) for answer in answers)), None):
                return self._remembered(index, found, tally)
        several = self.config.choices > 1 and rng.random() >= self.config.strays
        chosen = self._chosen(population, rng, tally) if several else self._first(population, rng, tally)
        return self._remembered(index, chosen, tally)

    def _remembered(self, index: int, chosen: _Proposal, tally: Tally) -> Candidate:
        graph, keys = chosen.graph, chosen.keys
        self.filters.remember(graph, keys.key, keys.functional_key)
        counts = dict(tally.discarded), dict(tally.seconds)
        return Candidate(index, graph, keys.key, keys.functional_key, chosen.origin, *counts)

    def _seeded(self, index: int, rng: np.random.Generator, tally: Tally) -> _Proposal | None:
        """The seed graph with this index, unless a cheap filter rejects it."""
        graph = self.config.space.embed(Graph.from_json(self.config.seed_graphs[index]), rng)
        return self._passing(graph, Origin(OriginKind.SEED), tally)

    def _passing(self, graph: Graph, origin: Origin, tally: Tally) -> _Proposal | None:
        """A graph that was just made as a proposal, if it passes the cheap filters."""
        tally.spent(SAMPLING)
        result = self.filters.judge(graph, tally)
        return _Proposal(graph, result, origin) if isinstance(result, Passed) else None

    def _first(self, population: Population, rng: np.random.Generator, tally: Tally) -> _Proposal:
        """The first proposal that passes the cheap filters, of parents that are drawn anew for each."""
        for _ in range(MAX_PROPOSALS):
            if proposal := self._proposal(self._parent(population, rng, tally), rng, tally):
                return proposal
        raise SpaceExhausted

    def _chosen(self, population: Population, rng: np.random.Generator, tally: Tally) -> _Proposal:
        """The most appealing of several proposals that pass the cheap filters, of equal ones the first.

        All of them are offspring of one parent, or random graphs: who reproduces is for selection to say, and not for
        how many good layers happen to be around.
        """
        wanted = self.config.choices
        tries = TRIES * wanted
        for _ in range(MAX_PROPOSALS // tries):
            parent = self._parent(population, rng, tally)
            proposals = (self._proposal(parent, rng, tally) for _ in range(tries))
            if found := list(islice(filter(None, proposals), wanted)):
                appeals = [self._prospects.of(sketch(proposal.graph.canonical)).appeal for proposal in found]
                tally.spent(PROSPECTS)
                tally.discarded[PROSPECTS] += len(found) - 1
                return found[appeals.index(max(appeals))]
        raise SpaceExhausted

    def _parent(self, population: Population, rng: np.random.Generator, tally: Tally) -> Candidate | None:
        """The parent of a proposal; None if it is to be a random graph."""
        fresh = rng.random() < self.config.fresh
        if self._select is None or fresh or not population:
            return None
        parent = self._select(population.members, rng).candidate
        tally.spent(SELECTION)
        return parent

    def _proposal(self, parent: Candidate | None, rng: np.random.Generator, tally: Tally) -> _Proposal | None:
        """An offspring of a parent, or a random graph, if it passes the cheap filters."""
        if parent is None:
            return self._passing(self.config.space.random_graph(rng), Origin(OriginKind.RANDOM), tally)
        found = self._passing(*self._offspring(parent, rng), tally)
        return found if found and self._in_stride(found.graph, parent.graph, rng, tally) else None

    def _offspring(self, parent: Candidate, rng: np.random.Generator) -> tuple[Graph, Origin]:
        config, graph, mutations = self.config, parent.graph, []
        several = config.mutation == "edit"
        for _ in range(1 + int(rng.integers(config.mutations)) if several else config.mutations):
            graph, change = self._mutate(graph, rng)
            mutations.append(change)
        return graph, Origin(OriginKind.MUTATION, parent.index, tuple(mutations))

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
