"""Training a run's layers again: which tasks the executor gets and when, what is recorded, what is never repeated."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

import evonas
from evonas.errors import UsageError
from evonas.evolution.executor import Task
from evonas.language.graph import Graph
from evonas.language.zoo import ROWS, zoo
from evonas.records.memory_store import MemoryStore
from evonas.records.retraining import RERUNS, RetrainingStage
from evonas.records.store import Store
from evonas.reruns.ranking import Ranking
from evonas.reruns.rerank_plan import RerankRequest, plan_reranking, unseen_anchor
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.run_config import SEED_STEP
from tests.fakes import FakeExecutor, InterruptedExecutor
from tests.store_samples import CONFIG, candidate, failed, rejected, scored

PROTOCOL = replace(CONFIG.protocol, data_dir=None, steps=30, seed=7, objectives=("anchors", "size"))
OTHER = "efficientnet-small"
"""The unseen anchor."""
LEVELS = [0.4, 0.9, 0.6, 0.7]
"""The accuracies of candidates 0 to 3 when they are trained again; in the search each was worse than the one before."""


def chance(*parts: object) -> float:
    return hashlib.blake2b(repr(parts).encode(), digest_size=1).digest()[0] / 255 / 20


def judge(task: Task) -> Evaluation:
    """A score that depends only on what a training depends on."""
    graph = Graph.from_json(task.graph)
    known = [i for i in range(4) if candidate(i).graph.canonical == graph]
    level = LEVELS[known[0]] if known else 0.5
    (anchor,) = task.protocol.anchors
    score = level + chance(anchor, task.protocol.seed, task.split, task.held_out, graph.key)
    return Evaluation(task.index, Status.SCORED, {anchor: score}, seconds={anchor: 2.0}, attempts=task.attempt)


@pytest.fixture
def store() -> Store:
    made = MemoryStore()
    made.create_run(replace(CONFIG, protocol=PROTOCOL, seed_graphs=()), {})
    evaluations = [*(scored(i, 0.9 - 0.1 * i) for i in range(4)), rejected(4), failed(5)]
    made.record(1, candidates=[candidate(i) for i in range(6)], evaluations=evaluations)
    return made


def again(store: Store, executor: FakeExecutor | None = None, **changes: Any) -> tuple[Ranking, list[Task]]:
    """A reranking, and the tasks that the executor got."""
    executor = executor or FakeExecutor(3, 5, judge)
    asked = {"references": ("bn-relu", "rmsnorm"), "seeds": 3, "report": 2, "transfer": OTHER, **changes}
    return evonas.rerank(1, storage=store, executor=executor, **asked), executor.submitted


def test_layers_are_ranked_anew_and_the_best_and_the_references_alone_meet_the_test_split(store: Store) -> None:
    ranking, tasks = again(store)
    assert [one.id for one in ranking.layers] == ["1/1", "1/3", "1/2", "1/0"]
    assert [one.searched for one in ranking.layers] == pytest.approx([0.65, 0.55, 0.6, 0.7])
    assert ranking.reported == 2 and {one.id for one in ranking.references} == {"bn-relu", "rmsnorm"}
    for place, one in enumerate((*ranking.layers, *ranking.references)):
        assert list(one.samples) == (list(RERUNS) if place not in (2, 3) else [RetrainingStage.HELD_OUT])
        assert one.samples[RetrainingStage.HELD_OUT].scores.keys() == {"resnet-small", "mobilenet-small"}
    assert list(ranking.layers[0].samples[RetrainingStage.TRANSFER].scores) == [OTHER]
    held_out, test = [t for t in tasks if t.held_out], [t for t in tasks if not t.held_out]
    assert len(held_out) == (4 + 2) * 2 * 3 and len(test) == (2 + 2) * 3 * 3
    assert tasks == held_out + test, "what is reported is known before the test split is touched"
    assert {(t.held_out, t.split, t.protocol.steps) for t in held_out} == {(0.2, "validation", 60)}
    assert {(t.split, t.protocol.steps) for t in test} == {("test", 60)}
    tested = {Graph.from_json(t.graph) for t in test}
    assert tested == {candidate(1).graph.canonical, candidate(3).graph.canonical, zoo["bn-relu"], zoo["rmsnorm"]}


def test_seeds_are_fresh_and_shared_by_all(store: Store) -> None:
    ranking, tasks = again(store, first_seed=6)  # the run's own seed is 7
    seeds = {stage: {t.protocol.seed for t in tasks if bool(t.held_out) is stage} for stage in (True, False)}
    assert (ranking.seeds, ranking.test_seeds) == ([6, 8, 9], [10, 11, 12])
    assert seeds == {True: {6, 8, 9}, False: {10, 11, 12}}
    trained = Counter((t.graph, t.linear, t.protocol.seed) for t in tasks if t.held_out)
    assert set(trained.values()) == {2} and len(trained) == 6 * 3  # on two anchors


def test_a_task_is_one_training_of_the_runs_protocol_without_filters_or_objectives(store: Store) -> None:
    _, tasks = again(store, steps=44, held_out=0.3)
    for task in tasks:
        assert not task.filtered and len(task.protocol.anchors) == 1
        changed = {"anchors": PROTOCOL.anchors, "steps": 30, "seed": 7, "objectives": PROTOCOL.objectives}
        assert replace(task.protocol, **changed) == PROTOCOL
        assert task.protocol.steps == 44 and task.held_out in (0.0, 0.3) and task.protocol.objectives == ("anchors",)
    linear = ROWS["bn-relu"].linear_graph
    assert linear is not None
    assert {t.linear for t in tasks if Graph.from_json(t.graph) == zoo["bn-relu"]} == {linear.to_json()}


def test_a_second_call_trains_nothing_and_says_the_same(store: Store) -> None:
    first, tasks = again(store)
    assert len(store.retrainings(1)) == len(tasks)
    second, more = again(store)
    assert second.as_dict() == first.as_dict() and more == []


def test_the_test_split_is_used_once_whatever_is_asked_later(store: Store) -> None:
    first, earlier = again(store)
    before = {one.id: one for one in (*first.layers, *first.references)}
    second, tasks = again(store, seeds=5, steps=10, first_seed=50, report=3, references=("bn-relu", "dyt"))
    assert (second.test_steps, second.test_seeds) == (60, [1003, 1004, 1005])
    assert (second.steps, second.seeds) == (10, [50, 51, 52, 53, 54])
    tested = [t for t in tasks if not t.held_out]
    # New on the test split are the third layer and the new reference, as the others were measured then.
    assert {Graph.from_json(t.graph) for t in tested} == {candidate(2).graph.canonical, zoo["dyt"]}
    assert {(t.protocol.steps, t.protocol.seed) for t in tested} == {(60, seed) for seed in (1003, 1004, 1005)}
    for one in (*second.layers[:2], second.references[0]):
        if one.id in before:
            assert one.samples[RetrainingStage.TEST] == before[one.id].samples[RetrainingStage.TEST]
    met = Counter((t.graph, t.linear, t.protocol.anchors, t.protocol.seed) for t in earlier + tasks if not t.held_out)
    assert set(met.values()) == {1}


def test_the_unseen_anchor_can_come_later_and_be_left_out(store: Store) -> None:
    ranking, tasks = again(store, transfer=None)
    assert ranking.transfer is None and RetrainingStage.TRANSFER not in ranking.layers[0].samples
    assert {t.protocol.anchors for t in tasks} == {("resnet-small",), ("mobilenet-small",)}
    _, more = again(store)
    assert len(more) == (2 + 2) * 3 and {t.protocol.anchors for t in more} == {(OTHER,)}


def test_seeds_of_the_test_split_do_not_choose_layers(store: Store) -> None:
    first, _ = again(store)
    assert (first.seeds, first.test_seeds) == ([1000, 1001, 1002], [1003, 1004, 1005])
    for request in ({"seeds": 5}, {"first_seed": 1004, "seeds": 2}):
        later, _ = again(store, **request)
        assert later.test_seeds == first.test_seeds
        assert later.seeds == ([1000, 1001, 1002, 1006, 1007] if "first_seed" not in request else [1006, 1007])


@pytest.mark.parametrize("after", [1, 17, 36, 40, 71])
def test_interrupted_anywhere_it_goes_on_to_the_same_end(store: Store, after: int) -> None:
    executor = InterruptedExecutor(after, 1, 2, judge)
    with pytest.raises(KeyboardInterrupt):
        again(store, executor)
    assert len(store.retrainings(1)) == after and executor.closed == 1
    ranking, tasks = again(store)
    assert len(tasks) == 72 - after
    other = MemoryStore()
    other.create_run(store.run(1).config, {})
    other.record(1, candidates=list(store.candidates(1)), evaluations=list(store.evaluations(1)))
    assert ranking.as_dict() == again(other)[0].as_dict()


def test_what_failed_is_recorded_with_its_reason_left_out_of_pairs_and_tried_by_the_next_call(store: Store) -> None:
    best = candidate(1).graph.canonical.to_json()

    def flaky(task: Task) -> Evaluation:
        if task.graph == best and task.protocol.seed == 1001 and task.protocol.anchors == ("resnet-small",):
            return Evaluation(task.index, Status.FAILED, reason="the worker died", attempts=task.attempt)
        return judge(task)

    ranking, tasks = again(store, FakeExecutor(2, 5, flaky))
    attempts = [t.attempt for t in tasks if t.graph == best and t.protocol.seed == 1001 and t.held_out]
    assert sorted(attempts) == [1, 1, *range(2, CONFIG.max_attempts + 1)]
    assert [one.reason for one in store.retrainings(1) if one.failed] == ["the worker died"]
    best_sample = ranking.layers[0].samples[RetrainingStage.HELD_OUT]
    assert set(best_sample.by_seed) == {1000, 1002}
    assert best_sample.failures == ["resnet-small, seed 1001: the worker died"]
    compared = ranking.comparisons(RetrainingStage.HELD_OUT)
    assert [one.dropped for one in compared] == [1, 1, 0, 0]
    assert [one.paired.pairs for one in compared if one.paired] == [2, 2, 3, 3]
    mended, more = again(store)
    assert len(more) == 1 and not mended.layers[0].samples[RetrainingStage.HELD_OUT].failures


def test_a_layer_whose_trainings_all_failed_is_not_reported(store: Store) -> None:
    good = candidate(2).graph.canonical.to_json()

    def broken(task: Task) -> Evaluation:
        if task.linear is None and task.graph not in (good, zoo["rmsnorm"].to_json()):
            return Evaluation(task.index, Status.FAILED, reason="out of memory", attempts=task.attempt)
        return judge(task)

    ranking, tasks = again(store, FakeExecutor(2, 5, broken))
    assert ranking.reported == 1 and ranking.layers[0].id == "1/2"
    assert {t.graph for t in tasks if t.split == "test"} == {
        good,
        zoo["bn-relu"].to_json(),
        zoo["rmsnorm"].to_json(),
    }


@pytest.mark.parametrize(("steps", "later", "factor"), [(None, None, 2), (15, None, 1), (90, 30, 3), (30, 90, 3)])
def test_a_training_has_a_deadline_in_proportion_to_its_steps(
    steps: int | None, later: int | None, factor: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In proportion to the run's 30, never less than the run's, and that of the longer stage where they differ."""
    deadlines: list[float] = []

    def made(executor: str, protocol: object, *, deadline: float) -> FakeExecutor:
        deadlines.append(deadline)
        return FakeExecutor(2, 1, judge)

    monkeypatch.setattr("evonas.reruns.reranking.make_executor", made)
    monkeypatch.setattr("evonas.reruns.reranking.check_share", lambda plan, run: None)
    if later is not None:  # the steps of the test stage stay those of the first call
        again(store, steps=later)
    more = {"report": 3, "first_seed": 500} if later is not None else {}
    evonas.rerank(
        1, storage=store, executor="local", references=("bn-relu",), seeds=2, steps=steps, transfer=None, **more
    )
    assert deadlines == [factor * CONFIG.deadline]


def test_a_training_after_the_search_is_recorded_with_its_core_seconds(store: Store) -> None:
    def slow(task: Task) -> Evaluation:
        return replace(judge(task), wall=99.0)

    again(store, FakeExecutor(3, 5, slow))
    assert {one.seconds for one in store.retrainings(1)} == {2.0}


def test_references_come_best_first_and_once_each(store: Store) -> None:
    names = ("gn-relu", "dyt", "rmsnorm", "bn-relu", "gn-relu")
    ranking, tasks = again(store, references=names)
    assert len(ranking.references) == 4 and len({(t.graph, t.protocol, t.held_out) for t in tasks}) == len(tasks)
    means = [one.samples[RetrainingStage.HELD_OUT].mean for one in ranking.references]
    assert means == sorted(means, reverse=True) and len(set(means)) > 2
    assert [one.id for one in ranking.references] != list(names[:4])  # so that the order means something


def test_a_failed_training_on_test_decides_nothing(store: Store) -> None:
    """It measured nothing on the test split, so the steps and seeds of the next call count."""

    def failing(task: Task) -> Evaluation:
        if task.split == "test":
            return Evaluation(task.index, Status.FAILED, reason="the worker died", attempts=task.attempt)
        return judge(task)

    again(store, FakeExecutor(2, 5, failing))
    ranking, _ = again(store, steps=10, first_seed=50)
    assert (ranking.test_steps, ranking.test_seeds) == (10, [53, 54, 55])


def test_what_was_measured_on_the_unseen_anchor_alone_counts_as_measured(store: Store) -> None:
    def failing(task: Task) -> Evaluation:
        if task.split == "test" and task.protocol.anchors != (OTHER,):
            return Evaluation(task.index, Status.FAILED, reason="the worker died", attempts=task.attempt)
        return judge(task)

    again(store, FakeExecutor(2, 5, failing))
    ranking, _ = again(store, steps=10, first_seed=50)
    assert (ranking.test_steps, ranking.test_seeds) == (60, [1003, 1004, 1005])


@pytest.mark.parametrize("changes", [{"first_seed": 50}, {"steps": 10}])
def test_other_seeds_or_other_steps_alone_measure_nothing_anew_on_test(changes: dict[str, Any], store: Store) -> None:
    again(store)
    ranking, tasks = again(store, **changes)
    assert (ranking.test_steps, ranking.test_seeds) == (60, [1003, 1004, 1005])
    assert all(task.split == "validation" for task in tasks) and tasks


@pytest.mark.parametrize(("report", "first"), [(2, 72), (4, 90), (9, 90)])
def test_progress_ends_at_nothing_left(report: int, first: int, store: Store) -> None:
    """Six layers are trained on two anchors, the references and as many as are reported on three, with three seeds."""
    left: list[int] = []

    class Watch:
        def tick(self, pending: int) -> None:
            left.append(pending)

    again(store, progress=Watch(), report=report)
    assert left[0] == first and left[-1] == 0 and left == sorted(left, reverse=True)


def test_top_chooses_by_the_searchs_mean(store: Store) -> None:
    ranking, _ = again(store, top=2, report=9)
    assert [one.id for one in ranking.layers] == ["1/1", "1/0"] and ranking.reported == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"top": 0}, "top must be at least 1, not 0"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"report": 0}, "report must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"first_seed": -1}, "seed must be at least 0"),
        ({"held_out": 0.0}, "held_out must be greater than 0 and less than 1"),
        ({"held_out": 1.0}, "held_out must be greater than 0 and less than 1"),
        ({"held_out": float("nan")}, "held_out must be greater than 0 and less than 1"),
        ({"references": ("bn-reul",)}, "unknown layer 'bn-reul'"),
        ({"transfer": "vgg-huge"}, "unknown anchor 'vgg-huge'"),
        ({"transfer": "resnet-small"}, "run 1 was searched with resnet-small"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(store: Store, changes: dict[str, Any], says: str) -> None:
    executor = FakeExecutor(1)
    with pytest.raises(UsageError, match=says):
        again(store, executor, **changes)
    assert not executor.submitted and not store.retrainings(1)


def test_a_run_without_scored_layers_is_refused(store: Store) -> None:
    store.create_run(CONFIG, {})
    store.create_run(replace(CONFIG, protocol=PROTOCOL), {})
    store.record(3, candidates=[candidate(0)], evaluations=[rejected(0)])
    with pytest.raises(UsageError, match="run 3 has no scored layer yet"):
        evonas.rerank(storage=store, executor=FakeExecutor(1), transfer=None)
    with pytest.raises(UsageError, match="there is no run 9"):
        evonas.rerank(9, storage=store, executor=FakeExecutor(1), transfer=None)


def test_seeds_of_rungs_are_not_fresh(store: Store) -> None:
    """The run of seed 1000 − 1,000,003 · rung would train on a rung with the first seed of a reranking."""
    run = store.run(1)
    config = replace(run.config, rungs=(2,), protocol=replace(run.config.protocol, seed=2**63 + 1000 - SEED_STEP))
    plan = plan_reranking(store, replace(run, config=config), RerankRequest(2, (), 3, 1000, None, 0.2, 1, None))
    assert list(plan.seeds) == [1001, 1002, 1003]


def test_the_unseen_anchor_is_one_that_the_run_did_not_train() -> None:
    def unseen(*anchors: str, target: tuple[str, ...] = ()) -> str | None:
        return unseen_anchor(replace(CONFIG, protocol=replace(PROTOCOL, anchors=anchors), target_anchors=target))

    assert unseen("resnet-small", "mobilenet-small") == "vgg-small"
    assert unseen("resnet-small", "vgg-small@0.5") == "densenet-small"
    assert unseen("vgg-small", "densenet-small", "efficientnet-small") is None
    assert unseen("resnet-small", target=("mine.py:network", "vgg-small")) == "densenet-small"
    assert unseen("resnet-small", "vgg-small", target=("resnet-medium@0.5",)) == "densenet-medium"
    assert unseen("vgg-small", "densenet-small", target=("efficientnet-medium",)) is None


def test_rungs_lengthen_the_trainings_of_a_reranking(store: Store) -> None:
    run = store.run(1)
    for rungs, times in (((), 2), ((2, 4), 4), ((1,), 2)):
        config = replace(run.config, rungs=rungs)
        plan = plan_reranking(store, replace(run, config=config), RerankRequest(2, (), 3, 1000, None, 0.2, 1, None))
        assert plan.steps == times * PROTOCOL.steps
