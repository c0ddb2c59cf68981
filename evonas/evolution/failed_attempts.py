"""What attempts at a candidate have cost that failed, and why they did."""

from __future__ import annotations

from dataclasses import replace

from evonas.settings.candidate import FAILED_ATTEMPTS, Evaluation, Status


class Attempts:
    """Keeps the failed attempts at candidates that are being evaluated."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}  # core-seconds, by index
        self._reasons: dict[int, tuple[str, ...]] = {}

    def charged(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation, charged with what failed attempts before it have cost, and with why they failed."""
        evaluation = self._with_reasons(evaluation)
        earlier = self._seconds.pop(evaluation.index, 0.0)
        lost = earlier + evaluation.seconds.get(FAILED_ATTEMPTS, 0.0)
        if not lost:
            return evaluation
        self._seconds[evaluation.index] = lost
        return replace(evaluation, seconds={**evaluation.seconds, FAILED_ATTEMPTS: lost})

    def forget(self, index: int) -> None:
        """The candidate is done with."""
        self._seconds.pop(index, None)
        self._reasons.pop(index, None)

    def _with_reasons(self, evaluation: Evaluation) -> Evaluation:
        earlier = self._reasons.pop(evaluation.index, ())
        if evaluation.status is Status.FAILED:
            self._reasons[evaluation.index] = (*earlier, evaluation.reason)
        # One that fails in the same way again and again says so once.
        told = [f"attempt {n} failed: {why}" for n, why in enumerate(earlier, 1) if why != evaluation.reason]
        return replace(evaluation, reason="; ".join(filter(None, [evaluation.reason, *told])))
