"""The interface of observers of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from evonas.judging.floors import TurnedAway
    from evonas.settings.candidate import Candidate, Evaluation


class Observer(Protocol):
    """Is notified of the events of a search: a live display, a log, a test."""

    def drawn(self, candidate: Candidate) -> None:
        """Called when a candidate has been drawn and recorded."""

    def evaluated(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Called when the evaluation of a candidate has been recorded."""

    def referenced(self, layer: str, evaluation: Evaluation) -> None:
        """Called when the evaluation of a published layer, for comparison, has finished or failed."""

    def turned_away(self, layer: TurnedAway) -> None:
        """Called for each published layer that a filter of the run would reject, as soon as that is known."""

    def tick(self, pending: int) -> None:
        """Called at least every `evonas.evolution.loop.POLL_SECONDS`, while `pending` evaluations are in flight."""


@runtime_checkable
class PromotionObserver(Protocol):
    """An observer that is also notified of longer trainings. Others need not have the method."""

    def promoted(self, evaluation: Evaluation) -> None:
        """Called when a longer training of a candidate (`Evaluation.rung`) has been recorded."""
