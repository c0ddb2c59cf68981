"""Layers that a user's own function proposes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import evonas
from evonas.errors import UsageError
from evonas.evolution.loop import Search
from evonas.evolution.user_proposals import ANSWERS
from evonas.judging.cheap_filters import PROPOSAL
from evonas.language.zoo import zoo
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunStatus
from evonas.report.funnel import funnel
from evonas.settings import plugins
from evonas.settings.candidate import OriginKind
from evonas.settings.plugins import load_named_files
from evonas.setup.assemble import configure
from tests.fakes import FakeExecutor, config, table
from tests.test_plugins import EXAMPLES, cli, forgotten  # noqa: F401  a fixture

LADDER = {"strategy": "families", "rungs": (2,), "rung_lookahead": 10}


def function(folder: Path, body: str, head: str = "") -> str:
    """The name of a function with this body, whose file has been loaded."""
    file = folder / "mine.py"
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    file.write_text(f"from evonas.settings.proposals import Proposal\n{head}\n\ndef mine(known, rng):\n{lines}")
    load_named_files([f"{file}:mine"])
    return f"{file}:mine"


def searched(name: str, executor: FakeExecutor | None = None, **settings: object) -> MemoryStore:
    store = MemoryStore()
    run = store.create_run(config(propose=name, **settings), {})
    assert Search(run, store, executor or FakeExecutor(1)).execute() is RunStatus.FINISHED
    return store


def test_half_of_the_candidates_are_what_the_function_proposes(tmp_path: Path) -> None:
    name = function(tmp_path, 'return "x" + " + sigmoid(x)" * int(rng.integers(1, 5)) if rng.random() < 2 else None')
    store = searched(name, budget=20)
    origins = [candidate.origin for candidate in store.candidates(1)]
    own = [origin for origin in origins if origin.kind is OriginKind.PROPOSED]
    assert 2 <= len(own) <= 4 and all(origin.parent is None and not origin.mutations for origin in own)
    # Four different layers, and duplicates of them ever after: the search takes the places.
    assert {origin.kind for origin in origins} == {OriginKind.PROPOSED, OriginKind.RANDOM, OriginKind.MUTATION}


@pytest.mark.parametrize("settings", [{}, LADDER], ids=["mean", "ladder"])
def test_it_sees_the_scored_layers_best_first_and_says_where_a_layer_came_from(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    body = """
assert [layer.score for layer in known] == sorted((layer.score for layer in known), reverse=True)
assert all(set(layer.scores) == {"wide", "deep"} for layer in known)
if not known:
    return None
return Proposal(f"({known[0].graph.written()}) * sigmoid(x)", known[0].index, f"the best of {len(known)}")
"""
    store = searched(function(tmp_path, body.strip()), **settings)
    scored = {e.index for e in store.evaluations(1) if e.scores}
    own = [c for c in store.candidates(1) if c.origin.kind is OriginKind.PROPOSED]
    assert own
    for candidate in own:
        assert candidate.origin.parent in scored and candidate.origin.mutations[0].startswith("the best of ")
        assert "sigmoid(x)" in candidate.graph.canonical.written()


def test_the_same_search_whatever_the_workers(tmp_path: Path) -> None:
    body = 'return f"x * tanh({known[int(rng.integers(len(known)))].graph.written()})" if known else "tanh(x)"'
    name = function(tmp_path, body)
    one, many = searched(name, **LADDER), searched(name, FakeExecutor(7, 2), **LADDER)
    assert table(one, one.run(1)) == table(many, many.run(1))
    assert any(c.origin.kind is OriginKind.PROPOSED for c in one.candidates(1))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ('"x +* 2"', "is left out"),
        ("7", "it must be an expression, a graph, a Proposal or None"),
        ('Proposal("erfc(x)")', "is left out"),
        ('"x" + " + sqrt(x)" * 0 + " + ".join([""] + [f"tanh(x + {k} * v1)" for k in range(9)])', "is left out"),
    ],
)
def test_what_is_no_layer_is_counted_and_said_once(tmp_path: Path, answer: str, why: str) -> None:
    name = function(tmp_path, f"return {answer}")
    with pytest.warns(UserWarning, match=why) as warned:
        store = searched(name, budget=10, proposed=1.0)
    assert len([one for one in warned if "proposed" in str(one.message)]) == 1
    assert all(c.origin.kind is not OriginKind.PROPOSED for c in store.candidates(1))
    (counted,) = (each for each in funnel(store.summary(1)) if each.name == PROPOSAL)
    assert counted.rejected == 10 * ANSWERS


def test_an_error_in_the_function_is_one_message_with_the_line_and_loses_nothing(tmp_path: Path) -> None:
    name = function(tmp_path, "if len(known) > 3:\n    return 1 / 0\nreturn None")
    store = MemoryStore()
    run = store.create_run(config(propose=name), {})
    with pytest.raises(UsageError, match=r"mine\.py, line 6: ZeroDivisionError: division by zero; .* `evonas resume`"):
        Search(run, store, FakeExecutor(1)).execute()
    assert store.run(1).status is RunStatus.INTERRUPTED and sum(bool(e.scores) for e in store.evaluations(1)) >= 4
    name = function(tmp_path, 'return Proposal("tanh(x)", 17)')
    with pytest.raises(UsageError, match="names 17 as a parent, which is no candidate that it was given"):
        searched(name)


def test_names_of_layers_and_notes_of_any_kind_are_taken(tmp_path: Path) -> None:
    body = 'return Proposal("bn-relu", None, {"why": "first\\nof all", "more": "x" * 500})'
    store = searched(function(tmp_path, body), budget=6, proposed=1.0)
    (own,) = (c for c in store.candidates(1) if c.origin.kind is OriginKind.PROPOSED)
    (note,) = own.origin.mutations
    assert own.key == zoo["bn-relu"].key and len(note) == 200 and "\n" not in note


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="proposed must be"):
        config(proposed=1.5)
    file = tmp_path / "mine.py"
    file.write_text("mine = 3\n")
    with pytest.raises(UsageError, match="is not a valid proposing function: it must be a function of the scored"):
        configure(settings={"propose": f"{file}:mine"})
    file.write_text("def mine(known):\n    return None\n\nclass other:\n    def __call__(self, known, rng): ...\n")
    for name in ("mine", "other"):
        with pytest.raises(UsageError, match="is not a valid proposing function"):
            configure(settings={"propose": f"{file}:{name}"})
    file.write_text("mine = 3\n")
    with pytest.raises(UsageError, match=r"mine\.py has no proposing function called other"):
        configure(settings={"propose": f"{file}:other"})
    with pytest.raises(UsageError, match="unknown proposing function 'gpt'"):
        configure(settings={"propose": "gpt"})


@pytest.mark.filterwarnings("ignore:propose.py.gated proposed")  # some are longer than the space allows
def test_the_example_makes_a_search_that_is_resumed_with_its_file(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("propose.py").write_text((EXAMPLES / "propose.py").read_text())
    words = ["search", "--budget", "14", "--steps", "2", "--executor", "local", "--no-verify"]
    words += ["--propose", "propose.py:gated"]
    quick = ["signal=false", "early_steps=[]", "early_floors=[]", "stability_steps=[]", "quality_floor=0"]
    quick += ["hurdle_ends=4", 'anchors=["mobilenet-small"]', 'data="digits"']
    words += [word for setting in quick for word in ("--set", f"protocol.{setting}")]
    words += ["--set", "rungs=[]", "--set", "proposed=1.0", "--set", "lookahead=4", "--seed-graph", "bn-relu"]
    words += ["--seed-graph", "evonorm-s0"]
    code, _, err = cli(monkeypatch, capsys, *words, "-f", "json")
    assert code == 0, err
    with evonas.setup.assemble.open_storage("evonas.db", read_only=True) as store:
        own = [c for c in store.candidates(1) if c.origin.kind is OriginKind.PROPOSED]
        records = [json.loads(text) for text in store.run(1).config.protocol.plugins]
    assert own and all(c.origin.mutations[0].startswith("times ") for c in own)
    assert [record["file"] for record in records] == ["propose.py"]
    plugins._loaded.clear()
    Path("propose.py").write_text("changed = True\n")
    code, _, err = cli(monkeypatch, capsys, "resume", "last", "--executor", "local")
    assert code == 2 and "propose.py has changed since the run began" in err
