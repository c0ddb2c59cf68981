"""A search ends with a verification: its finalists, its trainings, interruptions, and what is shown of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evonas
from evonas.evolution.executor import Task
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.records.memory_store import MemoryStore
from evonas.records.retraining import RetrainingStage
from evonas.records.run_info import RunStatus
from evonas.reruns.finalists import finalists
from evonas.reruns.rerank_plan import UNSEEN_ANCHORS
from evonas.reruns.verification import verify
from evonas.settings.candidate import Candidate, Evaluation, Origin, OriginKind, Status
from evonas.settings.run_config import REFERENCES
from evonas.setup.assemble import open_storage
from evonas.workers.executors import local_executor
from tests.fakes import FakeExecutor, InterruptedExecutor
from tests.store_samples import CONFIG, scored
from tests.test_cli import Call, call  # noqa: F401  a fixture

LAYERS = ("evonorm-b1", "evonorm-b2", "evonorm-s0", "gn-relu", "bn-relu")
"""Candidates 0 to 4: the search scores them in this order, best first. The first two are of one family."""
PROTOCOL = replace(CONFIG.protocol, data_dir=None, steps=30, seed=7)
RUN = replace(CONFIG, protocol=PROTOCOL, seed_graphs=(), finalists=3, verify_seeds=2)
LEVELS = {"evonorm-s0": 0.8, "bn-relu": 0.6, "gn-relu": 0.7}
TRAININGS = 3 * 2 * 2 + (1 + len(REFERENCES)) * 3 * 2


def judge(task: Task) -> Evaluation:
    """A score that depends only on what a training depends on."""
    key = Graph.from_json(task.graph).key
    level = next((LEVELS.get(name, 0.5) for name, graph in zoo.items() if graph.key == key), 0.5)
    (anchor,) = task.protocol.anchors
    noise = hashlib.blake2b(repr((key, anchor, task.protocol.seed, task.split)).encode(), digest_size=1).digest()[0]
    score = level + noise / 255 / 500
    return Evaluation(task.index, Status.SCORED, {anchor: score}, seconds={anchor: 1.0}, attempts=task.attempt)


def searched(status: RunStatus = RunStatus.FINISHED, layers: Sequence[str] = LAYERS, **changes: Any) -> MemoryStore:
    store = MemoryStore()
    store.create_run(replace(RUN, **changes), {})
    drawn = [
        Candidate(i, zoo[name].canonical, zoo[name].key, f"function-{i}", Origin(OriginKind.SEED))
        for i, name in enumerate(layers)
    ]
    judged = [scored(i, 0.9 - 0.1 * i) for i in range(len(layers))]
    store.record(1, candidates=drawn, evaluations=judged, status=status)
    return store


def test_finalists_are_the_best_of_each_family() -> None:
    store = searched()
    assert finalists(store, 1, 3) == [0, 2, 3]  # evonorm-b2 does what evonorm-b1 does, and scored less
    assert finalists(store, 1, 9) == [0, 2, 3, 4] and finalists(store, 1, 1) == [0]
    assert finalists(searched(layers=()), 1, 5) == []


def test_layers_are_verified_on_the_networks_that_they_are_for() -> None:
    store, executor = searched(target_anchors=("resnet-medium",)), FakeExecutor(3, 5, judge)
    found = verify(store, 1, executor)
    assert found.verdict is not None and found.verdict.sound and found.verdict.unseen == "vgg-medium"
    asked = [(task.held_out > 0, task.protocol.anchors) for task in executor.submitted]
    assert set(asked) == {(True, ("resnet-medium",)), (False, ("resnet-medium",)), (False, ("vgg-medium",))}
    assert "points on images that chose nothing, in resnet-medium" in str(found.verdict)
    assert found.verdict.as_dict()["target"] == ["resnet-medium"]
    assert found.verdict.layer is not None
    assert [list(of.scores) for of in found.verdict.layer.samples.values()] == [
        ["resnet-medium"],
        ["resnet-medium"],
        ["vgg-medium"],
    ]


def test_finalists_of_one_kind_are_limited_while_there_are_others() -> None:
    layers = "bn-swish", "bn-relu", "gn-relu", "in-relu", "dyt"  # the first two normalise over the batch alone
    store = searched(layers=layers, of_one_kind=0.25, budget=5)
    assert finalists(store, 1, 3) == [0, 2, 3] and finalists(store, 1, 1) == [0]
    assert finalists(store, 1, 4) == [0, 2, 3, 4]
    assert finalists(store, 1, 5) == [0, 1, 2, 3, 4]  # nobody else takes the place


def test_finalists_are_found_far_down() -> None:
    """A family can fill the first hundred places."""
    store = MemoryStore()
    store.create_run(RUN, {})
    drawn = [
        Candidate(i, zoo["bn-relu" if i < 99 else "gn-relu"].canonical, f"key-{i}", f"f-{i}", Origin(OriginKind.SEED))
        for i in range(100)
    ]
    judged = [scored(i, 0.9 - 0.001 * i) for i in range(100)]
    store.record(1, candidates=drawn, evaluations=judged)
    assert finalists(store, 1, 2) == [0, 99]


def test_the_best_on_held_out_images_alone_meets_the_test_split() -> None:
    store, executor = searched(), FakeExecutor(3, 5, judge)
    found = verify(store, 1, executor)
    assert found.note == "" and found.verdict is not None and found.verdict.layer is not None
    assert found.verdict.layer.id == "1/2" and found.verdict.sound and found.verdict.better
    held_out = [task for task in executor.submitted if task.held_out]
    test = executor.submitted[len(held_out) :]
    assert executor.submitted[: len(held_out)] == held_out and len(executor.submitted) == TRAININGS
    assert {Graph.from_json(task.graph).key for task in held_out} == {zoo[LAYERS[i]].key for i in (0, 2, 3)}
    assert {Graph.from_json(task.graph).key for task in test} == {zoo[n].key for n in ("evonorm-s0", *REFERENCES)}
    assert {task.split for task in test} == {"test"} and {task.protocol.steps for task in executor.submitted} == {60}
    seeds = [{task.protocol.seed for task in tasks} for tasks in (held_out, test)]
    assert seeds == [{1000, 1001}, {1002, 1003}]
    assert store.run(1).status is RunStatus.FINISHED and executor.closed == 0
    # A reranking shows the same, and measures nothing on the test split again.
    again = FakeExecutor(3, 5, judge)
    ranking = evonas.rerank(1, storage=store, executor=again, seeds=2, top=3, report=1, references=REFERENCES)
    assert all(task.held_out for task in again.submitted) and ranking.layers[0].id == "1/2"
    idle = FakeExecutor(1)
    assert verify(store, 1, idle).verdict is not None and idle.submitted == []


def test_of_two_that_tie_the_one_that_collapsed_is_passed_over_and_no_other_replaces_one_that_fell_on_test() -> None:
    def fragile(task: Task) -> Evaluation:
        found = judge(task)
        key, (anchor,) = Graph.from_json(task.graph).key, task.protocol.anchors
        fell = (
            key == zoo["evonorm-s0"].key
            and task.linear is None
            and task.protocol.seed == 1000
            and anchor == "resnet-small"
        )
        fell = fell or (
            key == zoo["gn-relu"].key and task.linear is None and task.split == "test" and task.protocol.seed == 1003
        )
        return replace(found, scores={anchor: 0.0}, reason=f"diverged on {anchor}") if fell else found

    store, executor = searched(), FakeExecutor(3, 5, fragile)
    found = verify(store, 1, executor).verdict
    assert found is not None and found.layer is not None and found.layer.id == "1/3" and found.word == "collapsed"
    tested = {one.layer for one in store.retrainings(1) if one.stage is not RetrainingStage.HELD_OUT}
    assert tested == {3, *REFERENCES}


def test_the_setting_decides_on_steps_and_deadline() -> None:
    class Patient(FakeExecutor):
        allowed = 0.0

        def allow(self, seconds: float) -> None:
            self.allowed = seconds

    executor = Patient(3, 5, judge)
    verify(searched(verify_steps=90), 1, executor)
    assert {task.protocol.steps for task in executor.submitted} == {90} and executor.allowed == 3 * RUN.deadline


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layers": ()}, "it has no scored layer"),
        ({"status": RunStatus.INTERRUPTED}, "its search has not ended"),
        ({"protocol": replace(PROTOCOL, data="npz", data_dir="nowhere.npz")}, "nowhere.npz"),
        ({"finalists": 0}, ""),
    ],
)
def test_what_cannot_be_verified_says_why_and_trains_nothing(changes: dict[str, Any], says: str) -> None:
    executor = FakeExecutor(1, 0, judge)
    found = verify(searched(**changes), 1, executor)
    assert found.verdict is None and executor.submitted == [] and says in found.note and bool(found.note) == bool(says)


def test_images_that_leave_none_to_hold_out(tmp_path: Path) -> None:
    images = np.zeros((2, 8, 8), np.uint8)
    splits = {
        f"{kind}_{name}": of
        for name in ("train", "validation", "test")
        for kind, of in (("x", images), ("y", np.arange(2)))
    }
    np.savez(tmp_path / "few.npz", **splits)
    found = verify(
        searched(protocol=replace(PROTOCOL, data="npz", data_dir=str(tmp_path / "few.npz"))), 1, FakeExecutor()
    )
    assert found.verdict is None and "cannot be held out: one side would be empty" in found.note


def test_an_anchor_that_the_search_trained_is_not_unseen() -> None:
    protocol = replace(PROTOCOL, anchors=UNSEEN_ANCHORS)
    store = MemoryStore()
    store.create_run(replace(RUN, protocol=protocol), {})
    drawn = Candidate(0, zoo["dyt"].canonical, "key", "f", Origin(OriginKind.SEED))
    ended = Evaluation(0, Status.SCORED, dict.fromkeys(UNSEEN_ANCHORS, 0.5))
    store.record(1, candidates=[drawn], evaluations=[ended], status=RunStatus.FINISHED)
    found = verify(store, 1, FakeExecutor(2, 1, judge))
    trained = f"the search trained networks like each of {', '.join(UNSEEN_ANCHORS)} itself"
    assert found.note == f"no unseen network is tried: {trained}"
    assert found.verdict is not None and found.verdict.unseen is None and found.verdict.sound


@pytest.mark.parametrize("after", [0, 5, 12, 14, TRAININGS - 1])
def test_interrupted_anywhere_it_goes_on_to_the_same_records(after: int) -> None:
    store, left = searched(), []

    class Watch:
        def tick(self, pending: int) -> None:
            left.append(pending)

    stopped = verify(store, 1, InterruptedExecutor(after, 1, 2, judge), Watch())
    assert left[0] == TRAININGS and f"{after} trainings are recorded, `evonas resume 1` continues" in stopped.note
    assert stopped.verdict is None or (stopped.verdict.missing and not stopped.verdict.better)
    assert store.run(1).status is RunStatus.FINISHED and store.coordinator(1) is None
    rest, other = FakeExecutor(1, 3, judge), searched()
    ended, undisturbed = verify(store, 1, rest), verify(other, 1, FakeExecutor(3, 5, judge))
    assert len(rest.submitted) == TRAININGS - after and ended.verdict is not None and undisturbed.verdict is not None
    assert store.retrainings(1) == other.retrainings(1)
    assert ended.verdict.as_dict() == undisturbed.verdict.as_dict()


QUICK = (
    *("--executor", "local", "--anchor", "resnet-small", "--steps", 10, "--budget", 3, "--strategy", "random"),
    *("--data", "digits", "--set", "protocol.floors=absolute"),
    *("--set", "protocol.quality_floor=0", "--set", "protocol.early_steps=[]", "--set", "protocol.early_floors=[]"),
    *("--set", "protocol.signal=false", "--set", "protocol.stability_steps=[]", "--set", "twins=0"),
    *("--seed-graph", "bn-relu", "--seed-graph", "evonorm-s0", "--seed-graph", "gn-relu"),
    *("--set", "finalists=2", "--set", "verify_seeds=1", "--set", "verify_steps=12"),
)
QUICK_TRAININGS = 2 + (1 + len(REFERENCES)) * 2


@pytest.fixture(scope="module")
def unverified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three published layers without a verification."""
    path = tmp_path_factory.mktemp("unverified") / "runs.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["evonas"])
        from evonas.cli import app

        app(["search", *map(str, QUICK), "--no-verify", "--storage", str(path)], standalone_mode=False)
    return path


def test_a_search_without_verification_says_that_its_best_is_unverified(
    call: Call,  # noqa: F811
    unverified: Path,
    tmp_path: Path,
) -> None:
    path = shutil.copy(unverified, tmp_path / "runs.db")
    with open_storage(str(path)) as store:
        assert store.retrainings(1) == []
    for command in ("best", "status"):
        assert "verified" in call(command, "--storage", path)[1]
    assert call.json("status", "--storage", path)["verdict"] is None
    assert "it is not among the layers that were" in " ".join(call("show", "0", "--storage", path)[1].split())
    code, out, _ = call("resume", "--no-verify", "--executor", "local", "--storage", path)
    assert code == 0 and "No layer of this run is verified" in " ".join(out.split())
    assert "Next: `evonas resume 1` verifies the best" in out and "export" not in out


def test_a_run_is_verified_interrupted_and_resumed_and_every_viewer_repeats_the_verdict(
    call: Call,  # noqa: F811
    unverified: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = Path(shutil.copy(unverified, tmp_path / "runs.db"))
    evaluate_task, done = local_executor.evaluate_task, []

    def counted(task: Task, data: Any) -> Evaluation:
        if len(done) == 4:
            done.append(None)
            raise KeyboardInterrupt
        done.append(task)
        return evaluate_task(task, data)

    monkeypatch.setattr(local_executor, "evaluate_task", counted)
    common = ("--executor", "local", "--storage", path)
    code, out, err = call("resume", *common)
    assert code == 0 and "verifying: 0 of 16 trainings done" in err
    assert "4 trainings are recorded, `evonas resume 1` continues" in " ".join(out.split()) and "export" not in out
    found = call.json("resume", *common)
    assert found["status"] == "finished" and len(done) == QUICK_TRAININGS + 1 and found["verdict"]["verified"] is True
    text = found["verdict"]["text"]
    assert found["verdict"]["layer"]["id"] in ("1/0", "1/1", "1/2") and len(found["verdict"]["finalists"]) == 2
    # With one seed nothing is told apart, so that nothing is recommended.
    assert "is not told apart from it" in text and found["verdict"]["better"] is False
    code, out, _ = call("resume", *common)
    assert len(done) == QUICK_TRAININGS + 1, "nothing is trained or measured again"
    said = " ".join(out.split())
    assert text in said and "finalists, trained again" in said and "export" not in said and "search longer" in said
    layer = found["verdict"]["layer"]["id"]
    assert text in " ".join(call("best", "--storage", path)[1].split())
    best = call.json("best", "--storage", path)
    assert {row["id"]: row["verdict"] for row in best} == {
        row["id"]: found["verdict"] if row["id"] == layer else None for row in best
    }
    assert call.json("show", layer, "--storage", path)["verdict"] == found["verdict"]
    assert call.json("status", "--storage", path)["verdict"] == found["verdict"]
    assert [run["verdict"] for run in call.json("runs", "--storage", path)] == [found["verdict"]]
    assert "not better" in call("runs", "--storage", path)[1]
    assert f"verdict: {layer} not told apart from bn-relu" in call("status", "--storage", path)[1]
    beside = next(one["id"] for one in found["verdict"]["finalists"] if one["id"] != layer)
    for name, words in (
        (layer, "verified: No layer of this run is better than"),
        (beside, "verified: no: it was"),
    ):
        file = tmp_path / f"{name.replace('/', '-')}.py"
        assert call("export", name, "-o", file, "--storage", path)[0] == 0
        assert words in file.read_text()
    assert call("report", "-o", tmp_path / "report.html", "--storage", path)[0] == 0
    assert "<b>Verification.</b> No layer of this run is better than bn-relu" in (tmp_path / "report.html").read_text()
    with open_storage(str(path)) as store:
        result = evonas.resume(1, storage=store, executor="local")
        assert result.verdict is not None and str(result.verdict) == text and str(result).endswith(text)
        assert json.loads(json.dumps(result.verdict.as_dict())) == found["verdict"]
    assert len(done) == QUICK_TRAININGS + 1
