"""Trainings outside a search, as lines of JSON: what identifies each, and carrying out the missing ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from evonas.evolution.executor import Executor, Task
from evonas.evolution.trainings import carry_out, training_task
from evonas.language.graph import Graph
from evonas.language.zoo import as_graph, zoo
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.make_executor import make_executor


@dataclass(frozen=True, slots=True)
class Row:
    """One training of one layer.

    Attributes:
        layer: the name of a published layer, or an expression.
        protocol: the name of the protocol within its benchmark.
        anchor: the network.
        seed: of weights and batches.
        score: accuracy on the split that the benchmark scores, 0 if the training diverged.
        diverged: whether it did.
        seconds: core-seconds.
    """

    layer: str
    protocol: str
    anchor: str
    seed: int
    score: float
    diverged: bool
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What identifies the training."""
        return self.layer, self.protocol, self.anchor, self.seed


@dataclass(frozen=True, slots=True)
class Job:
    """A layer to train on every anchor of a protocol, whose seed is that of the training."""

    layer: str
    name: str
    protocol: EvaluationProtocol
    split: str = "test"


def read(path: Path) -> list[Row]:
    """Return the rows of a file; none if there is no file. A line cut off by a kill is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(Row(**json.loads(line)))
        except ValueError:
            continue
    return rows


def missing(jobs: Iterable[Job], rows: Sequence[Row]) -> list[Job]:
    """Return the jobs with the anchors that are not in the rows."""
    done = {row.key for row in rows}
    found = []
    for job in jobs:
        seed = job.protocol.seed
        left = tuple(a for a in job.protocol.anchors if (job.layer, job.name, a, seed) not in done)
        if left:
            found.append(replace(job, protocol=replace(job.protocol, anchors=left)))
    return found


def train(jobs: Sequence[Job], executor: Executor, path: Path) -> Iterator[Row]:
    """Carry out jobs, each anchor as a task of its own, append each row to the file, and yield it."""
    alone = singles(jobs)
    tasks = [task_of(job, number) for number, job in enumerate(alone)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for evaluation in carry_out(tasks, executor, max_attempts=2):
            job = alone[evaluation.index]
            if evaluation.status is not Status.SCORED:
                print(f"failed: {job.layer} on {job.protocol.anchors[0]}: {evaluation.reason}", flush=True)
                continue
            row = row_of(job, evaluation)
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
            yield row


def singles(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs of one anchor each, in the same order."""
    return [replace(job, protocol=replace(job.protocol, anchors=(a,))) for job in jobs for a in job.protocol.anchors]


def task_of(job: Job, index: int) -> Task:
    """Return a job as a task of a worker, with a number to tell its evaluation by."""
    split: Literal["validation", "test"] = "validation" if job.split == "validation" else "test"
    return training_task(_layer(job.layer), index, job.protocol, split=split)


def row_of(job: Job, evaluation: Evaluation) -> Row:
    """Return the evaluation of a job with a single anchor as a row."""
    (anchor,) = job.protocol.anchors
    return Row(
        job.layer,
        job.name,
        anchor,
        job.protocol.seed,
        round(evaluation.scores[anchor], 6),
        "diverged" in evaluation.reason,
        round(evaluation.core_seconds, 3),
    )


def complete(jobs: Sequence[Job], path: Path, workers: int | None, deadline: float) -> None:
    """Carry out the trainings that are not in the file of rows, on Ray, and print each.

    Args:
        jobs: what the file is to have, on one data set.
        path: the file, which need not exist.
        workers: as for `evonas search`.
        deadline: seconds after which a training counts as hung.
    """
    left = missing(jobs, read(path))
    if not left:
        return
    total = sum(len(job.protocol.anchors) for job in left)
    with make_executor("ray", left[0].protocol, deadline=deadline, workers=workers) as executor:
        for number, row in enumerate(train(left, executor, path), 1):
            print(f"{number}/{total}  {row.score:.4f}  {row.seconds:5.1f} s  {row.anchor:18} {row.layer}", flush=True)


def _layer(text: str) -> Graph | str:
    return text if text in zoo else as_graph(text)
