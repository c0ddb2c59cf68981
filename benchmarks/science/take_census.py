"""Taking the census on every core, with one line of JSON per candidate, so that it can be interrupted."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.science.census import Record, Subject, examine, read
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.executors.allocator import keep_freed_memory


def take(
    path: Path, wanted: Sequence[Subject], protocol: EvaluationProtocol, workers: int, console: Console
) -> list[Record]:
    """Return the records of all `wanted` candidates. Those missing in `path` are measured and appended to it."""
    known = read(path)
    missing = [subject for subject in wanted if subject.number not in known]
    columns = TextColumn("census"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # Forking a process that has used PyTorch can hang; spawned processes start clean.
    context = multiprocessing.get_context("spawn")
    with (
        path.open("a") as file,
        context.Pool(workers, _prepare) as pool,
        Progress(*columns, console=console) as progress,
    ):
        bar = progress.add_task("", total=len(wanted), completed=len(wanted) - len(missing))
        for record in pool.imap_unordered(partial(examine, protocol=protocol), missing):
            known[record["number"]] = record
            file.write(json.dumps(record) + "\n")
            file.flush()
            progress.advance(bar)
    return [known[subject.number] for subject in wanted]


def _prepare() -> None:
    """Prepare a process with one thread, like the workers of a search."""
    torch.set_num_threads(1)
    keep_freed_memory()
