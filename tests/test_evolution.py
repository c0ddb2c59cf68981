"""The search loop: a seed gives one sequence of candidates, whatever the workers do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from evonas.evolution import loop
from evonas.evolution.executor import Task
from evonas.evolution.history import History
from evonas.evolution.loop import ALL_FAIL, Search
from evonas.evolution.propose import Proposer
from evonas.judging.cheap_filters import CANONICAL, CHEAP_FILTERS, SAMPLING, SELECTION, ResumableFilters
from evonas.judging.selection import Population
from evonas.judging.start_twins import start_distance
from evonas.language.graph import FIRST, Graph, Node
from evonas.language.zoo import zoo
from evonas.records.memory_store import MemoryStore
from evonas.records.nothing_scored import why_nothing_was_scored
from evonas.records.run_info import RunInfo, RunStatus
from evonas.settings.candidate import Candidate, Evaluation, FilterOutcome, OriginKind, Status
from evonas.settings.run_config import RunConfig
from evonas.settings.search_space import SearchSpace
from tests.fakes import ANCHORS, FakeExecutor, config, table


def searched(
    settings: RunConfig, executor: FakeExecutor, references: Sequence[str] = ()
) -> tuple[MemoryStore, RunInfo]:
    """A finished run."""
    store = MemoryStore()
    run = store.create_run(settings, {})
    assert Search(run, store, executor, (), references).execute() is RunStatus.FINISHED
    return store, store.run(run.id)


@pytest.fixture(scope="module")
def undisturbed() -> list[tuple[object, ...]]:
    return table(*searched(config(), FakeExecutor(1)))


@pytest.mark.parametrize("capacity", [2, 4, 7, 30])
@pytest.mark.parametrize("order", [1, 2])
def test_one_seed_one_search(undisturbed: list[tuple[object, ...]], capacity: int, order: int) -> None:
    assert table(*searched(config(), FakeExecutor(capacity, order))) == undisturbed


def test_the_search_is_worth_comparing(undisturbed: list[tuple[object, ...]]) -> None:
    """All kinds of outcomes and origins occur, so that the equality above is meaningful."""
    assert len(undisturbed) == 40
    assert Counter(row[6][0] for row in undisturbed).keys() == set(Status)  # type: ignore[index]
    assert Counter(row[4].kind for row in undisturbed).keys() == {OriginKind.RANDOM, OriginKind.MUTATION}  # type: ignore[attr-defined]
    assert len({row[2] for row in undisturbed}) == 40 and len({row[3] for row in undisturbed}) == 40
    assert any(row[5] for row in undisturbed)


def test_what_should_matter_does(undisturbed: list[tuple[object, ...]]) -> None:
    def others(**settings: object) -> list[tuple[object, ...]]:
        return table(*searched(config(**settings), FakeExecutor(3)))

    assert others(seed=4) != undisturbed
    assert others(lookahead=2) != undisturbed
    assert others(strategy="average") != undisturbed
    # A larger budget continues the same search.
    assert others(budget=60)[:40] == undisturbed


@pytest.mark.parametrize(("lookahead", "capacity"), [(1, 4), (3, 1), (8, 7), (50, 4)])
def test_candidate_i_is_shown_the_results_up_to_i_less_the_lookahead(
    monkeypatch: pytest.MonkeyPatch, lookahead: int, capacity: int
) -> None:
    settings = config(lookahead=lookahead, population=1000)
    added: list[int] = []
    at_once: list[int] = []
    shown: dict[int, list[int]] = {}
    add = Population.add

    def spy(self: Population, candidate: Candidate, evaluation: Evaluation) -> None:
        assert candidate.index == evaluation.index and evaluation.status is Status.SCORED
        added.append(candidate.index)
        add(self, candidate, evaluation)

    draw = Proposer.draw

    def watched(self: Proposer, index: int, population: Population) -> Candidate:
        shown[index] = list(added)
        candidate = draw(self, index, population)
        if candidate.origin.parent is not None:
            assert candidate.origin.parent in added
        return candidate

    class Watched(FakeExecutor):
        def submit(self, task: Task) -> None:
            super().submit(task)
            at_once.append(len(self.queue))

    monkeypatch.setattr(Population, "add", spy)
    monkeypatch.setattr(Proposer, "draw", watched)
    monkeypatch.setattr(loop, "BATCH_SECONDS", 60.0)  # however busy the machine is
    store = MemoryStore()
    run = store.create_run(settings, {})
    Search(run, store, Watched(capacity, 5)).execute()
    # As many as there are workers, and one more so that none idles.
    assert max(at_once) == min(capacity + 1, lookahead)
    scored = [e.index for e in store.evaluations(run.id) if e.status is Status.SCORED]
    assert shown == {i: [j for j in scored if j <= i - lookahead] for i in range(40)}


def replayed(graph: Graph, mutations: Sequence[str]) -> Graph:
    """A parent's graph with the recorded mutations applied one after another."""
    for mutation in mutations:
        found = re.fullmatch(r"node (\d+): (\w+)\(([\d, ]+)\) -> (\w+)\(([\d, ]+)\)", mutation)
        assert found is not None, mutation
        place = int(found[1]) - FIRST
        old, new = (Node(op, tuple(map(int, args.split(", ")))) for op, args in (found.group(2, 3), found.group(4, 5)))
        assert graph.nodes[place] == old
        graph = Graph((*graph.nodes[:place], new, *graph.nodes[place + 1 :]), graph.output)
    return graph


def test_random_search_has_no_parents_and_evolution_has() -> None:
    store, run = searched(config(strategy="random"), FakeExecutor(2))
    assert {c.origin.kind for c in store.candidates(run.id)} == {OriginKind.RANDOM}
    store, run = searched(config(fresh=0.0), FakeExecutor(2))
    bred = [c for c in store.candidates(run.id) if c.origin.kind is OriginKind.MUTATION]
    assert len(bred) > 20
    for c in bred:
        assert c.origin.parent is not None and len(c.origin.mutations) == 2
        assert replayed(store.candidate(run.id, c.origin.parent).graph, c.origin.mutations) == c.graph


def test_what_drawing_took_is_recorded_by_stage() -> None:
    """Including the choice of parents, if there are any; the times themselves depend on the machine."""
    for fresh in (0.0, 1.0):
        store, run = searched(config(fresh=fresh, lookahead=1), FakeExecutor(1))
        passed = {SAMPLING, CANONICAL, *CHEAP_FILTERS}
        first_scored = min(e.index for e in store.evaluations(run.id) if e.status is Status.SCORED)
        for candidate in store.candidates(run.id):
            bred = fresh == 0.0 and candidate.index > first_scored
            assert candidate.seconds.keys() == (passed | {SELECTION} if bred else passed)
            assert all(seconds >= 0.0 for seconds in candidate.seconds.values())


@pytest.mark.parametrize("budget", [1, 5, 41])
def test_the_budget_is_met_exactly(budget: int) -> None:
    executor = FakeExecutor(7)
    store, run = searched(config(budget=budget, max_attempts=1), executor)
    assert [c.index for c in store.candidates(run.id)] == list(range(budget))
    assert [e.index for e in store.evaluations(run.id)] == list(range(budget))
    assert len(executor.submitted) == budget
    assert run.status is RunStatus.FINISHED


def test_seed_graphs_come_first_brought_to_the_size_of_the_space() -> None:
    names = ("bn-relu", "evonorm-s0", "dyt-channels")
    settings = config(seed_graphs=tuple(zoo[name].to_json() for name in names), fresh=0.0, lookahead=2)
    store, run = searched(settings, FakeExecutor(4))
    for index, name in enumerate(names):
        c = store.candidate(run.id, index)
        assert c.origin.kind is OriginKind.SEED and c.key == zoo[name].key
        assert len(c.graph.nodes) == settings.space.nodes  # padded, so that mutation can grow it
    assert all(c.origin.kind is not OriginKind.SEED for c in store.candidates(run.id) if c.index >= 3)


def test_time_of_workers_ends_a_run() -> None:
    """With candidates of 30 core-seconds and a limit of 2 core-minutes, four are drawn, one at a time."""

    def judge(task: Task) -> Evaluation:
        spent = FilterOutcome("quality", True, "", None, 10.0)
        scores = dict.fromkeys(ANCHORS, 1.0)
        return Evaluation(task.index, Status.SCORED, scores, seconds={"wide": 20.0}, filters=(spent,))

    limited = config(core_minutes=2.0, budget=100)
    store, run = searched(limited, FakeExecutor(1, 1, judge))
    # One more than run is always drawn ahead.
    assert 4 <= len(list(store.candidates(run.id))) <= 5
    assert run.status is RunStatus.FINISHED


def test_time_spent_before_a_resume_counts() -> None:
    store, run = searched(config(budget=5), FakeExecutor(1))
    seconds = [s for e in store.evaluations(run.id) for s in (*e.seconds.values(), *(o.seconds for o in e.filters))]
    assert sum(seconds) > 2.0
    history, filters = History(run.config), ResumableFilters(run.config.twins)
    history.restore(store, run.id, filters, Proposer(run.config).remember)
    assert history.core_seconds == pytest.approx(sum(seconds))  # rounding, in another order
    spent = replace(run, config=config(budget=100, core_minutes=2.0 / 60))
    assert Search(spent, store, FakeExecutor(1)).execute() is RunStatus.FINISHED
    assert len(list(store.candidates(run.id))) == 5


def test_each_candidate_has_random_numbers_of_its_own() -> None:
    """They are keyed by seed and index, and do not depend on how many numbers were drawn before."""
    first, second = ([Proposer(config(seed=seed)).draw(i, Population(1)).key for i in range(20)] for seed in (1, 2))
    assert len(set(first)) > 15 and len(set(second)) > 15  # simple graphs are drawn twice
    assert first != second
    assert Proposer(config(seed=1)).draw(13, Population(1)).key == first[13]


def test_what_a_proposer_remembers_is_not_drawn_again() -> None:
    settings = config(seed=1, twins=0.0)
    first = Proposer(settings).draw(13, Population(1))
    for earlier, name in ((first, "duplicate"), (replace(first, key="of another graph"), "functional")):
        proposer = Proposer(settings)
        proposer.remember(earlier)
        found = proposer.draw(13, Population(1))
        assert found.key != first.key
        assert found.discarded.get(name, 0) > first.discarded.get(name, 0)


def test_offspring_may_be_held_to_a_distance_from_their_parents() -> None:
    settings = config(budget=60, fresh=0.2, twins=0.0, stride=(0.3, 0.6), strays=0.0)
    store, run = searched(settings, FakeExecutor(3))
    drawn = list(store.candidates(run.id))
    parents = [(one, drawn[one.origin.parent]) for one in drawn if one.origin.parent is not None]
    distances = [start_distance(one.graph.canonical, parent.graph.canonical) for one, parent in parents]
    assert len(distances) > 10 and 0.3 <= min(distances) < max(distances) <= 0.6
    assert sum(one.discarded.get("stride", 0) for one in drawn) > 20
    assert sum(one.seconds.get("stride", 0.0) for one in drawn) > 0.0


def test_a_space_without_new_graphs_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evonas.evolution.propose.MAX_PROPOSALS", 300)
    tiny = SearchSpace("tiny", operations=("tanh", "exp", "neg"), nodes=1)
    for capacity, choices in ((1, 1), (5, 1), (2, 4)):
        settings = replace(config(), space=tiny, choices=choices, twins=0.02)
        store, run = searched(settings, FakeExecutor(capacity))
        found = {c.graph.canonical.expression() for c in store.candidates(run.id)}
        assert found == {"tanh(x)", "exp(x)", "-x"}
        assert [e.index for e in store.evaluations(run.id)] == [0, 1, 2]
        assert run.status is RunStatus.FINISHED
    # An exhausted run is still exhausted when it is resumed.
    assert Search(run, store, FakeExecutor(1)).execute() is RunStatus.FINISHED
    assert len(list(store.candidates(run.id))) == 3


def test_the_layer_that_is_trained_is_the_candidate_without_dead_nodes() -> None:
    executor = FakeExecutor(2)
    store, run = searched(config(budget=10), executor)
    for task in executor.submitted:
        candidate = store.candidate(run.id, task.index)
        sent = Graph.from_json(task.graph)
        assert sent == candidate.graph.canonical
        assert task.protocol == run.config.protocol and task.filtered and task.linear is None
        assert task.split == "validation"


def failing(task: Task) -> Evaluation:
    return Evaluation(task.index, Status.FAILED, reason="RuntimeError: a mistake", attempts=task.attempt)


@pytest.mark.parametrize("capacity", [1, 4])
def test_a_search_in_which_everything_fails_stops_and_can_be_continued(capacity: int) -> None:
    """Something is wrong with all candidates then, and hours of failures would say no more than twenty."""
    settings = config(budget=60)
    store = MemoryStore()
    run = store.create_run(settings, {})
    assert Search(run, store, FakeExecutor(capacity, judge=failing)).execute() is RunStatus.INTERRUPTED
    assert ALL_FAIL <= store.summary(run.id).evaluations <= ALL_FAIL + settings.lookahead
    why = why_nothing_was_scored(store, run.id)
    assert why is not None and "RuntimeError: a mistake" in why
    # Whoever resumes it wants the rest.
    assert Search(store.run(run.id), store, FakeExecutor(capacity, judge=failing)).execute() is RunStatus.FINISHED
    assert store.summary(run.id).evaluations == 60


def test_one_candidate_that_does_not_fail_is_enough_to_go_on() -> None:
    def judge(task: Task) -> Evaluation:
        found = failing(task)
        return replace(found, status=Status.REJECTED) if task.index == 11 else found

    store, run = searched(config(budget=60), FakeExecutor(1, judge=judge))
    assert store.run(run.id).status is RunStatus.FINISHED and store.summary(run.id).evaluations == 60
