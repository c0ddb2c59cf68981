"""The command: trains what is missing, then writes the summary."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from benchmarks.target.layer_list import layers
from benchmarks.training_rows import Job, missing, read, train
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import configure
from evonas.setup.make_executor import make_executor

NAME = "target"
SEEDS = (7001, 7002)
"""Seeds that no search uses by default."""
ANCHORS = ("resnet-medium", "mobilenet-medium", "efficientnet-medium")
UNSEEN = "vgg-medium"


def target_protocol(data: str, data_dir: str, seed: int) -> EvaluationProtocol:
    """Return the protocol of the target."""
    config = configure(
        "evonorm",
        protocol={
            "data": data,
            "data_dir": data_dir,
            "crop": 24,
            "flip": True,
            "anchors": (*ANCHORS, UNSEEN),
            "steps": 1000,
            "batch": 64,
            "lr": 0.1,
            "weight_decay": 5e-4,
            "hurdle_steps": (),
        },
    )
    return dataclasses.replace(config.protocol, seed=seed)


def main() -> None:
    """Train and summarise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.target", description=__doc__)
    parser.add_argument("--data", default="image-folder")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--rows", type=Path, default=Path("target_rows.jsonl"))
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--origin", nargs="*", default=[])
    parser.add_argument("--seed", type=int, nargs="*", default=SEEDS)
    given = parser.parse_args()
    protocols = [target_protocol(given.data, given.data_dir, seed) for seed in given.seed]
    jobs = [Job(layer, NAME, protocol) for protocol in protocols for layer in layers(*given.origin)]
    left = missing(jobs, read(given.rows))
    total = sum(len(job.protocol.anchors) for job in left)
    print(f"{total} trainings left", flush=True)
    if left:
        with make_executor(
            "ray" if given.workers != 0 else "local", protocols[0], deadline=1800.0, workers=given.workers or None
        ) as executor:
            for number, row in enumerate(train(left, executor, given.rows), 1):
                print(
                    f"{number}/{total}  {row.score:.4f}  {row.seconds:5.1f} s  {row.anchor:20} {row.layer}", flush=True
                )


if __name__ == "__main__":
    main()
