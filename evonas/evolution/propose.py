"""Drawing candidates: the part of a search in which chance plays.

Candidate i is drawn from a generator keyed by the run's seed and i, and depends on nothing but the
candidates before it and the population it is shown. Proposals are made until one passes the cheap
filters; those that fall cost no budget and are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evonas.judging.cheap_filters import SAMPLING, SELECTION, CheapFilters, Passed, Tally
from evonas.judging.selection import Population, selection_of
from evonas.language.graph import Graph
from evonas.settings.candidate import Candidate, Origin, OriginKind
from evonas.settings.search_space import generator

if TYPE_CHECKING:
    import numpy as np

    from evonas.settings.run_config import RunConfig

MAX_PROPOSALS = 20_000
"""Proposals in a row without a new candidate after which the space counts as exhausted."""

_DRAW = 0  # the first counter of a candidate's generator, apart from those of other uses of the seed


class SpaceExhausted(Exception):  # noqa: N818  # it ends a search, and is no error
    """No new candidate was found in `MAX_PROPOSALS` proposals."""


class Proposer:
    """Draws the candidates of one run, in order of their index."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.filters = CheapFilters(config.twins)
        self._select = None if config.strategy == "random" else selection_of(config)

    def remember(self, candidate: Candidate) -> None:
        """Takes note of a candidate drawn in an earlier session of the run."""
        self.filters.remember(candidate.graph, candidate.key, candidate.functional_key)

    def draw(self, index: int, population: Population) -> Candidate:
        """Candidate `index`, given the population that it may know.

        Raises:
            SpaceExhausted: when no new graph was found.
        """
        rng = generator(self.config.seed, _DRAW, index)
        tally = Tally()
        for attempt in range(MAX_PROPOSALS):
            # A seed graph that falls, a duplicate say, leaves its place to what the search would draw.
            is_seed = attempt == 0 and index < len(self.config.seed_graphs)
            graph, origin = self._seeded(index, rng) if is_seed else self._propose(population, rng, tally)
            tally.spent(SAMPLING)
            result = self.filters.judge(graph, tally)
            if isinstance(result, Passed):
                self.filters.remember(graph, result.key, result.functional_key)
                return Candidate(
                    index,
                    graph,
                    result.key,
                    result.functional_key,
                    origin,
                    dict(tally.discarded),
                    dict(tally.seconds),
                )
        raise SpaceExhausted

    def _seeded(self, index: int, rng: np.random.Generator) -> tuple[Graph, Origin]:
        seed_graph = Graph.from_json(self.config.seed_graphs[index])
        return self.config.space.embed(seed_graph, rng), Origin(OriginKind.SEED)

    def _propose(self, population: Population, rng: np.random.Generator, tally: Tally) -> tuple[Graph, Origin]:
        config = self.config
        fresh = rng.random() < config.fresh
        if self._select is None or fresh or not population:
            return config.space.random_graph(rng), Origin(OriginKind.RANDOM)
        members = population.members
        parent = self._select(members, rng).candidate
        tally.spent(SELECTION)
        graph, mutations = parent.graph, []
        for _ in range(config.mutations):
            graph, change = config.space.mutate(graph, rng)
            mutations.append(change)
        return graph, Origin(OriginKind.MUTATION, parent.index, tuple(mutations))
