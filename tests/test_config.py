"""Configurations are recorded without loss, and invalid ones are refused with a reason."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.errors import UsageError
from evonas.search_spaces import evonorm, evonorm_s
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import STRATEGIES, RunConfig
from evonas.settings.search_space import SearchSpace

protocols = st.builds(
    EvaluationProtocol,
    data=st.text(max_size=8),
    data_dir=st.none() | st.text(max_size=8),
    anchors=st.lists(st.text(max_size=8), min_size=1, max_size=3, unique=True).map(tuple),
    steps=st.integers(1, 5000),
    lr=st.floats(1e-9, 10.0),
    weight_decay=st.floats(0.0, 1.0),
    schedule=st.sampled_from(["constant", "cosine"]),
    signal=st.booleans(),
    floors=st.sampled_from(["absolute", "published"]),
    early_steps=st.just((3, 9)),
    early_floors=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    quality_floor=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
)
configs = st.builds(
    RunConfig,
    space=st.sampled_from([evonorm, evonorm_s, dataclasses.replace(evonorm, nodes=3, weights={"tanh": 0.3})]),
    budget=st.integers(1, 10**9),
    seed=st.integers(0, 2**63 - 1),
    strategy=st.sampled_from(STRATEGIES),
    population=st.integers(1, 10**6),
    tournament=st.floats(0, 1),
    fresh=st.floats(0, 1),
    mutations=st.integers(1, 9),
    lookahead=st.integers(1, 99),
    seed_graphs=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    core_minutes=st.none() | st.floats(0.01, 1e6),
    max_attempts=st.integers(1, 9),
    deadline=st.floats(1, 1e4),
    finalists=st.integers(0, 99),
    verify_seeds=st.integers(1, 99),
    verify_steps=st.none() | st.integers(1, 9999),
    protocol=protocols,
)


@given(configs)
def test_json_round_trip(config: RunConfig) -> None:
    text = config.to_json()
    back = RunConfig.from_json(text)
    assert back == config
    assert back.to_json() == text
    # Lists would compare unequal above; a list inside a tuple would make the value unhashable later.
    assert type(back.protocol.anchors) is tuple and type(back.space.index_sets) is tuple


def test_the_json_holds_every_field_by_name() -> None:
    document = json.loads(RunConfig(evonorm).to_json())
    assert set(document) == {field.name for field in dataclasses.fields(RunConfig)}
    assert set(document["protocol"]) == {field.name for field in dataclasses.fields(EvaluationProtocol)}
    assert set(document["space"]) == {field.name for field in dataclasses.fields(SearchSpace)}


def test_a_setting_that_older_records_lack_takes_its_default() -> None:
    document = json.loads(RunConfig(evonorm, budget=9).to_json())
    del document["lookahead"], document["protocol"]["signal"], document["protocol"]["floors"]
    back = RunConfig.from_json(json.dumps(document))
    assert back == RunConfig(evonorm, budget=9) and back.protocol.floors == "absolute"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "budget must be at least 1, not 0"),
        ({"budget": -5}, "budget must be at least 1, not -5"),
        ({"population": 0}, "population must be at least 1, not 0"),
        ({"mutations": 0}, "mutations must be at least 1, not 0"),
        ({"lookahead": 0}, "lookahead must be at least 1, not 0"),
        ({"survivors": 1}, "survivors must be at least 2, not 1"),
        ({"smallest_tournament": 0}, "smallest_tournament must be at least 1, not 0"),
        ({"twins": 1.5}, "twins must be between 0 and 1, not 1.5"),
        ({"max_attempts": 0}, "max_attempts must be at least 1, not 0"),
        ({"tournament": 1.5}, "tournament must be between 0 and 1, not 1.5"),
        ({"fresh": -0.1}, "fresh must be between 0 and 1, not -0.1"),
        ({"choices": 0}, "choices must be at least 1, not 0"),
        ({"choices": 1001}, "choices must be between 1 and 1000, not 1001"),
        ({"stride": (0.5, 0.2)}, "stride must be two rising numbers, such as [0.3, 0.6], not (0.5, 0.2)"),
        ({"stride": (0.5,)}, "stride must be two rising numbers, such as [0.3, 0.6], not (0.5,)"),
        ({"stride": (0.1, True)}, "stride must be two rising numbers, such as [0.3, 0.6], not (0.1, True)"),
        ({"strays": 1.5}, "strays must be between 0 and 1, not 1.5"),
        ({"fresh": float("nan")}, "fresh must be between 0 and 1, not nan"),
        ({"budget": 2.5}, "budget must be an integer, not 2.5"),
        ({"budget": "5"}, "budget must be an integer, not '5'"),
        ({"seed": 2**63}, f"seed must be below 2**63, not {2**63}"),
        ({"rung_rates": (0.0,)}, "rung_rates must be positive numbers, such as [2.0, 1.0], not (0.0,)"),
        ({"rung_rates": ("x",)}, "rung_rates must be positive numbers, such as [2.0, 1.0], not ('x',)"),
        ({"core_minutes": -1.0}, "core_minutes must be positive, not -1.0"),
        ({"core_minutes": float("nan")}, "core_minutes must be positive, not nan"),
        ({"space": None}, "space must be a SearchSpace, not None"),
        ({"deadline": 0.0}, "deadline must be positive, not 0.0"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"strategy": "greedy"}, "unknown strategy 'greedy'; known: families, pareto, average, nsga2, random"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        RunConfig(**{"space": evonorm, **settings})
    assert str(caught.value) == message


def test_the_limits_themselves_are_allowed() -> None:
    config = RunConfig(
        evonorm, budget=1, population=1, mutations=1, lookahead=1, max_attempts=1, tournament=0.0, fresh=1.0
    )
    assert RunConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hurdle_quantile": 1.0}, "hurdle_quantile must be at least 0 and below 1, not 1.0"),
        ({"hurdle_quantile": -0.1}, "hurdle_quantile must be at least 0 and below 1, not -0.1"),
        ({"momentum": 1.0}, "momentum must be positive and below 1, not 1.0"),
        ({"weight_decay": -1e-4}, "weight_decay must be at least 0, not -0.0001"),
        ({"lr": 0.0}, "lr must be positive, not 0.0"),
    ],
)
def test_a_protocol_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EvaluationProtocol(**settings)


def test_a_protocol_needs_an_anchor_and_a_floor_for_each_early_step() -> None:
    with pytest.raises(UsageError, match="at least one anchor"):
        EvaluationProtocol(anchors=())
    with pytest.raises(UsageError, match="early_steps and early_floors must have the same length"):
        EvaluationProtocol(early_steps=(5, 10), early_floors=(0.1,))


@pytest.mark.parametrize("steps", [(9, 3), (3, 3), (0, 3), (-1, 3)])
def test_early_steps_are_positive_and_rise(steps: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="early_steps must be positive integers in increasing order"):
        EvaluationProtocol(early_steps=steps, early_floors=(0.1, 0.1))


def _with(**changes: object) -> str:
    return json.dumps({**json.loads(RunConfig(evonorm).to_json()), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "3",
        "null",
        "{}",
        _with(colour="blue"),
        _with(protocol=7),
        _with(protocol={"colour": "blue"}),
        _with(space=None),
        _with(seed_graphs=5),
    ],
)
def test_a_record_that_is_no_configuration_is_one_clear_error(text: str) -> None:
    with pytest.raises(UsageError, match="the run's recorded configuration cannot be read"):
        RunConfig.from_json(text)


def test_a_record_with_a_setting_out_of_range_says_which() -> None:
    with pytest.raises(UsageError, match="budget must be at least 1, not 0"):
        RunConfig.from_json(_with(budget=0))
    with pytest.raises(UsageError, match="unknown operation 'frobnicate'"):
        RunConfig.from_json(_with(space={"name": "mine", "operations": ["frobnicate"]}))
