"""Judging mutants: each is put into a copy of the project, tests run until one fails, and the verdict is recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.mutants.changes import Mutant
from benchmarks.mutants.choosing import Choice
from benchmarks.mutants.sources import Digests
from benchmarks.mutants.workers import Worker, share

SLOW = 3.0
"""Seconds above which a test probably starts processes and waits for them."""
CAUGHT, SURVIVED, CUT_SHORT, EQUIVALENT = "caught", "survived", "cut short", "equivalent"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a mutant.

    Attributes:
        key: key of the mutant.
        code: digest of the code.
        basis: digest of the test file that caught it, or of all tests if none did.
        verdict: caught, survived, or cut short: no test failed in time, and some were not run.
        path: path of the file.
        line: number of the line.
        text: text of the line.
        change: the change in one line.
        kind: the kind of change.
        old: the text that was replaced.
        new: the text that replaced it.
        room: room of the file.
        by: the test that failed, or the test that was running when tests hung or ended the process.
        detail: the message of the failure.
        tests: number of tests that passed.
        left: number of tests that were not run.
        limit: the limit in CPU seconds of tests.
        seconds: wall-clock seconds of the judgement.
        unrun: whether no test is known to run the line.
    """

    key: str
    code: str
    basis: str
    verdict: str
    path: str
    line: int
    text: str
    change: str
    kind: str
    old: str
    new: str
    room: str
    by: str
    detail: str
    tests: int
    left: int
    limit: float
    seconds: float
    unrun: bool


class Verdicts:
    """Verdicts in a file, one line each, written at once.

    A verdict is valid as long as the code and the test file that caught the mutant are the same, or all tests if none
    did.

    Args:
        file: file of verdicts, which may include verdicts on other code.
        digests: digests of the current code and tests.
        limit: CPU seconds per mutant; a mutant that was cut short with a lower limit is judged again.
    """

    def __init__(self, file: Path, digests: Digests, limit: float) -> None:
        self._file, self.digests, self.limit = file, digests, limit
        self.known: dict[str, Verdict] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                try:
                    verdict = Verdict(**json.loads(line))
                except (ValueError, TypeError):
                    continue  # an incomplete line, left by an interruption
                short = verdict.verdict == CUT_SHORT and verdict.limit < limit
                same = (verdict.code, verdict.basis) == (digests.code, basis(digests, verdict.verdict, verdict.by))
                if same and not short:
                    self.known[verdict.key] = verdict

    def add(self, verdict: Verdict) -> None:
        """Record a verdict."""
        self.known[verdict.key] = verdict
        self._file.parent.mkdir(parents=True, exist_ok=True)
        whole = not self._file.exists() or self._file.read_bytes()[-1:] in (b"", b"\n")
        with self._file.open("a") as file:
            file.write(("" if whole else "\n") + json.dumps(asdict(verdict)) + "\n")
            file.flush()


def basis(digests: Digests, verdict: str, by: str) -> str:
    """Return the digest of the tests that a verdict depends on."""
    file = by.rpartition(": ")[2].partition("::")[0]  # "hung: tests/…::…"
    return digests.tests.get(file, digests.whole) if verdict == CAUGHT else digests.whole


def judge(
    mutants: Sequence[Mutant],
    verdicts: Verdicts,
    choose: Callable[[Mutant], Choice],
    usual: dict[str, float],
    employ: Callable[[], Worker],
    jobs: int,
) -> None:
    """Judge the mutants that have no verdict yet, and print each verdict.

    Args:
        mutants: the mutants to judge.
        verdicts: the verdicts so far, to which new ones are added.
        choose: chooses the tests for a mutant.
        usual: usual seconds of each test.
        employ: creates a worker.
        jobs: number of workers.
    """
    left = [mutant for mutant in mutants if mutant.key not in verdicts.known]
    done = len(mutants) - len(left)
    if done:
        print(f"{done} of {len(mutants)} are judged already", flush=True)
    counted = [done]

    def work(worker: Worker, mutant: Mutant) -> Verdict:
        return judged(worker, mutant, choose(mutant), usual, verdicts.digests, verdicts.limit)

    def note(mutant: Mutant, verdict: Verdict) -> None:
        verdicts.add(verdict)
        counted[0] += 1
        where = f"{verdict.verdict:9s}  {verdict.path}:{verdict.line}  {verdict.by or verdict.change}"
        print(f"{counted[0]:4d} of {len(mutants)}  {verdict.seconds:5.1f} s  {where}", flush=True)

    share(left, jobs, employ, work, note)


def judged(
    worker: Worker, mutant: Mutant, choice: Choice, usual: dict[str, float], digests: Digests, limit: float
) -> Verdict:
    """Judge one mutant in a worker's copy, which is restored afterwards."""
    file = worker.root / mutant.path
    before = file.read_bytes()
    start = time.monotonic()
    file.write_bytes(mutant.applied(before))
    try:
        answer = _noticed(worker, choice.batches, limit, usual)
    finally:
        file.write_bytes(before)
    if answer["outcome"] == "gone":
        raise RuntimeError("stopped")
    left = [name for name in answer.get("left", ()) if name in choice.wanted]
    caught = answer["outcome"] != "passed"
    verdict = CAUGHT if caught else CUT_SHORT if left else SURVIVED
    by = answer.get("test", "") if answer["outcome"] == "failed" else f"{answer['outcome']}: {answer.get('test', '')}"
    return Verdict(
        key=mutant.key,
        code=digests.code,
        basis=basis(digests, verdict, by),
        verdict=verdict,
        path=mutant.path,
        line=mutant.line,
        text=mutant.text,
        change=mutant.change,
        kind=mutant.kind,
        old=mutant.old,
        new=mutant.new,
        room=mutant.room,
        by=by if caught else "",
        detail=answer.get("detail", ""),
        tests=answer["done"],
        left=0 if caught else len(left),
        limit=limit,
        seconds=round(time.monotonic() - start, 1),
        unrun=choice.unrun,
    )


def _noticed(worker: Worker, batches: Sequence[Sequence[str]], limit: float, usual: dict[str, float]) -> dict[str, Any]:
    """Run tests. A slow test that fails is run again, because some of them fail on a busy machine."""
    while True:
        answer = worker.tests(batches, limit, usual)
        test = answer.get("test", "")
        sure = answer["outcome"] == "failed" and usual.get(test, 0.0) < SLOW
        if answer["outcome"] in ("passed", "gone") or sure or test not in usual:
            return answer
        if worker.tests([[test]], limit, usual)["outcome"] != "passed":
            return answer
        batches = [[name for name in batch if name != test] for batch in batches]
        batches = [batch for batch in batches if batch]


def document(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return verdicts for JSON."""
    return [{k: v for k, v in asdict(verdict).items() if k not in ("code", "basis", "limit")} for verdict in verdicts]
