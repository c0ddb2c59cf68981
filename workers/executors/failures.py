"""Failed evaluations, as every executor records them: the reason, and the time that was spent."""

from __future__ import annotations

import traceback
from time import monotonic
from typing import TYPE_CHECKING

from evonas.settings.candidate import FAILED_ATTEMPTS, Evaluation, Status

if TYPE_CHECKING:
    from evonas.evolution.executor import Task


def failed_evaluation(task: Task, started: float, reason: str) -> Evaluation:
    """Make the evaluation of a failed task. The seconds since `started`, a time of `monotonic`, count as spent."""
    spent = monotonic() - started
    return Evaluation(
        task.index,
        Status.FAILED,
        seconds={FAILED_ATTEMPTS: spent},
        reason=reason,
        attempts=task.attempt,
        wall=spent,
        rung=task.rung,
    )


def describe_error(error: BaseException) -> str:
    """Describe an error and the line that raised it, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300] + place
