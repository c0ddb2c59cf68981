"""The cost of failed attempts at a candidate, and the reasons for their failure."""

from __future__ import annotations

from dataclasses import replace

from evonas.settings.candidate import FAILED_ATTEMPTS, Evaluation, Status


class FailedAttempts:
    """The failed attempts at candidates whose evaluation has not finished."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, int], float] = {}  # core-seconds, by `Evaluation.key`
        self._reasons: dict[tuple[int, int], tuple[str, ...]] = {}

    def charged(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with the cost and the reasons of earlier failed attempts at the candidate added.

        An evaluation that failed is itself remembered as a failed attempt.
        """
        evaluation = self._with_reasons(evaluation)
        earlier = self._seconds.pop(evaluation.key, 0.0)
        lost = earlier + evaluation.seconds.get(FAILED_ATTEMPTS, 0.0)
        if not lost:
            return evaluation
        self._seconds[evaluation.key] = lost
        return replace(evaluation, seconds={**evaluation.seconds, FAILED_ATTEMPTS: lost})

    def forget(self, key: tuple[int, int]) -> None:
        """Forget the attempts at an evaluation that has finished."""
        self._seconds.pop(key, None)
        self._reasons.pop(key, None)

    def _with_reasons(self, evaluation: Evaluation) -> Evaluation:
        earlier = self._reasons.pop(evaluation.key, ())
        if evaluation.status is Status.FAILED:
            self._reasons[evaluation.key] = (*earlier, evaluation.reason)
        # A failure that repeats is reported once.
        reasons = [f"attempt {n} failed: {why}" for n, why in enumerate(earlier, 1) if why != evaluation.reason]
        return replace(evaluation, reason="; ".join(filter(None, [evaluation.reason, *reasons])))
