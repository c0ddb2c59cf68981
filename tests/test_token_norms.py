"""The study of norms on small transformers: what it trains, and what docs/TRANSFORMERS.md says of it."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.token_norms import (
    BATCH_NORM,
    DEEP,
    LAYERS,
    NONE,
    SEEDS,
    SMALL,
    jobs,
    named,
    protocol,
    rates_table,
    summary,
    table,
)
from benchmarks.training_rows import Row, read

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def test_every_layer_is_trained_where_it_can_stand() -> None:
    wanted = jobs()
    keys = [(job.layer, job.name, anchor, job.protocol.seed) for job in wanted for anchor in job.protocol.anchors]
    assert len(set(keys)) == len(keys)
    for layer in LAYERS.values():
        at = {(name, anchor, seed) for one, name, anchor, seed in keys if one == layer}
        small = {anchor for name, anchor, _ in at if name == named(1.0)}
        assert small == set(SMALL) - ({"gpt-small"} if layer == BATCH_NORM else set())
        assert {seed for name, _, seed in at if name == named(1.0)} == set(SEEDS)
        assert {seed for name, _, seed in at if name == "deep"} == set(SEEDS[:2])
    last = protocol(SMALL)
    assert (last.steps, last.lr, last.optimizer) == (400, 0.01, "adamw") and protocol(DEEP).anchors == DEEP


def test_cells_are_means_over_seeds() -> None:
    rows = [
        Row(NONE, named(1.0), "vit-small", SEEDS[0], 0.5, False, 2.0),
        Row(NONE, named(1.0), "vit-small", SEEDS[1], 0.0, True, 1.0),
    ]
    document = summary(rows)
    cell = document["scores"][named(1.0)]["none"]["vit-small"]
    assert (cell["mean"], cell["seeds"], cell["diverged"], cell["core_seconds"]) == (0.25, 2, 1, 1.5)
    assert document["scores"]["deep"]["none"]["gpt-deep"] is None
    assert document["rates"][named(1.0)]["none"] == {"vit-small": 0.5}
    assert "0.250 ± 0.354, 1 diverged" in "\n".join(table(document))


def test_the_page_has_the_tables_and_says_what_they_say() -> None:
    document = json.loads((RESULTS / "token_norms.json").read_text())
    page = (RESULTS.parent.parent / "docs" / "TRANSFORMERS.md").read_text()
    for lines in (table(document), rates_table(document)):
        assert "\n".join(lines) in page
    small, deep = document["scores"].values()
    assert deep["none"]["gpt-deep"]["diverged"] == deep["none"]["encoder-deep"]["diverged"] == 1
    for norm in ("layernorm", "rmsnorm-c"):
        assert deep[norm]["gpt-deep"]["mean"] > small[norm]["gpt-small"]["mean"]
    for anchor in ("vit-small", "gpt-small", "encoder-small"):
        others = [of[anchor]["mean"] for label, of in small.items() if label != "none" and of[anchor] is not None]
        assert small["none"][anchor]["mean"] > max(others)
    assert {cell["seeds"] for of in small.values() for cell in of.values() if cell is not None} == {2}
    rows = read(RESULTS / "token_norms_rows.jsonl")
    complete = [row for row in rows if row.protocol != named(1.0) or row.seed in SEEDS[:2]]
    assert {**summary(complete), "environment": 0} == {**document, "environment": 0}
