"""Do small transformers tell norms apart as large ones do? Published norms, and none at all, on every anchor.

    python -m benchmarks.token_norms --rows token_norms_rows.jsonl -o token_norms.json

Each is trained as long as the preset `tokens` trains any layer, on its four networks and on two deep ones, with seeds
that no search uses, and scored on validation data. The learning rate comes first, because a comparison is fair only at
a rate that suits all: every norm is trained once at a third of the preset's rate, at it, and at three times it. ROWS
keeps one line of JSON for each training, so that the command continues where it was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from benchmarks.markdown import markdown_table
from benchmarks.networks import run_study
from benchmarks.training_rows import Job, Row
from evonas.records.environment import environment
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import configure

BATCH_NORM, NONE = "(x - mean_bwh(x)) / std_bwh(x)", "x"
LAYERS = {
    "layernorm": "layernorm",
    "rmsnorm-c": "rmsnorm-c",
    "headnorm": "headnorm",
    "dyt": "dyt",
    "derf": "derf",
    "batch norm": BATCH_NORM,
    "none": NONE,
}
"""The layers as the tables call them, and as `evonas baseline` does. None is a scale and shift alone."""
SMALL = ("vit-small", "gpt-small", "encoder-small", "dit-small")
DEEP = ("gpt-deep", "encoder-deep")
SEEDS = (50_000, 50_001, 50_002, 50_003, 50_004)
RATES = (1 / 3, 1.0, 3.0)
"""Of the preset's rate."""


def protocol(anchors: Sequence[str], rate: float = 1.0) -> EvaluationProtocol:
    """Return that of the preset's last rung, on some networks and at a multiple of its learning rate."""
    config = configure(preset="tokens")
    last = config.on_rung(len(config.rungs))
    return replace(last, anchors=tuple(anchors), lr=rate * config.protocol.lr)


def named(rate: float) -> str:
    """Return what trainings at a multiple of the preset's rate are called in the rows."""
    return f"rate {protocol(SMALL, rate).lr:.2g}"


def jobs() -> list[Job]:
    """Return all trainings: those of the rates first, then of the deep networks, then those with all seeds."""
    found: list[tuple[str, EvaluationProtocol, Sequence[int]]]
    found = [(named(rate), protocol(SMALL, rate), SEEDS[:1]) for rate in RATES]
    deep = protocol(DEEP)
    found += [("deep", deep, SEEDS[:1]), (named(1.0), protocol(SMALL), SEEDS), ("deep", deep, SEEDS[1:2])]
    return list(
        {
            (layer, name, seed): Job(
                layer, name, replace(of, anchors=usable(layer, of.anchors), seed=seed), "validation"
            )
            for name, of, seeds in found
            for seed in seeds
            for layer in LAYERS.values()
        }.values()
    )


def usable(layer: str, anchors: Sequence[str]) -> tuple[str, ...]:
    """Return the networks that may have a layer: batch normalisation shows a token of a causal one the later ones."""
    return tuple(name for name in anchors if not (layer == BATCH_NORM and name.startswith("gpt")))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the mean score, its deviation over seeds and the divergences, by kind of training, layer and network."""

    def of(name: str, layer: str, anchor: str) -> dict[str, Any] | None:
        mine = [row for row in rows if (row.protocol, row.layer, row.anchor) == (name, layer, anchor)]
        if not mine:
            return None
        scores = [row.score for row in mine]
        return {
            "mean": fmean(scores),
            "deviation": stdev(scores) if len(scores) > 1 else None,
            "seeds": len(mine),
            "diverged": sum(row.diverged for row in mine),
            "core_seconds": fmean(row.seconds for row in mine),
        }

    one_seed = [row for row in rows if row.seed == SEEDS[0]]
    return {
        "environment": dict(environment()),
        "steps": protocol(SMALL).steps,
        "scores": {
            name: {label: {anchor: of(name, layer, anchor) for anchor in anchors} for label, layer in LAYERS.items()}
            for name, anchors in ((named(1.0), SMALL), ("deep", DEEP))
        },
        "rates": {
            name: {
                label: {row.anchor: row.score for row in one_seed if (row.protocol, row.layer) == (name, layer)}
                for label, layer in LAYERS.items()
            }
            for name in map(named, RATES)
        },
    }


def table(document: Mapping[str, Any]) -> list[str]:
    """Return the scores of each layer on each network, small and deep."""
    small, deep = document["scores"].values()
    lines = [
        [label, *(_cell(small[label][anchor]) for anchor in SMALL), *(_cell(deep[label][anchor]) for anchor in DEEP)]
        for label in LAYERS
    ]
    return markdown_table(["norm", *SMALL, *DEEP], lines)


def rates_table(document: Mapping[str, Any]) -> list[str]:
    """Return the scores of each layer by learning rate: on the networks in their order, one seed."""
    lines = [
        [
            label,
            *(
                ", ".join(f"{of[label][a]:.3f}" if a in of[label] else "" for a in SMALL)
                for of in document["rates"].values()
            ),
        ]
        for label in LAYERS
    ]
    return markdown_table(["norm", *document["rates"]], lines)


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    spread = "" if found["deviation"] is None else f" ± {found['deviation']:.3f}"
    lost = f", {found['diverged']} diverged" if found["diverged"] else ""
    return f"{found['mean']:.3f}{spread}{lost}"


def both(document: Mapping[str, Any]) -> list[str]:
    """Return the two tables, one after the other."""
    return [*rates_table(document), "", *table(document)]


if __name__ == "__main__":
    run_study("token_norms", __doc__, jobs(), summary, both)
