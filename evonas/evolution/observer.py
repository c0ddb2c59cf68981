"""Whoever watches a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from evonas.settings.candidate import Candidate, Evaluation


class Observer(Protocol):
    """Whoever watches a search: the live display, a log, a test."""

    def drawn(self, candidate: Candidate) -> None:
        """A candidate was drawn and recorded."""

    def evaluated(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """A candidate's evaluation was recorded."""

    def referenced(self, layer: str, evaluation: Evaluation) -> None:
        """A published layer was scored, or failed to be, for comparison."""

    def tick(self, pending: int) -> None:
        """Called at least every `evonas.evolution.loop.POLL_SECONDS`; `pending` evaluations are out."""
