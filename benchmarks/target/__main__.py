"""The command: trains what is missing, then writes the summary."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from benchmarks.target.layer_list import target_layers
from benchmarks.target.summary import summary, table
from benchmarks.training_rows import Job, complete, read
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import configure

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
    parser.add_argument("--data-dir", required=True, help="CIFAR-10 as a folder of images or an archive of one")
    parser.add_argument("--rows", type=Path, default=Path("target_rows.jsonl"))
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--seed", type=int, nargs="*", default=SEEDS)
    parser.add_argument("-o", "--output", type=Path, default=None, help="the summary as JSON")
    given = parser.parse_args()
    layers = target_layers()
    protocols = [target_protocol(given.data, given.data_dir, seed) for seed in given.seed]
    jobs = [Job(layer["layer"], NAME, protocol) for protocol in protocols for layer in layers]
    complete(jobs, given.rows, given.workers, deadline=1800.0)
    document = summary(layers, read(given.rows), ANCHORS, UNSEEN)
    print(table(document))
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
