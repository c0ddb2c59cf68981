"""A search for layers of transformers: what its configuration checks, what it compares with, and that it runs."""

from __future__ import annotations

from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

import evonas
from evonas.errors import UsageError
from evonas.language.zoo import zoo
from evonas.records.retraining import RetrainingStage
from evonas.reruns.collapse import CHANCE
from evonas.reruns.rerank_plan import unseen_anchor, unseen_pool
from evonas.settings.run_config import FLOOR_LAYERS, REFERENCES, RunConfig
from evonas.setup.assemble import configure, note_on_noise
from evonas.workers.data.data_sets import load_dataset


def tokens(**settings: Any) -> RunConfig:
    protocol = settings.pop("protocol", {})
    return configure(settings.pop("space", None), preset="tokens", protocol=protocol, settings=settings)


def test_it_compares_with_norms_of_transformers() -> None:
    config = tokens()
    assert config.references == ("layernorm", "rmsnorm-c", "dyt", "derf") and config.space.name == "tokens"
    assert config.protocol.optimizer == "adamw" and config.protocol.clip == 1.0
    assert len(config.seed_graphs) == 7
    assert RunConfig.from_json(config.to_json()) == config
    pointwise = tokens(space="tokens-pointwise")
    assert len(pointwise.seed_graphs) == 4  # those without statistics
    # Runs that were recorded before there was a choice had these.
    assert configure("evonorm").references == REFERENCES and configure("evonorm").floor_layers == FLOOR_LAYERS


def test_names_of_published_layers_are_checked() -> None:
    with pytest.raises(UsageError, match=r"layer in references.*'layernrom'.*layernorm"):
        tokens(references=["layernrom"])
    for bad in ([], ["dyt", "dyt"]):
        with pytest.raises(UsageError, match="floor_layers must be names"):
            tokens(floor_layers=bad)


def test_layers_that_mix_positions_are_kept_from_causal_networks() -> None:
    with pytest.raises(UsageError, match=r"space tokens-b has statistics over positions.*gpt-small.*tokens-pointwise"):
        tokens(space="tokens-b")
    with pytest.raises(UsageError, match=r"layer bn-relu has statistics.*name others in references"):
        configure("tokens", protocol={"anchors": ["gpt-small"], "data": "text"})
    encoders = {"anchors": ["encoder-small", "vit-small"]}
    assert unseen_anchor(tokens(space="tokens-b", protocol=encoders)) == "dit-small"
    assert "gpt-small" not in unseen_pool(tokens(space="tokens-b", protocol=encoders))


def test_the_unseen_network_reads_what_there_is() -> None:
    assert unseen_anchor(tokens()) == "dit-small"
    assert unseen_anchor(tokens(protocol={"anchors": ["gpt-small"], "data": "text"})) == "encoder-small"
    assert unseen_anchor(tokens(protocol={"anchors": ["vit-small:post"], "data": "crops"})) == "dit-small"
    everything = ["vit-small", "dit-small", "gpt-small", "encoder-small:pre"]
    assert unseen_anchor(tokens(protocol={"anchors": everything})) is None
    # With a network of another kind the usual ones are tried.
    mixed = {"anchors": ["vit-small", "resnet-small"], "data": "crops"}
    assert unseen_anchor(configure("evonorm", protocol=mixed)) == "vgg-small"


def test_networks_need_what_they_read() -> None:
    with pytest.raises(UsageError, match=r"gpt|reads text.*crops\+text"):
        tokens(protocol={"data": "crops"})
    with pytest.raises(UsageError, match="reads images"):
        tokens(protocol={"data": "text"})


def test_noise_is_said_of_accuracies_alone() -> None:
    text = tokens(protocol={"anchors": ["gpt-small"], "data": "text"}).protocol
    assert note_on_noise(text) == "" and "validation images" in note_on_noise(
        tokens(protocol={"data": "digits+text"}).protocol
    )


SHORT = {
    "anchors": ["gpt-small"],
    "data": "text",
    "image_size": 16,
    "steps": 20,
    "batch": 32,
    "early_steps": [4],
    "early_floors": [0.0],
    "quality_step": 10,
    "quality_floor": 0.0,
    "warmup": 2,
    "stability_steps": [1],
    "signal": False,
}


def test_a_search_ends_with_a_verdict_on_layernorm(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("".join(topics.values())[:30_000])  # all of it would take long to validate on
    result = evonas.search(
        preset="tokens",
        budget=3,
        protocol={**SHORT, "data_dir": str(text)},
        rungs=[2],
        rung_anchors=[1],
        rung_rates=[1.0],
        promotion=0.5,
        finalists=1,
        verify_seeds=2,
        executor="local",
        core_minutes=None,
    )
    run, store = result.run, result.store
    assert set(run.references) == {"layernorm", "rmsnorm-c", "dyt", "derf"}
    assert set(run.checkpoints) >= {"layernorm", "rmsnorm-c", "headnorm", "dyt", "derf"}
    verdict = result.verdict
    assert verdict is not None and verdict.baseline == "layernorm" and verdict.unseen == "encoder-small"
    assert not verdict.missing and {one.id for one in verdict.references} == set(run.references)
    assert "layernorm" in str(verdict) and "bn-relu" not in str(verdict)
    trained = {one.anchor for one in store.retrainings(run.id) if one.stage is RetrainingStage.TEST}
    assert trained == {"gpt-small"}
    # Chance is what the frequencies of characters tell.
    counts = load_dataset("text", text, 16).train.images.flatten().long().bincount().double()
    shares = counts[counts > 0] / counts.sum()
    likelihood = float((shares * shares.log()).sum().exp())
    assert float(run.environment[CHANCE]) == pytest.approx(likelihood, rel=1e-4) and likelihood < 0.1
    assert all(zoo[name] for name in run.references)
