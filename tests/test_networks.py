"""The study of layers on several networks: what it trains, and that docs/SCIENCE.md has its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import networks
from benchmarks.networks import ANCHORS, LAYERS, PUBLISHED, SEEDS, protocols, summary, table
from benchmarks.training_rows import Row
from evonas.language.zoo import as_graph, zoo
from evonas.setup.assemble import configure

ROOT = Path(__file__).parent.parent
RECORDED = json.loads((ROOT / "benchmarks" / "results" / "networks.json").read_text())


def test_layers_are_trained_as_long_as_by_a_search_at_two_rates_and_longer() -> None:
    config, (first, fast, longer) = configure(), protocols().values()
    assert first.steps == fast.steps == config.on_rung(len(config.rungs)).steps and longer.steps == 4 * first.steps
    assert fast.lr == 2 * first.lr == 2 * longer.lr == 2 * config.protocol.lr
    assert set(config.protocol.anchors) < set(ANCHORS)
    assert all(layer in zoo for layer in PUBLISHED)
    assert len({as_graph(layer).key for layer in LAYERS}) == len(LAYERS)


def test_leads_are_points_over_the_same_seeds_and_a_layer_that_fails_is_called_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(networks, "PUBLISHED", ("bn-swish", "bn-relu"))
    monkeypatch.setattr(networks, "LAYERS", ("x",))
    base = {"bn-swish": 0.5, "bn-relu": 0.48, "x": 0.3}
    rows = [
        Row(layer, name, anchor, seed, score + 0.01 * (seed == SEEDS[0]), False, 1.0)
        for name in protocols()
        for layer, score in base.items()
        for anchor in ANCHORS
        for seed in SEEDS
    ]
    lines = table(summary(rows))
    assert lines[2] == "| `bn-relu` |" + f" {', '.join(['-2.0'] * 5)} |" * 3
    assert lines[3] == "| `x` |" + f" {', '.join(['fails'] * 5)} |" * 3


def test_the_page_has_the_table() -> None:
    assert "\n".join(table(RECORDED)) in (ROOT / "docs" / "SCIENCE.md").read_text()
