"""Do the layers of the zoo that evonas found hold in longer training, on every network, and at a higher rate?

`python -m benchmarks.found_layers --rows ROWS.jsonl -o found_layers.json` trains them beside BN-Swish, with seeds that
no search used, four times as long as a search trains any layer, and as long at twice its learning rate. They are scored
on validation images, by which they may be chosen as the start of further searches. ROWS keeps one line of JSON for each
training, so that the command continues where it was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.markdown import markdown_table
from benchmarks.networks import ANCHORS, REFERENCE, protocols, run_study, validated
from benchmarks.training_rows import Row
from evonas.language.zoo import FOUND
from evonas.records.environment import environment
from evonas.settings.evaluation_protocol import EvaluationProtocol

SEEDS = 41_000, 41_001, 41_002
LAYERS = REFERENCE, *(row.name for row in FOUND)


def trainings() -> dict[str, EvaluationProtocol]:
    """Return what layers are trained by, by name: longer, and at twice the rate."""
    _, fast, longer = protocols().items()
    return dict((longer, fast))


def main() -> None:
    """Train what is missing, and summarise."""
    run_study("found_layers", __doc__, validated(trainings(), SEEDS, LAYERS), summary, table)


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the mean accuracy over seeds of each layer on each network, and how often it diverged, by protocol."""

    def of(name: str, layer: str) -> dict[str, Any]:
        mine = [row for row in rows if (row.protocol, row.layer) == (name, layer)]
        means = [fmean(row.score for row in mine if row.anchor == anchor) for anchor in ANCHORS]
        return {"means": means, "trainings": len(mine), "diverged": sum(row.diverged for row in mine)}

    return {
        "environment": dict(environment()),
        "anchors": list(ANCHORS),
        "seeds": len(SEEDS),
        "protocols": {name: {layer: of(name, layer) for layer in LAYERS} for name in trainings()},
    }


def table(document: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of docs/SCIENCE.md: points ahead of BN-Swish on each network, and divergences."""
    rows = []
    for layer in LAYERS[1:]:
        cells = []
        for of_protocol in document["protocols"].values():
            found, reference = of_protocol[layer], of_protocol[REFERENCE]
            ahead = [100 * (a - b) for a, b in zip(found["means"], reference["means"], strict=True)]
            cells += [", ".join(f"{points:+.1f}" for points in ahead), f"{found['diverged']} of {found['trainings']}"]
        rows.append([f"`{layer}`", *cells])
    header = [part for name in document["protocols"] for part in (name, "diverged")]
    return markdown_table(["layer", *header], rows)


if __name__ == "__main__":
    main()
