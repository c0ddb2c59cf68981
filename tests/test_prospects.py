"""Prospects: what became of the candidates that start most like a proposal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evonas.evolution.propose import Proposer
from evonas.judging.prospects import BLUR, NEIGHBOURS, PRIOR, Prospects, learned
from evonas.judging.selection import Population
from evonas.judging.start_twins import SKETCH, sketch, write_sketch
from evonas.language.graph import Graph
from evonas.settings.candidate import Status
from tests.fakes import config

AXES = np.eye(SKETCH)


def start(*coordinates: float) -> bytes:
    """The sketch of a response with these first coordinates."""
    found = np.zeros(SKETCH)
    found[: len(coordinates)] = coordinates
    return write_sketch(float(np.linalg.norm(found)), found)


def test_what_learned_is_what_the_filters_let_pass() -> None:
    assert learned(Status.SCORED, None)
    assert learned(Status.REJECTED, "hurdle resnet-small end")
    assert not learned(Status.REJECTED, "quality") and not learned(Status.REJECTED, "early-60")
    assert not learned(Status.FAILED, None)


def test_without_candidates_nothing_is_known() -> None:
    assert Prospects().chance(start(1.0)) == 0.0


def test_a_neighbour_counts_by_the_inverse_square_of_its_distance() -> None:
    known = Prospects()
    known.add(start(1.0), True)
    known.add(start(0.0, 1.0), False)
    # At distances of 0.2 and sqrt(0.64 + 1) from it, of which the longer of the two responses is the measure.
    near, far = (0.2 + BLUR) ** -2, (1.64**0.5 + BLUR) ** -2
    assert known.chance(start(0.8)) == pytest.approx(near / (near + far + PRIOR), rel=1e-3)
    assert known.chance(start(0.0, 2.0)) == pytest.approx(
        (1.25**0.5 + BLUR) ** -2 / ((1.25**0.5 + BLUR) ** -2 + (0.5 + BLUR) ** -2 + PRIOR), rel=1e-3
    )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_sign_is_immaterial_and_the_length_is_not(scale: float) -> None:
    known = Prospects()
    known.add(start(scale), True)
    known.add(start(3 * scale), False)
    assert known.chance(start(-scale)) == pytest.approx(known.chance(start(scale)))
    assert known.chance(start(scale)) > 0.9 > 0.1 > known.chance(start(3 * scale))


def test_only_the_nearest_have_a_say() -> None:
    known = Prospects()
    for _ in range(NEIGHBOURS):
        known.add(start(1.0, 0.1), True)
    before = known.chance(start(1.0))
    for place in range(200):
        known.add(write_sketch(1.0, AXES[1 + place % (SKETCH - 1)]), False)
    assert known.chance(start(1.0)) == before > 0.9


def test_responses_that_are_nothing_or_not_finite() -> None:
    known = Prospects()
    known.add(None, True)
    known.add(b"", True)
    known.add(write_sketch(float("inf"), AXES[0]), True)
    assert known.chance(start(1.0)) == 0.0  # none of them has a say
    known.add(start(0.0), True)
    known.add(start(1.0), False)
    assert known.chance(start(0.0)) > 0.9
    assert known.chance(b"") == 0.0 == known.chance(write_sketch(float("inf"), AXES[0]))


def test_neighbours_of_random_starts_are_those_of_a_plain_comparison() -> None:
    rng = np.random.default_rng(4)
    known, starts, ends = Prospects(), [], []
    for place in range(300):
        vector = rng.standard_normal(SKETCH) * np.exp(rng.standard_normal())
        starts.append(vector)
        ends.append(bool(rng.random() < 0.4))
        known.add(write_sketch(float(np.linalg.norm(vector)), vector), ends[-1])
        if place % 50 == 49:
            other = vector + 0.3 * rng.standard_normal(SKETCH)
            plain = sorted(
                (min(np.linalg.norm(v - other), np.linalg.norm(v + other)) / max(map(np.linalg.norm, (v, other))), end)
                for v, end in zip(starts, ends, strict=True)
            )[:NEIGHBOURS]
            weights = [(distance + BLUR) ** -2 for distance, _ in plain]
            share = sum(w for w, (_, end) in zip(weights, plain, strict=True) if end) / (sum(weights) + PRIOR)
            # Directions are kept in float16.
            assert known.chance(write_sketch(float(np.linalg.norm(other)), other)) == pytest.approx(share, abs=2e-3)


class Recorded(Prospects):
    """Prospects that note the chances they were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def chance(self, start: bytes) -> float:
        self.asked.append(super().chance(start))
        return self.asked[-1]


def test_of_several_proposals_the_likeliest_is_drawn() -> None:
    settings, places = config(choices=6, strays=0.0, twins=0.02, fresh=1.0), set()
    for index in range(8):
        known = Recorded()
        for text, end in (("x / std_wh(x)", True), ("tanh(x)", True), ("exp(x)", False), ("square(x)", False)):
            known.add(sketch(Graph.parse(text)), end)
        chosen = Proposer(settings, prospects=known).draw(index, Population(1))
        assert chosen.discarded["prospects"] == 5 and chosen.seconds["prospects"] > 0.0
        asked = list(known.asked)
        assert len(asked) == 6 and known.chance(sketch(chosen.graph.canonical)) == max(asked)
        places.add(asked.index(max(asked)))
    assert len(places) > 2  # not always the first
    stray = Proposer(replace(settings, strays=1.0), prospects=known).draw(0, Population(1))
    assert "prospects" not in stray.discarded
