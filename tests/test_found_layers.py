"""The study of the layers that evonas found: what it trains, and that docs/SCIENCE.md has its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.found_layers import ANCHORS, LAYERS, SEEDS, summary, table, trainings
from benchmarks.training_rows import Row
from evonas.setup.assemble import configure

ROOT = Path(__file__).parent.parent
RECORDED = json.loads((ROOT / "benchmarks" / "results" / "found_layers.json").read_text())


def test_layers_are_trained_longer_than_by_a_search_and_at_twice_its_rate() -> None:
    config, (longer, fast) = configure(), trainings().values()
    assert longer.steps == 4 * fast.steps == 4 * config.on_rung(len(config.rungs)).steps
    assert fast.lr == 2 * longer.lr == 2 * config.protocol.lr
    assert set(config.protocol.anchors) < set(ANCHORS)


def test_leads_are_points_over_the_same_seeds_and_divergences_are_counted() -> None:
    rows = [
        Row(layer, name, anchor, seed, 0.5 - 0.01 * place, layer == "evonas-2" and seed == SEEDS[0], 1.0)
        for name in trainings()
        for place, layer in enumerate(LAYERS)
        for anchor in ANCHORS
        for seed in SEEDS
    ]
    lines = table(summary(rows))
    for place, layer in enumerate(LAYERS[1:], 1):
        cells = f" {', '.join([f'-{place}.0'] * 5)} | {5 if layer == 'evonas-2' else 0} of 15 |"
        assert lines[1 + place] == f"| `{layer}` |" + cells * 2


def test_the_page_has_the_table() -> None:
    assert "\n".join(table(RECORDED)) in (ROOT / "docs" / "SCIENCE.md").read_text()


def test_those_that_a_search_starts_from_are_ahead_in_longer_training() -> None:
    """Otherwise they should not be in the zoo."""
    longer = RECORDED["protocols"][next(iter(trainings()))]
    four = [ANCHORS.index(anchor) for anchor in configure().protocol.anchors]
    for layer in LAYERS[1:]:
        ahead = [longer[layer]["means"][place] - longer[LAYERS[0]]["means"][place] for place in four]
        assert sum(ahead) / 4 == pytest.approx(0.015, abs=0.01) and longer[layer]["diverged"] == 0
