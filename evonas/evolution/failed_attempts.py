"""The cost of failed attempts at a candidate, and the reasons for their failure."""

from __future__ import annotations

from dataclasses import replace

from evonas.settings.candidate import FAILED_ATTEMPTS, Evaluation, Status


class FailedAttempts:
    """The failed attempts at candidates whose evaluation has not finished."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}  # core-seconds, by index
        self._reasons: dict[int, tuple[str, ...]] = {}

    def charged(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with the cost and the reasons of earlier failed attempts at the candidate added.

        An evaluation that failed is itself remembered as a failed attempt.
        """
        evaluation = self._with_reasons(evaluation)
        earlier = self._seconds.pop(evaluation.index, 0.0)
        lost = earlier + evaluation.seconds.get(FAILED_ATTEMPTS, 0.0)
        if not lost:
            return evaluation
        self._seconds[evaluation.index] = lost
        return replace(evaluation, seconds={**evaluation.seconds, FAILED_ATTEMPTS: lost})

    def forget(self, index: int) -> None:
        """Forget the attempts at a candidate whose evaluation has finished."""
        self._seconds.pop(index, None)
        self._reasons.pop(index, None)

    def _with_reasons(self, evaluation: Evaluation) -> Evaluation:
        earlier = self._reasons.pop(evaluation.index, ())
        if evaluation.status is Status.FAILED:
            self._reasons[evaluation.index] = (*earlier, evaluation.reason)
        # A failure that repeats is reported once.
        reasons = [f"attempt {n} failed: {why}" for n, why in enumerate(earlier, 1) if why != evaluation.reason]
        return replace(evaluation, reason="; ".join(filter(None, [evaluation.reason, *reasons])))
