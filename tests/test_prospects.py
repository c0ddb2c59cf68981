"""Prospects: what candidates that start like a proposal are worth."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pytest

from evonas.evolution.propose import Proposer
from evonas.judging.prospects import BLUR, NEIGHBOURS, NEW, PRIOR, Prospect, Prospects, worth
from evonas.judging.selection import Population
from evonas.judging.start_twins import SKETCH, sketch, write_sketch
from evonas.language.graph import Graph
from evonas.settings.candidate import Candidate, Ending, Evaluation, FilterOutcome, Status
from tests.fakes import FakeExecutor, config
from tests.test_evolution import searched

AXES = np.eye(SKETCH)


def start(*coordinates: float) -> bytes:
    """The sketch of a response with these first coordinates."""
    found = np.zeros(SKETCH)
    found[: len(coordinates)] = coordinates
    return write_sketch(float(np.linalg.norm(found)), found)


def test_what_candidates_are_worth() -> None:
    assert worth(Ending(0, None, Status.SCORED, None, 0.3)) == 0.3
    assert worth(Ending(0, None, Status.REJECTED, "hurdle resnet-small end", 0.2)) == 0.2
    assert worth(Ending(0, None, Status.SCORED, None, None)) == 1.0
    for stopped_by, quality in (("quality", 0.1), ("early-60", None)):
        assert worth(Ending(0, None, Status.REJECTED, stopped_by, quality)) == 0.0
    assert worth(Ending(0, None, Status.FAILED, None, 0.3)) == 0.0
    # The same of evaluations as they come from workers.
    outcomes = tuple(FilterOutcome(name, True, "", value, 0.1) for name, value in (("signal", 0.9), ("quality", 0.25)))
    assert worth(Evaluation(3, Status.SCORED, {"resnet-small": 0.6}, filters=outcomes)) == 0.25
    behind = FilterOutcome("hurdle resnet-small end", False, "behind", 0.6, 0.0)
    assert worth(Evaluation(3, Status.REJECTED, filters=(*outcomes, behind))) == 0.25
    low = FilterOutcome("quality", False, "low accuracy", 0.1, 0.0)
    assert worth(Evaluation(3, Status.REJECTED, filters=(outcomes[0], low))) == 0.0
    nan = FilterOutcome("quality", True, "", float("nan"), 0.0)
    assert worth(Evaluation(3, Status.SCORED, {"resnet-small": 0.6}, filters=(nan,))) == 1.0


def test_without_candidates_nothing_is_known() -> None:
    assert Prospects().of(start(1.0)).promise == 0.0


def test_a_neighbour_counts_by_the_inverse_square_of_its_distance() -> None:
    known = Prospects()
    known.add(start(1.0), 1.0)
    known.add(start(0.0, 1.0), 0.0)
    # At distances of 0.2 and sqrt(0.64 + 1) from it, of which the longer of the two responses is the measure.
    near, far = (0.2 + BLUR) ** -2, (1.64**0.5 + BLUR) ** -2
    assert known.of(start(0.8)).promise == pytest.approx(near / (near + far + PRIOR), rel=1e-3)
    assert known.of(start(0.0, 2.0)).promise == pytest.approx(
        (1.25**0.5 + BLUR) ** -2 / ((1.25**0.5 + BLUR) ** -2 + (0.5 + BLUR) ** -2 + PRIOR), rel=1e-3
    )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_sign_is_immaterial_and_the_length_is_not(scale: float) -> None:
    known = Prospects()
    known.add(start(scale), 1.0)
    known.add(start(3 * scale), 0.0)
    assert known.of(start(-scale)).promise == pytest.approx(known.of(start(scale)).promise)
    assert known.of(start(scale)).promise > 0.9 > 0.1 > known.of(start(3 * scale)).promise


def test_only_the_nearest_have_a_say() -> None:
    known = Prospects()
    for _ in range(NEIGHBOURS):
        known.add(start(1.0, 0.1), 1.0)
    before = known.of(start(1.0)).promise
    for place in range(200):
        known.add(write_sketch(1.0, AXES[1 + place % (SKETCH - 1)]), 0.0)
    assert known.of(start(1.0)).promise == before > 0.9


def test_responses_that_are_nothing_or_not_finite() -> None:
    known = Prospects()
    known.add(None, 1.0)
    known.add(b"", 1.0)
    known.add(write_sketch(float("inf"), AXES[0]), 1.0)
    assert known.of(start(1.0)).promise == 0.0  # none of them has a say
    known.add(start(0.0), 1.0)
    known.add(start(1.0), 0.0)
    assert known.of(start(0.0)).promise > 0.9
    assert known.of(b"").promise == 0.0 == known.of(write_sketch(float("inf"), AXES[0])).promise


def test_neighbours_of_random_starts_are_those_of_a_plain_comparison() -> None:
    rng = np.random.default_rng(4)
    known, starts, ends = Prospects(), [], []
    for place in range(300):
        vector = rng.standard_normal(SKETCH) * np.exp(rng.standard_normal())
        starts.append(vector)
        ends.append(float(rng.random()))
        known.add(write_sketch(float(np.linalg.norm(vector)), vector), ends[-1])
        if place % 50 == 49:
            other = vector + 0.3 * rng.standard_normal(SKETCH)
            plain = sorted(
                (min(np.linalg.norm(v - other), np.linalg.norm(v + other)) / max(map(np.linalg.norm, (v, other))), end)
                for v, end in zip(starts, ends, strict=True)
            )[:NEIGHBOURS]
            weights = [(distance + BLUR) ** -2 for distance, _ in plain]
            mean = sum(w * end for w, (_, end) in zip(weights, plain, strict=True)) / (sum(weights) + PRIOR)
            # Directions are kept in float16.
            found = known.of(write_sketch(float(np.linalg.norm(other)), other))
            assert found.promise == pytest.approx(mean, abs=2e-3)
            assert found.distance == pytest.approx(plain[0][0], abs=2e-3)


class Recorded(Prospects):
    """Prospects that note what they were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def of(self, start: bytes) -> Prospect:
        found = super().of(start)
        self.asked.append(found.appeal)
        return found


def test_a_promise_counts_for_more_where_less_is_known() -> None:
    known = Prospects()
    known.add(start(1.0), 0.5)
    assert known.of(start(0.8)).distance == pytest.approx(0.2, abs=1e-3)
    assert known.of(start(-1.0)).distance == pytest.approx(0.0, abs=1e-3)
    near, far = known.of(start(0.99)), known.of(start(0.8))
    assert near.promise > far.promise and near.appeal < far.appeal == pytest.approx(far.promise * far.distance)
    assert known.of(start(0.3)).appeal == pytest.approx(NEW * known.of(start(0.3)).promise)  # new enough


def test_of_several_proposals_the_most_appealing_is_drawn() -> None:
    settings, places = config(choices=6, strays=0.0, twins=0.02, fresh=1.0), set()
    for index in range(8):
        known = Recorded()
        for text, end in (("x / std_wh(x)", 0.3), ("tanh(x)", 0.2), ("exp(x)", 0.0), ("square(x)", 0.1)):
            known.add(sketch(Graph.parse(text)), end)
        chosen = Proposer(settings, prospects=known).draw(index, Population(1))
        assert chosen.discarded["prospects"] == 5 and chosen.seconds["prospects"] > 0.0
        asked = list(known.asked)
        assert len(asked) == 6 and known.of(sketch(chosen.graph.canonical)).appeal == max(asked)
        places.add(asked.index(max(asked)))
    assert len(places) > 2  # not always the first
    stray = Proposer(replace(settings, strays=1.0), prospects=known).draw(0, Population(1))
    assert "prospects" not in stray.discarded


def test_proposals_to_choose_from_have_one_parent() -> None:
    asked = list[int]()
    settings = config(choices=5, strays=0.0, twins=0.02, fresh=0.0, budget=60, smallest_tournament=2)

    class Counting(Proposer):
        def _proposal(self, parent: Candidate | None, *rest: Any) -> Any:
            asked.append(-1 if parent is None else parent.index)
            return super()._proposal(parent, *rest)

    store, run = searched(settings, FakeExecutor(1))
    proposer, population = Counting(settings), Population(50)
    for candidate, evaluation in store.newest_scored(run.id, 60, 60):
        population.add(candidate, evaluation)
    chosen = [proposer.draw(1000 + index, population) for index in range(10)]
    assert all(one.discarded["prospects"] == 4 for one in chosen)
    # Each candidate asked one parent alone, and different ones asked different parents.
    assert 1 < len([parent for parent, _ in groupby(asked)]) <= 10
    assert [parent for parent, _ in groupby(asked)] == [one for one, _ in groupby(c.origin.parent for c in chosen)]
