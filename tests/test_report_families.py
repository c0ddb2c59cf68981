"""The report on families and on longer trainings, and what it says of verification."""

from __future__ import annotations

import re
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

import evonas
from benchmarks.report_page import synthetic
from evonas.judging.families import family_of
from evonas.records.memory_store import MemoryStore
from evonas.records.results import best_by_family
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.report import family_shares as shares_of
from evonas.report.family_shares import family_shares
from evonas.report.longer_trainings import longer_trainings
from evonas.report.page import page
from evonas.report.report_data import Report, read_report
from evonas.reruns.verdict_words import UNVERIFIED
from evonas.settings.candidate import Evaluation, Status
from tests.fakes import ANCHORS, FakeExecutor, config
from tests.test_evolution import searched
from tests.test_report import Parsed

REAL = evonas.EvaluationProtocol(anchors=("resnet-small",))


@pytest.fixture(scope="module")
def report() -> Report:
    store = MemoryStore()
    return read_report(store, synthetic(store, 120, rungs=(2, 4)), top=4)


def text_of(page_: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page_.partition("<body>")[2].partition("<script")[0]).split())


def test_who_earned_a_rung_and_how_scores_moved(report: Report) -> None:
    found = report.longer
    assert [rung.reached for rung in found.rungs] == [120, 30, 7]
    steps = report.run.config.protocol.steps
    assert [rung.steps for rung in found.rungs] == [steps, 2 * steps, 4 * steps]
    first = {point.index: point.mean for point in report.points}
    assert len(found.paths) == 30 and all(path[0] == first[index] for index, path in found.paths.items())
    assert sorted(map(len, found.paths.values())) == [2] * 23 + [3] * 7
    for place, rung in enumerate(found.rungs[1:], 1):
        both = [(path[place - 1], path[place]) for path in found.paths.values() if len(path) > place]
        assert rung.before == pytest.approx(sum(one for one, _ in both) / len(both))
        assert rung.here == pytest.approx(sum(other for _, other in both) / len(both))
        assert rung.agreement == pytest.approx(spearmanr(*zip(*both, strict=True)).statistic)
    shown = text_of(page(report))
    for rung in found.rungs[1:]:
        assert f"{rung.steps:,} steps {rung.reached} {100 * rung.reached / 120:.0f}%" in shown
    drawn = Parsed(page(report)).data["rungs"]
    assert isinstance(drawn, dict) and len(drawn["paths"]) == 30 and drawn["reached"] == [120, 30, 7]
    named = {name for name in drawn["names"] if name}
    assert named == {one.row.id for one in report.top if int(one.row.id[2:]) in found.paths}


@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(0, 4))), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_failed_and_equal_scores(known: list[tuple[int, int | None]]) -> None:
    """A training that failed has no score, and equal scores share a place."""
    settings_ = config(rungs=(2,))
    on, nan = settings_.on_rung(1), float("nan")
    scored = [Evaluation(i, Status.SCORED, dict.fromkeys(ANCHORS, one / 4)) for i, (one, _) in enumerate(known)]
    records = [
        Retraining(i, RetrainingStage.RUNG, anchor, on.seed, on.steps, 0.0, nan if there is None else there / 4)
        for i, (_, there) in enumerate(known)
        for anchor in ANCHORS
    ]
    rung = longer_trainings(settings_, scored, records).rungs[1]
    pairs = [(one, there) for one, there in known if there is not None]
    assert rung.reached == len(known) and rung.failed == len(known) - len(pairs)
    if len(pairs) < 3 or min(len({pair[place] for pair in pairs}) for place in (0, 1)) < 2:
        assert rung.agreement is None
    else:
        assert rung.agreement == pytest.approx(spearmanr(*zip(*pairs, strict=True)).statistic)


def test_shares_of_families_are_those_of_the_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    store, run = searched(config(budget=60), FakeExecutor(4))
    candidates = {one.index: one for one in store.candidates(run.id)}
    scored = [one for one in store.evaluations(run.id) if one.status is Status.SCORED]
    longer = {one.index for one in scored[::3]}
    for shown in (2, 1000):
        monkeypatch.setattr(shares_of, "_SHOWN", shown)
        found = family_shares(candidates, scored, longer)
        assert sum(one.share for one in found.shares) == pytest.approx(1.0)
        assert sum(one.longer for one in found.shares) == len(longer) and found.looked_at == len(scored)
        assert max(one.best for one in found.shares) == max(one.mean for one in scored)
        for one in found.shares[: 2 if shown == 2 else None]:
            members = [e for e in scored if str(family_of(candidates[e.index].graph)) == one.name]
            assert one.share == len(members) / len(scored) and one.best == max(e.mean for e in members)
    assert len(found.shares) == found.families
    monkeypatch.setattr(shares_of, "_MOST", 10)
    assert 5 < family_shares(candidates, scored, longer).looked_at <= 10


def test_layers_stand_by_family_and_one_of_each_comes_first() -> None:
    store, run = searched(config(budget=60), FakeExecutor(4))
    number = len({row.family for row in best_by_family(store, run.id, 60)}) + 3  # so that families have several
    report = read_report(store, run.id, number)
    families = [one.row.family for one in report.top]
    assert len([family for family, _ in groupby(families)]) == len(set(families)) < len(families)
    means: dict[str, list[float]] = {}
    for one in report.top:
        means.setdefault(one.row.family, []).append(one.row.mean)
    assert all(of == sorted(of, reverse=True) for of in means.values())
    few = read_report(store, run.id, 6)
    assert [one.row.family for one in few.top] == list(dict.fromkeys(families))[:6]
    assert any(one.others for one in few.top)
    for one in few.top:
        of_family = [e for e in few.points if str(family_of(store.candidate(run.id, e.index).graph)) == one.row.family]
        shown = {one.row.id, *(row.id for row in one.others)}
        assert len(shown) == len(one.others) + 1 == min(5, len(of_family))
        assert shown <= {f"{run.id}/{point.index}" for point in of_family}
    groups = re.findall(r'<h3 class="group">([^<]*)<', page(report))
    assert [group.strip() for group in groups] == list(dict.fromkeys(families))


def test_verification_comes_first_and_no_one_trained_on_the_test_split() -> None:
    store, run = searched(config(budget=30, protocol=REAL), FakeExecutor(1), ["bn-relu"])
    before = page(read_report(store, run.id, 2))
    assert "<h1>Not verified: the best of 30 candidates by its scores</h1>" in before
    assert before.index(UNVERIFIED) < before.index('class="hero"')
    evonas.rerank(run.id, storage=store, executor=FakeExecutor(1), top=3, report=1, seeds=3, transfer="vgg-small")
    verdict = evonas.Result(store, run.id).verdict
    assert verdict is not None and verdict.layer is not None
    report = read_report(store, run.id, 5)
    after = page(report)
    said = text_of(after)
    better = f"Layer {verdict.layer.id} is better than bn-relu"
    none = "No layer of 30 candidates is verified to be better than bn-relu"
    assert f"<h1>{better if verdict.better else none}</h1>" in after
    assert said.index(" ".join(str(verdict).split())[:60]) < said.index("mean validation accuracy")
    assert f"layer {verdict.layer.id}, of which the verdict is" in said
    assert "trained again, scored on images that chose nothing, 3 seeds" in said
    assert "test split" not in re.sub(r"The test split is used once", "", said)
