"""The costs and reasons of failed attempts, kept until their candidate is finished."""

from __future__ import annotations

from dataclasses import replace

from evonas.evolution.executor import Task
from evonas.evolution.failed_attempts import FailedAttempts
from evonas.settings.candidate import FAILED_ATTEMPTS, Evaluation, Status
from tests.fakes import FakeExecutor, config
from tests.test_evolution import searched


def failed(index: int, reason: str, lost: float = 0.0) -> Evaluation:
    return Evaluation(index, Status.FAILED, seconds={FAILED_ATTEMPTS: lost} if lost else {}, reason=reason)


def test_seconds_add_up_and_each_reason_is_told_with_its_attempt() -> None:
    attempts = FailedAttempts()
    first = attempts.charged(failed(3, "it died", 2.0))
    assert (first.seconds, first.reason) == ({FAILED_ATTEMPTS: 2.0}, "it died")
    assert attempts.charged(failed(4, "alone", 64.0)).seconds == {FAILED_ATTEMPTS: 64.0}
    second = attempts.charged(failed(3, "it hung", 4.0))
    assert (second.seconds, second.reason) == ({FAILED_ATTEMPTS: 6.0}, "it hung; attempt 1 failed: it died")
    third = attempts.charged(failed(3, "it died"))  # which cost nothing, and fails as the first did
    assert (third.seconds, third.reason) == ({FAILED_ATTEMPTS: 6.0}, "it died; attempt 2 failed: it hung")
    last = attempts.charged(Evaluation(3, Status.SCORED, {"wide": 0.5}, seconds={"wide": 1.0}))
    assert last.seconds == {"wide": 1.0, FAILED_ATTEMPTS: 6.0}
    assert last.reason == "attempt 1 failed: it died; attempt 2 failed: it hung; attempt 3 failed: it died"


def test_what_did_not_fail_stays_as_it_is() -> None:
    attempts, one = (
        FailedAttempts(),
        Evaluation(5, Status.SCORED, {"wide": 0.5}, seconds={"wide": 1.0}, reason="diverged"),
    )
    assert attempts.charged(one) == one
    attempts.charged(failed(6, "it died", 2.0))
    attempts.forget((6, 0))
    assert attempts.charged(failed(6, "anew", 1.0)) == failed(6, "anew", 1.0)


def test_a_run_records_what_its_failures_cost() -> None:
    """They count towards the limit on the workers' time: each candidate takes 3 s, of which 2 are lost."""

    def flaky(task: Task) -> Evaluation:
        if task.attempt < 3:
            return replace(failed(task.index, f"fault {task.attempt}", 1.0), attempts=task.attempt)
        return Evaluation(task.index, Status.REJECTED, seconds={"wide": 1.0})  # the loop knows which attempt it was

    store, run = searched(config(max_attempts=3, budget=50, core_minutes=0.2), FakeExecutor(1, 1, flaky))
    found = list(store.evaluations(run.id))
    assert 4 <= len(found) <= 5  # 12 s, and one more is drawn ahead
    assert {e.reason for e in found} == {"attempt 1 failed: fault 1; attempt 2 failed: fault 2"}
    assert all(e.seconds == {"wide": 1.0, FAILED_ATTEMPTS: 2.0} and e.attempts == 3 for e in found)
