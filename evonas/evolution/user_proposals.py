"""What a user's own function proposes (`evonas.settings.proposals`), as graphs of the space."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from evonas.errors import EvonasError, UsageError, shorten
from evonas.judging.cheap_filters import PROPOSAL, SAMPLING, Tally
from evonas.language.graph import Graph
from evonas.language.zoo import as_graph
from evonas.settings.candidate import Origin, OriginKind
from evonas.settings.plugins import errors_in_file, file_of
from evonas.settings.proposals import PROPOSING_REGISTRY, KnownLayer, Proposal

if TYPE_CHECKING:
    import numpy as np

    from evonas.judging.rungs import Ladder
    from evonas.judging.selection import Population
    from evonas.settings.run_config import RunConfig

_NOTE = 200
"""Characters of a note that are recorded."""
ANSWERS = 20
"""How often the function is asked for one candidate, as long as its answers are rejected."""


class UserProposals:
    """Asks the function that a configuration names.

    Args:
        config: the configuration of the run, with a function; its file must have been loaded.
        ladder: what is known of the run's scored candidates.

    Raises:
        UsageError: there is no such function.
    """

    def __init__(self, config: RunConfig, ladder: Ladder) -> None:
        self._config, self._ladder = config, ladder
        self._function = PROPOSING_REGISTRY.find(config.propose)
        self._warned = False

    def answers(self, population: Population, rng: np.random.Generator, tally: Tally) -> Iterator[tuple[Graph, Origin]]:
        """The answers for one candidate that are layers of the space, until the function has none or was asked enough.

        Raises:
            UsageError: the function raised an exception, or named a parent that it was not given.
        """
        known = self._known(population)
        for _ in range(ANSWERS):
            with self._errors(), errors_in_file(file_of(self._config.propose)):
                answer = self._function(known, rng)
            if answer is None:
                return
            made = answer if isinstance(answer, Proposal) else Proposal(answer)
            if made.parent is not None and not (
                isinstance(made.parent, int) and any(made.parent == layer.index for layer in known)
            ):
                raise UsageError(
                    f"{self._config.propose} names {shorten(made.parent)} as a parent, which is no candidate that it "
                    "was given: a parent is the index of one of those, or None"
                )
            if (graph := self._in_space(made.layer, rng)) is None:
                tally.spent(SAMPLING)
                tally.discarded[PROPOSAL] += 1
            else:
                note = " ".join(str(made.note).split())
                yield graph, Origin(OriginKind.PROPOSED, made.parent, (note[:_NOTE],) if note else ())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            raise UsageError(
                f"{error}; what was judged is recorded, and `evonas resume` asks the function again"
            ) from None

    def _known(self, population: Population) -> list[KnownLayer]:
        """What the function is given."""
        layers = []
        for member in population.members:
            candidate, evaluation = member.candidate, member.evaluation
            by_all = self._ladder.outlook(candidate.index).cautious if self._config.uses_ladder else evaluation.mean
            layers.append(KnownLayer(candidate.index, candidate.graph.canonical, by_all, dict(evaluation.scores)))
        return sorted(layers, key=lambda layer: -layer.score)

    def _in_space(self, layer: Graph | str, rng: np.random.Generator) -> Graph | None:
        """An answer as a graph of the space; None if it is none, which is said the first time."""
        try:
            if not isinstance(layer, Graph | str):
                raise UsageError("it must be an expression, a graph, a Proposal or None")
            return self._config.space.embed(as_graph(layer), rng)
        except EvonasError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{self._config.propose} proposed {shorten(layer)}, which is left out: {error} (such answers are "
                    f"counted as “{PROPOSAL}”, and this is said once)",
                    stacklevel=2,
                )
            return None
