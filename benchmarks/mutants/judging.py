"""Judges mutants: puts each into a copy of the project, runs tests until one fails, and notes what became of it."""

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
"""Seconds of tests that start processes and wait for them."""
CAUGHT, SURVIVED, CUT_SHORT, EQUIVALENT = "caught", "survived", "cut short", "equivalent"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        key: of the mutant.
        code: a digest of the code.
        basis: a digest of the file of tests that noticed, or of all where none did.
        verdict: caught, survived, or cut short: no test failed in time, and some were left.
        path: of the file.
        line: number of the line.
        text: of the line.
        change: in one line.
        kind: what sort of change.
        old: what was replaced.
        new: by what.
        room: of the file.
        by: the test that failed, or what was going on when tests hung or ended the process.
        detail: what it said.
        tests: how many passed.
        left: how many were not run.
        limit: seconds of tests that it had.
        seconds: that it took.
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
    """Verdicts in a file, a line each, written as they come.

    One holds for as long as the code is the same, and the file of tests that noticed, or all where none did.

    Args:
        file: of verdicts, which may be of other code as well.
        digests: of the code and the tests of which verdicts count.
        limit: seconds for a mutant; one that was cut short with less is judged again.
    """

    def __init__(self, file: Path, digests: Digests, limit: float) -> None:
        self._file, self.digests, self.limit = file, digests, limit
        self.known: dict[str, Verdict] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                try:
                    verdict = Verdict(**json.loads(line))
                except (ValueError, TypeError):
                    continue  # a line that was being written when everything ended
                short = verdict.verdict == CUT_SHORT and verdict.limit < limit
                same = (verdict.code, verdict.basis) == (digests.code, basis(digests, verdict.verdict, verdict.by))
                if same and not short:
                    self.known[verdict.key] = verdict

    def add(self, verdict: Verdict) -> None:
        """Notes a verdict for good."""
        self.known[verdict.key] = verdict
        self._file.parent.mkdir(parents=True, exist_ok=True)
        whole = not self._file.exists() or self._file.read_bytes()[-1:] in (b"", b"\n")
        with self._file.open("a") as file:
            file.write(("" if whole else "\n") + json.dumps(asdict(verdict)) + "\n")
            file.flush()


def basis(digests: Digests, verdict: str, by: str) -> str:
    """The digest of the tests that a verdict depends on."""
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
    """Judges the mutants that have no verdict yet, and says what it finds.

    Args:
        mutants: to be judged.
        verdicts: where verdicts are.
        choose: says which tests could notice a mutant.
        usual: seconds that each test takes.
        employ: makes a worker.
        jobs: workers.
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
    """One mutant, in a worker's copy, which is as it was afterwards."""
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
    """What comes of running tests. A slow one that fails is asked again, for some fail when the machine is busy."""
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
    """Verdicts for JSON."""
    return [{k: v for k, v in asdict(verdict).items() if k not in ("code", "basis", "limit")} for verdict in verdicts]
