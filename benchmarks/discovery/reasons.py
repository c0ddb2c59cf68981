"""Why a winner of small networks trails BN-Swish in larger ones: the rate, the weight decay, the size of the network?

    python -m benchmarks.discovery.reasons FOLDER --data-dir ARCHIVE

Trains four layers with one seed on CIFAR-10 in crops of 24×24 for 1,000 steps: on the medium networks of the target
with another rate or weight decay, and on the small ones. The rows are FOLDER/reasons.jsonl; the command continues them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.discovery.testing import FIRST_SEED
from benchmarks.markdown import markdown_table
from benchmarks.target.__main__ import target_protocol
from benchmarks.training_rows import Job, Row, complete, read

_Y = "(v1 * ((v0 + x) / rms_whcg(sqrt(x))) - mean_bwh(x))"
NAMES = {
    "bn-relu": "BN-ReLU",
    "bn-swish": "BN-Swish",
    "evonas-1": "evonas-1",
    f"{_Y} * sigmoid({_Y[1:-1]})": "pictures, seed 0",
}
"""Published layers, and winners of small networks."""
CASES: Mapping[str, Mapping[str, Any]] = {
    "rate 0.2, decay 1e-4": {"lr": 0.2, "weight_decay": 1e-4, "anchors": ("mobilenet-medium", "resnet-medium")},
    "rate 0.1, decay 1e-4": {"weight_decay": 1e-4, "anchors": ("mobilenet-medium", "resnet-medium")},
    "rate 0.2, decay 1e-4, small": {"lr": 0.2, "weight_decay": 1e-4, "anchors": ("mobilenet-small", "resnet-small")},
}
"""What differs from the target, whose rate is 0.1 and whose weight decay is 5e-4."""


def table(rows: Sequence[Row]) -> list[str]:
    """Return the accuracies on both networks of each case."""
    found = {(row.protocol, row.layer, row.anchor): row.score for row in rows}
    lines = []
    for case, settings in CASES.items():
        for anchor in settings["anchors"]:
            scores = (found.get((case, layer, anchor)) for layer in NAMES)
            cells = ("" if score is None else f"{score:.3f}" for score in scores)
            lines.append((case.removesuffix(", small"), anchor, *cells))
    return markdown_table(["settings", "network", *NAMES.values()], lines)


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discovery.reasons", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", required=True, help="CIFAR-10 as a folder of images or an archive of one")
    parser.add_argument("--workers", type=int, default=None)
    given = parser.parse_args()
    target = target_protocol("image-folder", given.data_dir, FIRST_SEED)
    jobs = [Job(layer, case, replace(target, **settings)) for case, settings in CASES.items() for layer in NAMES]
    rows = given.folder / "reasons.jsonl"
    complete(jobs, rows, given.workers, deadline=3600.0)
    print("\n".join(table(read(rows))))


if __name__ == "__main__":
    main()
