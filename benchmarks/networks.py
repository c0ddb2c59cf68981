"""Does a layer that is ahead on some networks stay ahead on others, for longer, and at a higher learning rate?

`python -m benchmarks.networks --rows ROWS.jsonl -o networks.json` trains layers that searches on three networks found
best, and published ones, on five networks: for as long as a search trains any layer, at its learning rate and at twice
that, and for four times as long. ROWS keeps one line of JSON for each training, so that the command continues where it
was stopped. They are scored on the validation images, by which the searches chose them, but with other seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.discovery.testing import LONGER, by_seed
from benchmarks.markdown import markdown_table
from benchmarks.training_rows import Job, Row, complete, read
from evonas.records.environment import environment
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import configure

LAYERS = (
    "((x - mean_whcg(x)) / tanh(rms_bwh(x - mean_whcg(x))) * v1 + v0) * sigmoid(x)",
    "((x - mean_whcg(x)) / rms_bwh(sqrt(x)) * v1 + v0) * sigmoid(x)",
    "((x - mean_whcg(x)) / rms_bwh(max(x - mean_whcg(x), mean_whcg(x))) * v1 + v0) * sigmoid(x)",
    "((x - mean_bwh(x)) / std_whc(x) * v1 + std_wh(x)) * sigmoid(x - mean_bwh(x))",
    "((x - mean_bwh(x)) / std_bwh(x) * v1 + std_wh(x)) * sigmoid(x - mean_bwh(x))",
    "((x - mean_bwh(x)) / std_bwh(sqrt(x)) * v1 + v0) * sigmoid(x - mean_bwh(x))",
    "((x - mean_whcg(x)) / std_bwh(x) * v1 + v0) * sigmoid((x - mean_whcg(x)) / std_bwh(x) * v1 + v0)",
    "(x - mean_bwh(sqrt(x))) / rms_whcg(sqrt(x)) * v1 * sigmoid(x - mean_bwh(sqrt(x)))",
    "((x - mean_whcg(x)) / rms_whcg(sqrt(x)) * v1 + v0) * sigmoid(x - mean_whcg(x))",
    "x * sigmoid(sqrt(x)) / mean_wh(max(sqrt(x), rms_whc(sigmoid(sqrt(x)))))",
)
"""Of those that two searches with three networks and a rate of 0.2 found best; one of each kind, and their winners."""
PUBLISHED = ("bn-swish", "bn-relu", "evonorm-b1")
SEEDS = (30_000,)
ANCHORS = ("mobilenet-small", "resnet-small", "vgg-small", "densenet-small", "efficientnet-small")
REFERENCE = PUBLISHED[0]
FAILS = 10.0
"""Points behind the reference from which on a layer counts as one that diverged or does not learn."""
DEADLINE = 1800.0
"""Seconds after which a training counts as hung."""


def protocols() -> dict[str, EvaluationProtocol]:
    """Return what layers are trained by, by name: of the default as long as its longest, at twice its rate, longer."""
    config = configure()
    base = replace(config.protocol, anchors=ANCHORS, hurdle_steps=(), hurdle_ends=None, objectives=("anchors",))
    steps = config.on_rung(len(config.rungs)).steps
    return {
        f"{times * steps} steps, rate {rate * base.lr:g}": replace(base, steps=times * steps, lr=rate * base.lr)
        for times, rate in ((1, 1), (1, 2), (LONGER, 1))
    }


def main() -> None:
    """Train what is missing, and summarise."""
    jobs = validated(protocols(), SEEDS, (*PUBLISHED, *LAYERS))
    run_study("networks", __doc__, jobs, summary, table)


def validated(trained: Mapping[str, EvaluationProtocol], seeds: Sequence[int], layers: Sequence[str]) -> list[Job]:
    """Return the trainings of some layers by some protocols, with each seed, scored on validation images."""
    return [
        Job(layer, name, replace(protocol, seed=seed), "validation")
        for name, protocol in trained.items()
        for seed in seeds
        for layer in layers
    ]


def run_study(
    name: str,
    doc: str | None,
    jobs: Sequence[Job],
    summarise: Callable[[Sequence[Row]], Mapping[str, Any]],
    tabulate: Callable[[Mapping[str, Any]], Sequence[str]],
) -> None:
    """Run the command of a study: carry out the trainings that are missing, print its table and write its JSON.

    Args:
        name: of the module in `benchmarks`.
        doc: what the command says of itself.
        jobs: the trainings.
        summarise: makes the JSON of the rows.
        tabulate: makes the lines of the table of the JSON.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
    parser.add_argument("--rows", type=Path, default=Path(f"{name}_rows.jsonl"))
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    complete(jobs, given.rows, given.workers, DEADLINE)
    document = summarise(read(given.rows))
    print("\n".join(tabulate(document)))
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n")


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the mean accuracy over seeds of each layer on each network, by protocol, as JSON."""
    return {
        "environment": dict(environment()),
        "anchors": list(ANCHORS),
        "seeds": len(SEEDS),
        "protocols": {
            name: {
                layer: [fmean(by_seed(rows, name, layer, [anchor]).values()) for anchor in ANCHORS]
                for layer in (*PUBLISHED, *LAYERS)
            }
            for name in protocols()
        },
    }


def table(document: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of docs/SCIENCE.md: points ahead of BN-Swish on each network, by protocol.

    Networks come in the order of the JSON. "fails" stands for more than `FAILS` points behind.
    """
    names = list(document["protocols"])
    rows = []
    for layer in (*PUBLISHED[1:], *LAYERS):
        cells = []
        for name in names:
            scores, reference = document["protocols"][name][layer], document["protocols"][name][REFERENCE]
            cells.append(", ".join(_points(100 * (a - b)) for a, b in zip(scores, reference, strict=True)))
        rows.append([f"`{layer}`", *cells])
    return markdown_table(["layer", *names], rows)


def _points(difference: float) -> str:
    return "fails" if difference < -FAILS else f"{difference:+.1f}"


if __name__ == "__main__":
    main()
