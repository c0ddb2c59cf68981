"""Prospects: what candidates that start like a proposal are worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evonas.evolution.propose import Proposer
from evonas.judging.prospects import BLUR, NEIGHBOURS, PRIOR, Prospects, worth
from evonas.judging.selection import Population
from evonas.judging.start_twins import SKETCH, sketch, write_sketch
from evonas.language.graph import Graph
from evonas.settings.candidate import Ending, Evaluation, FilterOutcome, Status
from tests.fakes import config

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
    assert Prospects().promise(start(1.0)) == 0.0


def test_a_neighbour_counts_by_the_inverse_square_of_its_distance() -> None:
    known = Prospects()
    known.add(start(1.0), 1.0)
    known.add(start(0.0, 1.0), 0.0)
    # At distances of 0.2 and sqrt(0.64 + 1) from it, of which the longer of the two responses is the measure.
    near, far = (0.2 + BLUR) ** -2, (1.64**0.5 + BLUR) ** -2
    assert known.promise(start(0.8)) == pytest.approx(near / (near + far + PRIOR), rel=1e-3)
    assert known.promise(start(0.0, 2.0)) == pytest.approx(
        (1.25**0.5 + BLUR) ** -2 / ((1.25**0.5 + BLUR) ** -2 + (0.5 + BLUR) ** -2 + PRIOR), rel=1e-3
    )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_sign_is_immaterial_and_the_length_is_not(scale: float) -> None:
    known = Prospects()
    known.add(start(scale), 1.0)
    known.add(start(3 * scale), 0.0)
    assert known.promise(start(-scale)) == pytest.approx(known.promise(start(scale)))
    assert known.promise(start(scale)) > 0.9 > 0.1 > known.promise(start(3 * scale))


def test_only_the_nearest_have_a_say() -> None:
    known = Prospects()
    for _ in range(NEIGHBOURS):
        known.add(start(1.0, 0.1), 1.0)
    before = known.promise(start(1.0))
    for place in range(200):
        known.add(write_sketch(1.0, AXES[1 + place % (SKETCH - 1)]), 0.0)
    assert known.promise(start(1.0)) == before > 0.9


def test_responses_that_are_nothing_or_not_finite() -> None:
    known = Prospects()
    known.add(None, 1.0)
    known.add(b"", 1.0)
    known.add(write_sketch(float("inf"), AXES[0]), 1.0)
    assert known.promise(start(1.0)) == 0.0  # none of them has a say
    known.add(start(0.0), 1.0)
    known.add(start(1.0), 0.0)
    assert known.promise(start(0.0)) > 0.9
    assert known.promise(b"") == 0.0 == known.promise(write_sketch(float("inf"), AXES[0]))


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
            assert known.promise(write_sketch(float(np.linalg.norm(other)), other)) == pytest.approx(mean, abs=2e-3)


class Recorded(Prospects):
    """Prospects that note the chances they were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def promise(self, start: bytes) -> float:
        self.asked.append(super().promise(start))
        return self.asked[-1]


def test_of_several_proposals_the_most_promising_is_drawn() -> None:
    settings, places = config(choices=6, strays=0.0, twins=0.02, fresh=1.0), set()
    for index in range(8):
        known = Recorded()
        for text, end in (("x / std_wh(x)", 1.0), ("tanh(x)", 1.0), ("exp(x)", 0.0), ("square(x)", 0.0)):
            known.add(sketch(Graph.parse(text)), end)
        chosen = Proposer(settings, prospects=known).draw(index, Population(1))
        assert chosen.discarded["prospects"] == 5 and chosen.seconds["prospects"] > 0.0
        asked = list(known.asked)
        assert len(asked) == 6 and known.promise(sketch(chosen.graph.canonical)) == max(asked)
        places.add(asked.index(max(asked)))
    assert len(places) > 2  # not always the first
    stray = Proposer(replace(settings, strays=1.0), prospects=known).draw(0, Population(1))
    assert "prospects" not in stray.discarded
