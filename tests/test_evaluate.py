"""An evaluation as a whole: its steps, what it depends on, and its result."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from evonas.evolution.executor import Task
from evonas.language.graph import Graph
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.trial.evaluate import evaluate_task
from evonas.workers.trial.training import Training
from evonas.workers.trial.trial import Trial
from tests.plain_training import plain_accuracy, plainly_trained

# Few steps of small batches: nothing here depends on how well a layer learns, so floors of 0 and 1 stand
# for layers that do and do not.
QUICK = EvaluationProtocol(
    anchors=("resnet-small",),
    steps=4,
    batch=16,
    early_steps=(2,),
    early_floors=(0.0,),
    stability_steps=(),
    hurdle_steps=(),
    quality_step=3,
    quality_floor=0.0,
)


@pytest.fixture(scope="module")
def data() -> DataSet:
    torch.set_num_threads(1)
    return load_dataset("digits")


def trial(text: str, data: DataSet, protocol: EvaluationProtocol = QUICK) -> Trial:
    return Trial(LayerFactory(Graph.parse(text)), protocol, data)


def evaluated(text: str, data: DataSet, protocol: EvaluationProtocol = QUICK, **changes: object) -> Evaluation:
    return evaluate_task(replace(Task(0, 1, Graph.parse(text).to_json(), protocol), **changes), data)  # type: ignore[arg-type]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Training steps by anchor, counted as batches are fetched, and trainings by anchor."""
    counts: Counter[str] = Counter()
    init, advance = Training.__init__, Training.advance

    def counted_init(self: Training, anchor: str, *rest: object, **more: object) -> None:
        init(self, anchor, *rest, **more)  # type: ignore[arg-type]
        self.anchor = anchor  # type: ignore[attr-defined]
        counts[f"{anchor} built"] += 1

    def counted_advance(self: Training, to_step: int) -> bool:
        before = self.step
        alive = advance(self, to_step)
        counts[self.anchor] += self.step - before  # type: ignore[attr-defined]
        return alive

    monkeypatch.setattr(Training, "__init__", counted_init)
    monkeypatch.setattr(Training, "advance", counted_advance)
    return counts


TWO = replace(QUICK, anchors=("resnet-small", "mobilenet-small"))


def test_no_step_is_done_twice(data: DataSet, steps: Counter[str]) -> None:
    evaluation = evaluated("tanh(v1 * x)", data, TWO)
    assert evaluation.status is Status.SCORED and list(evaluation.scores) == list(TWO.anchors)
    assert [outcome.name for outcome in evaluation.filters] == ["signal", "early-2", "quality"]
    assert all(outcome.accepted and not outcome.reason for outcome in evaluation.filters)
    built = {f"{anchor} built": 1 for anchor in TWO.anchors}
    assert steps == {**dict.fromkeys(TWO.anchors, TWO.steps), **built}


@pytest.mark.parametrize(
    ("changes", "reached", "reason", "done"),
    [
        ({"early_floors": (1.1,)}, ["signal", "early-2"], "at chance", 2),
        ({"quality_floor": 1.1}, ["signal", "early-2", "quality"], "low accuracy", 3),
    ],
)
def test_a_rejected_candidate_costs_no_further_step(
    changes: dict[str, object], reached: list[str], reason: str, done: int, data: DataSet, steps: Counter[str]
) -> None:
    evaluation = evaluated("tanh(v1 * x)", data, replace(TWO, **changes))  # type: ignore[arg-type]
    assert evaluation.status is Status.REJECTED and not evaluation.scores and not evaluation.seconds
    assert [outcome.name for outcome in evaluation.filters] == reached
    assert evaluation.filters[-1].reason == reason and not evaluation.filters[-1].accepted
    assert evaluation.core_seconds == sum(outcome.seconds for outcome in evaluation.filters) > 0
    assert steps == {"resnet-small": done, "resnet-small built": 1}


def test_filters_change_no_score(data: DataSet) -> None:
    """The filters share the training with scoring, and must not change it."""
    filtered = evaluated("x * sigmoid(v1 * x) / std_whcg(x)", data, TWO)
    plain = evaluated("x * sigmoid(v1 * x) / std_whcg(x)", data, TWO, filtered=False)
    assert plain.filters == ()
    assert filtered.scores == plain.scores


def test_the_seed_of_the_protocol_decides_and_nothing_else(data: DataSet) -> None:
    text = "x * sigmoid(v1 * x) / std_whcg(x)"
    first = evaluated(text, data)
    torch.manual_seed(123)
    evaluated("tanh(x)", data, replace(QUICK, seed=5))
    again = evaluated(text, data, index=9, attempt=2)
    assert (again.scores, again.index, again.attempts) == (first.scores, 9, 2)
    # Single accuracies may agree by chance; the filters' measurements and three seeds all at once do not.
    others = [evaluated(text, data, replace(QUICK, seed=seed)) for seed in (1, 2, 3)]
    assert len({(e.filters[1].value, e.filters[2].value, *e.scores.values()) for e in [first, *others]}) > 1


def test_an_anchor_on_which_a_layer_diverges_scores_0(data: DataSet) -> None:
    evaluation = evaluated("exp(exp(x))", data, TWO, filtered=False)
    assert evaluation.status is Status.SCORED
    assert evaluation.scores == dict.fromkeys(TWO.anchors, 0.0)
    assert evaluation.reason == "diverged on resnet-small, mobilenet-small"
    assert evaluated("exp(exp(x))", data, TWO).status is Status.REJECTED


def test_a_training_that_ended_early_is_not_measured(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights may be finite after a loss that was not, but their accuracy is meaningless."""
    monkeypatch.setattr(Training, "advance", lambda self, to_step: False)
    assert evaluated("tanh(x)", data, filtered=False).scores == {"resnet-small": 0.0}


def test_a_held_out_part_is_scored_on_and_not_trained_on(data: DataSet) -> None:
    longer = replace(QUICK, steps=30, batch=64)
    found = evaluated("tanh(v1 * x)", data, longer, filtered=False, held_out=0.2)
    less = data.held_out(0.2, seed=0)
    assert len(less.train) < len(data.train)
    training = trial("tanh(v1 * x)", less, longer).first
    training.advance(30)
    assert found.scores == {"resnet-small": training.accuracy("validation")} and not found.reason
    assert found.scores != evaluated("tanh(v1 * x)", data, longer, filtered=False).scores


def test_scores_are_measured_on_the_split_asked_for(data: DataSet) -> None:
    one = trial("tanh(v1 * x)", data)
    one.first.advance(QUICK.steps)
    for split in ("validation", "test"):
        scores = evaluated("tanh(v1 * x)", data, filtered=False, split=split).scores
        assert scores == {"resnet-small": one.first.accuracy(split)}


def test_the_linear_form_is_used_where_there_is_no_activation(data: DataSet) -> None:
    """MobileNet's projections have no activation, so another layer there makes a different network."""
    mobile = replace(QUICK, anchors=("mobilenet-small",))
    linear = Graph.parse("x / std_bwh(x)").to_json()
    plain = Trial(LayerFactory(Graph.parse("tanh(x)")), mobile, data)
    placed = Trial(LayerFactory(Graph.parse("tanh(x)"), Graph.from_json(linear)), mobile, data)
    images, _ = data.batches(0, 16)[0]
    assert not torch.equal(plain.first.model(images), placed.first.model(images))
    placed.first.advance(4)
    scores = evaluated("tanh(x)", data, mobile, filtered=False, linear=linear).scores
    assert scores == {"mobilenet-small": placed.first.accuracy("validation")}


HURDLED = replace(
    QUICK, anchors=("resnet-small", "mobilenet-small", "efficientnet-small"), hurdle_steps=(2,), hurdle_quantile=0.5
)
PLACES = [
    "hurdle resnet-small end",
    "hurdle mobilenet-small 2",
    "hurdle mobilenet-small end",
    "hurdle efficientnet-small 2",
]


def test_checkpoints_are_recorded_during_training(data: DataSet) -> None:
    evaluation = evaluated("tanh(x)", data, HURDLED)
    assert [o.name for o in evaluation.filters[3:]] == PLACES
    values = {o.name: o.value for o in evaluation.filters}
    assert values["hurdle resnet-small end"] == evaluation.scores["resnet-small"]
    assert replace(evaluation, filters=(), seconds={}, wall=0.0) == replace(
        evaluated("tanh(x)", data, replace(HURDLED, hurdle_steps=())), filters=(), seconds={}, wall=0.0
    )


def test_checkpoints_measure_what_a_training_that_is_written_out_has_there(data: DataSet) -> None:
    """During training, it is the accuracy on the last ten batches; at the end, that on validation images."""
    protocol = replace(
        HURDLED, anchors=HURDLED.anchors[:2], steps=13, batch=16, hurdle_steps=(12,), backend="reference"
    )
    evaluation = evaluated("x / std_bwh(x)", data, protocol)
    values = {o.name: o.value for o in evaluation.filters}
    layer = LayerFactory(Graph.parse("x / std_bwh(x)"))
    first, second = (plainly_trained(layer, data, protocol, 13, anchor) for anchor in protocol.anchors)
    # Up to an image of each batch, or two of the split, that lie on the border between classes to within rounding.
    assert values["hurdle mobilenet-small 12"] == pytest.approx(sum(second.found[2:12]) / 10, abs=1 / 160 + 1e-9)
    for anchor, plain in zip(protocol.anchors, (first, second), strict=True):
        expected = plain_accuracy(plain.model, data.validation.images, data.validation.labels)
        assert evaluation.scores[anchor] == pytest.approx(expected, abs=2 / len(data.validation))
    assert values["hurdle resnet-small end"] == evaluation.scores["resnet-small"]
    assert evaluation.scores["resnet-small"] != evaluation.scores["mobilenet-small"]


def test_a_value_that_equals_the_floor_is_enough(data: DataSet) -> None:
    """At every checkpoint, because many candidates with one value make it the quantile."""
    once = evaluated("tanh(x)", data, HURDLED)
    values = {o.name: o.value for o in once.filters if o.name in PLACES and o.value is not None}
    assert list(values) == PLACES
    again = evaluated("tanh(x)", data, HURDLED, floors=values)
    assert again.status is Status.SCORED and again.scores == once.scores
    for place, value in values.items():
        above = evaluated("tanh(x)", data, HURDLED, floors={place: value + 1e-9})
        assert (above.status, above.filters[-1].name) == (Status.REJECTED, place)
        assert above.filters[-1].value == value


def test_a_layer_that_diverges_has_nothing_at_its_checkpoints(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Training.advance
    monkeypatch.setattr(
        Training, "advance", lambda self, to: advance(self, to) and type(self.model).__name__ != "InvertedNet"
    )
    evaluation = evaluated("tanh(x)", data, HURDLED)
    assert {o.name: o.value for o in evaluation.filters if o.name in PLACES[1:]} == dict.fromkeys(PLACES[1:], 0.0)
    assert evaluation.scores["resnet-small"] > 0.0 == evaluation.scores["efficientnet-small"]
    assert evaluation.reason == "diverged on mobilenet-small, efficientnet-small"
    behind = evaluated("tanh(x)", data, HURDLED, floors=dict.fromkeys(PLACES[1:], 0.01))
    assert behind.filters[-1].name == PLACES[1] and behind.filters[-1].reason == "behind" and not behind.reason
    ended = evaluated("tanh(x)", data, HURDLED, floors={PLACES[2]: 0.01})
    assert ended.filters[-1].name == PLACES[2] and not ended.reason  # no note on divergence if rejected


@pytest.mark.parametrize("place", range(4))
def test_training_stops_for_a_candidate_that_falls_behind(place: int, data: DataSet, steps: Counter[str]) -> None:
    reached = [
        {"resnet-small": 4},
        {"resnet-small": 4, "mobilenet-small": 2},
        {"resnet-small": 4, "mobilenet-small": 4},
        {"resnet-small": 4, "mobilenet-small": 4, "efficientnet-small": 2},
    ]
    evaluation = evaluated("tanh(x)", data, HURDLED, floors={PLACES[place]: 1.1})
    assert evaluation.status is Status.REJECTED and not evaluation.scores
    assert (evaluation.filters[-1].name, evaluation.filters[-1].reason) == (PLACES[place], "behind")
    assert {name: count for name, count in steps.items() if "built" not in name} == reached[place]
    assert list(evaluation.seconds) == list(reached[place])


def test_published_layers_meet_no_hurdle(data: DataSet) -> None:
    floors = dict.fromkeys(PLACES, 1.1)
    evaluation = evaluated("tanh(x)", data, HURDLED, floors=floors, filtered=False)
    assert evaluation.status is Status.SCORED and evaluation.filters == ()
