"""The paper's own protocol at full size, on a GPU: its three networks, CIFAR-10, two thousand steps.

Run it as `python -m benchmarks.full_size --data-dir cifar10-jpeg.tar.xz -o FOLDER`. Layers are trained on ResNet-50 at
0.25 of its width, MobileNetV2 and EfficientNet-B0 at half of theirs, with the settings of the preset `paper`, several
trainings side by side: so small a network keeps a large GPU busy for a fraction of a step. Seed after seed is trained
until the minutes are over. Each training is a line of JSON, written as it ends, and the command goes on where it was
when it is repeated. It needs no Ray.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

from benchmarks.discovery.summary import layer_summary
from benchmarks.discovery.testing import Yardstick, comparisons
from benchmarks.training_rows import Job, Row, missing, read, row_of, singles, task_of
from evonas.errors import UsageError
from evonas.records.environment import environment
from evonas.setup.assemble import configure
from evonas.workers.trial.evaluate import evaluate_task, load_data

PUBLISHED = ("bn-relu", "bn-swish", "evonorm-b0", "evonorm-s0")
FIRST_SEED = 20_000
_PATIENCE = 2.0
"""Seconds between looks at the clock and at the processes."""


def main() -> None:
    """Train what is missing until the time is over, and summarise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="CIFAR-10 as images: a folder, or an archive")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for the rows and their summary")
    parser.add_argument("--layer", nargs="*", default=[], help="expressions to train beside published layers")
    parser.add_argument("--minutes", type=float, default=8.0, help="time after which trainings are given up")
    parser.add_argument("--seeds", type=int, default=10, help="most trainings of a layer on a network")
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 1) - 2), help="trainings at a time")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the protocol, as JSON")
    given = parser.parse_args()
    end = monotonic() + 60 * given.minutes
    rows, layers = given.output / "rows.jsonl", [*PUBLISHED, *given.layer]
    try:
        by = full_size(given.data_dir, given.seeds, dict(_setting(text) for text in given.set))
        jobs = [
            Job(layer, by.task, replace(by.protocol, seed=seed))
            for seed in range(FIRST_SEED, FIRST_SEED + by.seeds)
            for layer in layers
        ]
        left = singles(missing(jobs, read(rows)))
        for job in left:
            task_of(job, 0)  # a layer that cannot be read is said before anything is trained
        if left:
            load_data(by.protocol)  # decodes an archive into the cache, which the processes then read
    except UsageError as error:
        parser.error(str(error))
    given.output.mkdir(parents=True, exist_ok=True)
    begun = monotonic()
    number = 0
    with rows.open("a") as file:
        for number, row in enumerate(trained(left, given.processes, end), 1):
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
            print(
                f"{monotonic() - begun:6.1f} s  {number}/{len(left)}  {row.score:.4f}  {row.anchor}  {row.layer}",
                flush=True,
            )
    if number < len(left):
        print(f"{len(left) - number} of {len(left)} trainings not done; the same command continues there")
    document = summary(read(rows), layers, by)
    (given.output / "full_size.json").write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(table(document)))


def full_size(data_dir: Path, seeds: int, changes: dict[str, Any]) -> Yardstick:
    """Return the protocol of the paper, on CIFAR-10 as images, with changes to its settings."""
    settings = {"data": "image-folder", "data_dir": str(data_dir), **changes}
    return Yardstick("paper", configure(preset="paper", protocol=settings).protocol, None, seeds)


def trained(jobs: Sequence[Job], processes: int, end: float) -> Iterator[Row]:
    """Carry out trainings in processes, in order, until `monotonic` is ``end``, and yield each as it ends.

    A training that fails is printed and left out. A process that dies is not replaced, and its training is lost.
    """
    context = get_context("spawn")  # a forked process cannot use the GPU
    wanted: Queue[Job | None] = context.Queue()
    done: Queue[Row | str | None] = context.Queue()
    for job in (*jobs, *[None] * processes):
        wanted.put(job)
    count = min(processes, len(jobs))
    workers = [context.Process(target=_work, args=(wanted, done), daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    idle = 0
    while idle < len(workers) and monotonic() < end:
        try:
            row = done.get(timeout=_PATIENCE)
        except Empty:
            if not any(worker.is_alive() for worker in workers):
                break
            continue
        if isinstance(row, Row):
            yield row
        elif row is None:
            idle += 1
        else:
            print(row, flush=True)
    for worker in workers:
        worker.terminate()


def _work(wanted: Queue[Job | None], done: Queue[Row | str | None]) -> None:
    """Train what comes out of a queue until that is None."""
    import torch

    torch.set_num_threads(1)  # the other processes have the other cores
    while (job := wanted.get()) is not None:
        try:
            done.put(row_of(job, evaluate_task(task_of(job, 0), load_data(job.protocol))))
        except Exception as error:  # one layer's failure must not end the others
            done.put(f"failed: {job.layer} on {job.protocol.anchors[0]}: {error!r}")
    done.put(None)


def summary(rows: Sequence[Row], layers: Sequence[str], by: Yardstick) -> dict[str, Any]:
    """Summarise trainings: means over seeds by network, and each further layer against the published ones."""
    return {
        "environment": dict(environment()),
        "protocol": asdict(by.protocol),
        "layers": {layer: layer_summary(rows, layer, by) for layer in layers},
        "comparisons": {
            layer: comparisons(rows, by.task, layer, by.anchors, PUBLISHED)
            for layer in layers
            if layer not in PUBLISHED
        },
    }


def table(document: dict[str, Any]) -> list[str]:
    """Return the summary as a table in Markdown."""
    anchors = document["protocol"]["anchors"]
    lines = [f"| layer | mean | seeds | {' | '.join(anchors)} |", "|---" * (3 + len(anchors)) + "|"]
    for layer, of in sorted(document["layers"].items(), key=lambda item: -(item[1]["mean"] or 0.0)):
        mean = "" if of["mean"] is None else f"{of['mean']:.4f}"
        spread = "" if of["deviation"] is None else f" ± {of['deviation']:.4f}"
        scores = [f"{of['anchors'][name]:.4f}" if name in of["anchors"] else "" for name in anchors]
        lines.append(f"| `{layer}` | {mean}{spread} | {of['seeds']} | {' | '.join(scores)} |")
    return lines


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


if __name__ == "__main__":
    main()
