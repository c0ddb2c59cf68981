"""What the start of training foretells of recorded candidates: the benchmark, and its figures in the documentation."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import prospects
from benchmarks.prospects import Foretold, foretold, groups, ranked_rightly
from evonas.judging.prospects import Prospects, worth
from evonas.language.zoo import zoo
from evonas.setup.assemble import open_storage
from tests.fakes import FakeExecutor, config
from tests.test_evolution import searched

ROOT = Path(__file__).parent.parent


def test_candidates_are_foretold_from_those_that_a_search_would_have_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prospects, "FIRST", 30)
    store, run = searched(config(budget=60, twins=0.02, lookahead=7), FakeExecutor(2))
    found = foretold(store, run.id)
    candidates, evaluations = list(store.candidates(run.id)), list(store.evaluations(run.id))
    assert len(found) == 30 and len({one.promise for one in found}) > 20
    for index in (30, 59):
        known = Prospects()
        for earlier in range(index - 7 + 1):
            known.add(candidates[earlier].start, worth(evaluations[earlier]))
        one = found[index - 30]
        assert one.promise == known.of(candidates[index].start or b"").promise
        assert one.worth == worth(evaluations[index]) and one.core_seconds == evaluations[index].core_seconds


def test_pairs_are_counted_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    some = [Foretold(round(rng.random(), 1), float(rng.random() < 0.4), 1.0) for _ in range(60)]
    pairs = [(a.promise, b.promise) for a in some if a.worth for b in some if not b.worth]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert ranked_rightly(some) == pytest.approx(expected)


def test_quarters_have_what_they_promised_and_what_they_cost() -> None:
    some = [Foretold(i / 8, float(i >= 5), 2.0 if i < 2 else 1.0) for i in range(8)]
    first, second, third, last = groups(some)
    assert (first.least, first.most, first.learned, first.wasted) == (0.0, 0.125, 0.0, 0.4)
    assert (second.learned, second.wasted, third.learned, third.wasted) == (0.0, 0.2, 0.5, 0.1)
    assert (last.most, last.learned, last.wasted) == (0.875, 1.0, 0.0)


def test_the_command_reads_databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prospects, "FIRST", 10)
    path, output = tmp_path / "runs.db", tmp_path / "found.json"
    memory, run = searched(config(budget=40, twins=0.02), FakeExecutor(2))
    with open_storage(path) as store:
        copy = store.create_run(run.config, {})
        store.record(copy.id, candidates=list(memory.candidates(1)), evaluations=list(memory.evaluations(1)))
    monkeypatch.setattr(sys, "argv", ["prospects", str(path), "-o", str(output)])
    prospects.main()
    document = json.loads(output.read_text())
    assert document["runs"] == 1 and document["candidates"] == 30 and len(document["groups"]) == 4


def test_the_page_says_what_was_recorded() -> None:
    document = json.loads((ROOT / "benchmarks" / "results" / "prospects.json").read_text())
    page = (ROOT / "docs" / "SCIENCE.md").read_text()
    text = " ".join(page.split())
    wasted = sum(group["wasted"] for group in document["groups"])
    rightly = [f"{share:.0%}" for share in document["ranked_rightly"]]
    assert f"Of {document['candidates']:,} candidates of those two searches {document['learned']:.0%} learned" in text
    assert f"the others took {wasted:.0%} of what all first evaluations took" in text
    assert f"the former promised more in {' and '.join(rightly)} of all pairs" in text
    for group in document["groups"]:
        assert f" | {group['learned']:.0%} | {group['wasted']:.0%} |" in page


def test_the_page_says_what_came_of_choices_without_limits() -> None:
    document = json.loads((ROOT / "benchmarks" / "results" / "choices.json").read_text())
    text = " ".join((ROOT / "docs" / "SCIENCE.md").read_text().split())
    before, after = document["without choices"], document["24 of any parents"]
    assert before["seed"] == after["seed"] == 1
    assert f"scored {after['scored']} layers where it had scored {before['scored']}" in text
    best = [f"{one['best_after_400_steps']:.3f}" for one in (after, before)]
    assert f"its best had {best[0]} after 400 steps, where it had been {best[1]}" in text
    assert f"{after['of_most_frequent_root']} of the {after['scored_in_second_half']} layers" in text
    assert after["root"] == zoo["evonorm-s0"].expression()
