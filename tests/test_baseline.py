"""Training layers with several seeds: which tasks the executor gets, and how its results are collected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evonas.errors import UsageError
from evonas.evolution.executor import Task
from evonas.language.graph import Graph
from evonas.language.zoo import ROWS, zoo
from evonas.reruns.baseline import Comparison, baseline
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from tests.fakes import FakeExecutor

PROTOCOL = EvaluationProtocol(anchors=("resnet-small", "mobilenet-small"), seed=99)
MINE = "tanh(x) + v0"


def judge(task: Task) -> Evaluation:
    """A score that is different for each layer, seed and anchor."""
    layer = 0.5 if Graph.from_json(task.graph) == zoo["bn-relu"] else 0.25
    scores = {anchor: layer + 0.01 * task.protocol.seed + 0.001 * i for i, anchor in enumerate(PROTOCOL.anchors)}
    seconds = dict.fromkeys(PROTOCOL.anchors, 1.0 + task.protocol.seed)
    return Evaluation(task.index, Status.SCORED, scores, seconds=seconds, attempts=task.attempt)


def test_layers_come_back_in_order_with_their_seeds() -> None:
    executor = FakeExecutor(4, 2, judge)  # results arrive in another order
    graph = Graph.parse(MINE)
    found = baseline([MINE, "bn-relu", graph], protocol=PROTOCOL, seeds=(0, 3, 1), executor=executor)
    assert [c.layer for c in found] == [MINE, "bn-relu", graph.expression()]
    for comparison, level in zip(found, (0.25, 0.5, 0.25), strict=True):
        assert list(comparison.scores) == list(PROTOCOL.anchors)
        assert comparison.scores["resnet-small"] == pytest.approx([level, level + 0.03, level + 0.01])
        assert comparison.scores["mobilenet-small"] == pytest.approx([level + 0.001, level + 0.031, level + 0.011])
        assert comparison.seconds == dict.fromkeys(PROTOCOL.anchors, pytest.approx(1 + 4 / 3))
        assert not comparison.failures
    assert executor.closed == 1


def test_tasks_are_unfiltered_and_published_layers_are_placed_as_published() -> None:
    executor = FakeExecutor(2, 1, judge)
    baseline(["bn-relu", "evonorm-s0", MINE], protocol=PROTOCOL, seeds=(5, 6), split="test", executor=executor)
    assert len({task.index for task in executor.submitted}) == len(executor.submitted) == 6
    for task, layer in zip(executor.submitted, ["bn-relu"] * 2 + ["evonorm-s0"] * 2 + [MINE] * 2, strict=True):
        assert not task.filtered and task.split == "test"
        assert Graph.from_json(task.graph) == (zoo[layer] if layer in zoo else Graph.parse(MINE))
        linear = ROWS["bn-relu"].linear if layer == "bn-relu" else None
        assert task.linear == (Graph.parse(linear).to_json() if linear else None)
    assert [task.protocol for task in executor.submitted] == [replace(PROTOCOL, seed=s) for s in (5, 6)] * 3


def test_mean_and_spread() -> None:
    both = Comparison("x", {"a": [0.1, 0.3], "b": [0.5, 0.5]}, {})
    assert both.mean() == pytest.approx(0.35)
    assert (both.mean("a"), both.mean("b")) == pytest.approx((0.2, 0.5))
    # The sample standard deviation: of (0.1, 0.3) it is 0.2 / √2; of the means over anchors half of that.
    assert both.spread("a") == pytest.approx(0.2 / 2**0.5)
    assert both.spread() == pytest.approx(0.1 / 2**0.5)
    assert both.spread("b") == 0
    assert Comparison("x", {"a": [0.4]}, {}).spread() == 0


def test_failures_are_reported_beside_the_seeds_that_worked() -> None:
    def flaky(task: Task) -> Evaluation:
        if task.protocol.seed == 1:
            return Evaluation(task.index, Status.FAILED, reason="the worker died", attempts=task.attempt)
        return judge(task)

    (found,) = baseline(["bn-relu"], protocol=PROTOCOL, seeds=(0, 1, 2), executor=FakeExecutor(2, 1, flaky))
    assert found.scores["resnet-small"] == pytest.approx([0.5, 0.52])
    assert found.failures == ["the worker died"]
    (found,) = baseline(["bn-relu"], protocol=PROTOCOL, seeds=(1,), executor=FakeExecutor(1, 1, flaky))
    assert found.scores == {"resnet-small": [], "mobilenet-small": []}
    assert found.failures == ["the worker died"]


@pytest.mark.parametrize(
    ("layers", "seeds", "message"),
    [
        ([], (0,), "there is nothing to train"),
        (["bn-relu"], (), "there is nothing to train"),
        (["bn-reul"], (0,), "'bn-reul' is neither a published layer"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(layers: list[str], seeds: tuple[int, ...], message: str) -> None:
    executor = FakeExecutor(1)
    with pytest.raises(UsageError, match=message):
        baseline(layers, protocol=PROTOCOL, seeds=seeds, executor=executor)
    assert not executor.submitted


def test_an_unknown_anchor_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown anchor 'resnet-huge'"):
        baseline(["bn-relu"], protocol=EvaluationProtocol(anchors=("resnet-huge",)), executor=FakeExecutor(1))


def test_progress_is_reported_to_the_end() -> None:
    left: list[int] = []

    class Watch:
        def drawn(self, candidate: object) -> None: ...
        def evaluated(self, candidate: object, evaluation: Evaluation) -> None: ...
        def referenced(self, layer: str, evaluation: Evaluation) -> None: ...
        def tick(self, pending: int) -> None:
            left.append(pending)

    baseline(["bn-relu"], protocol=PROTOCOL, seeds=range(5), executor=FakeExecutor(2, 1, judge), progress=Watch())
    assert left[-1] == 0 and left == sorted(left, reverse=True)
