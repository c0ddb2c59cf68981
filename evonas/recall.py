"""Cheap filters that take up what earlier sessions of a run have found, without evaluating it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evonas.filters import CheapFilters

if TYPE_CHECKING:
    from evonas.candidate import Known


class RecallingFilters(CheapFilters):
    """The cheap filters of a search that may be resumed."""

    @property
    def start(self) -> bytes | None:
        """What the graph that was remembered last responds where training starts; see `Candidate.start`."""
        return self._twins.latest

    def recall(self, known: Known) -> bool:
        """Counts later graphs as duplicates or twins of a candidate of an earlier session.

        Returns:
            Whether that is all; else what it responds at the start of training is not on record, and it should be
            remembered from its graph.
        """
        self._keys.add(known.key)
        self._functional_keys.add(known.functional_key)
        if known.start is None:
            return self._twins.tolerance == 0.0
        self._twins.recall(known.start)
        return True
