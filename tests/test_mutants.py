"""Mutation testing: the changes, the sample, and the whole on a toy project. The lists kept by hand fit the code."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.mutants import __main__ as command
from benchmarks.mutants.__main__ import INTERRUPTED, main
from benchmarks.mutants.changes import Mutant, mutants_of
from benchmarks.mutants.marks import EQUIVALENT, KNOWN, Fault, ListError, equivalents, faults, outdated
from benchmarks.mutants.sampling import sample
from benchmarks.mutants.sources import digests, mutable, room_of

ROOT = Path(__file__).parent.parent

TOY = """\
def larger(one, other):
    return one if one > other else other


def half(number):
    return number / 2
"""
TOY_TEST = """\
from evonas.toy import half, larger


def test_larger():
    assert larger(1, 2) == 2 and larger(3, 2) == 3


def test_half():
    assert half(0) == 0


def test_of_something_else():
    assert half(0) == 1
"""


def _written(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one module: a test that notices much, one that notices little, and one that fails."""
    texts = {"evonas/__init__.py": "", "evonas/toy.py": TOY, "tests/test_toy.py": TOY_TEST}
    return _written(tmp_path_factory.mktemp("toy") / "project", texts)


def _run(toy: Path, *more: str) -> tuple[int, dict[str, dict[str, object]]]:
    """The exit code, and the verdicts on the toy project by change, which are different ones there."""
    out = toy.parent / "out.json"
    given = ["--root", str(toy), "--cache", str(toy.parent / "cache"), "--jobs", "1", "--patience", "1"]
    code = main([*given, "--equivalent", str(toy / "none.toml"), "-o", str(out), *more])
    return code, {verdict["change"]: verdict for verdict in json.loads(out.read_text())["verdicts"]}


def test_what_a_test_looks_at_is_caught_and_the_rest_survives(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = _run(toy, "--sample", "100")
    out, err = capsys.readouterr()
    assert code == 0
    assert found[">  ->  <="]["by"] == "tests/test_toy.py::test_larger"
    assert found["/  ->  *"]["verdict"] == "survived"
    assert "evonas/toy.py:6  survived: another operator\n    return number / 2\n    /  ->  *\n" in out
    assert "left out, for it fails on the code as it is: tests/test_toy.py::test_of_something_else" in err
    assert (toy / "evonas" / "toy.py").read_text() == TOY


def test_a_second_run_goes_on_where_the_first_stopped(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(toy, "--sample", "3")
    verdicts = toy.parent / "cache" / "verdicts.jsonl"
    before = verdicts.read_text()
    lines = {json.loads(line)["key"]: line for line in verdicts.read_text().splitlines()}
    three = [lines[mutant.key] for mutant in sample(toy, mutable(toy), 3, 0)]
    verdicts.write_text(f"{three[0]}\n{three[1]}\n{three[2][:40]}")  # as if cut off while it was written
    capsys.readouterr()
    _, found = _run(toy, "--sample", "3")
    told = capsys.readouterr().out
    assert told.startswith("2 of 3 are judged already\n   3 of 3")
    assert len(found) == 3
    with verdicts.open("a") as file:  # for other tests
        file.write(before)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "judge", interrupted)
    given = ["--root", str(toy), "--cache", str(toy.parent / "cache"), "--equivalent", str(toy / "none.toml")]
    assert main(given) == INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().err


def test_known_faults_are_replayed_with_the_tests_they_name(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = toy.parent / "known.toml"
    entry = "[[fault]]\npath = 'evonas/toy.py'\nold = '{}'\nnew = '{}'\nwhy = 'wrong'\ntests = ['tests/test_toy.py']\n"
    wrong = ("return number / 2", "while True: pass"), ("one > other", "other > one")
    listed.write_text("".join(entry.format(*fault) for fault in wrong))
    code, found = _run(toy, "--known", str(listed))
    assert code == 0
    assert [verdict["by"] for verdict in found.values()] == [
        "hung: tests/test_toy.py::test_half",
        "tests/test_toy.py::test_larger",
    ]
    listed.write_text(entry.format("number / 2", "number / 3"))
    assert _run(toy, "--known", str(listed))[0] == 1
    listed.write_text(entry.format("number", "other"))
    assert main(["--root", str(toy), "--known", str(listed), "--equivalent", str(toy / "none.toml")]) == 2
    assert "evonas/toy.py, “wrong”: the text to be replaced is in it 2 times" in capsys.readouterr().err


def test_an_equivalent_mutant_is_not_run_and_not_counted(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = toy.parent / "equivalent.toml"
    entry = "[[equivalent]]\npath = 'evonas/toy.py'\nold = '{}'\nnew = '{}'\nreason = 'none at all'\n"
    lines = [f"return one if one {sign} other else other" for sign in (">", "<=", "<>")]
    listed.write_text(entry.format(*lines[:2]))
    _, found = _run(toy, "--sample", "100", "--equivalent", str(listed))
    assert found
    assert ">  ->  <=" not in found
    assert json.loads((toy.parent / "out.json").read_text())["rooms"]["all"]["equivalent"] == 1
    listed.write_text(entry.format(lines[0], lines[2]))
    assert main(["--root", str(toy), "--equivalent", str(listed)]) == 2
    assert "no mutant changes “return one if one > other else other”" in capsys.readouterr().err


def _mutants(tmp_path: Path, text: str, name: str = "evonas/a.py") -> list[Mutant]:
    _written(tmp_path, {name: text})
    found = mutants_of(tmp_path, name)
    return [mutant for mutant in found if mutant.works(text.encode())]


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("a < b", ["a <= b", "a >= b"]),
        ("a <= b < c", ["b < c", "a <= b"]),
        ("(a  +  b) * c", ["(a  -  b) * c", "(a) * c", "(b) * c"]),
        ("x and not y", ["x or not y", "x", "(not y)", "x and y"]),
        ("f(a, b, key=c)", ["f(b, a, key=c)", "f(a, b)"]),
        ("sorted(a, key=b)", ["list(a)", "sorted(a)"]),
        ("max(a, b)", ["min(a, b)", "a", "b"]),
        ("x[1:n]", ["x[2:n]", "x[:n]", "x[1:]", "x[1:n + 1]"]),
        ("x[-1]", ["x[0]", "x[1]"]),
        ("a if b else c", ["a", "c"]),
        ("{a: 1, b: 2}", ["{b: 2}", "{a: 1}"]),
        ("[a for a in b if a]", ["[a for a in b if True]"]),
        ("a.where(b, c).order_by(d)", ["a.where(b, c)", "a.order_by(d)", "a.where(b).order_by(d)"]),
        ("'é', a + b", ["'é', a - b"]),  # bytes are counted, not letters
        ('"g * (y + x)"', ['"g * (y - x)"', '"g / (y + x)"', '"g * (y)"']),
    ],
)
def test_faults_of_an_expression(tmp_path: Path, text: str, changed: list[str]) -> None:
    start = f"def f(x, y):\n    q = ({text})\n"
    found = {mutant.applied(start.encode()).decode() for mutant in _mutants(tmp_path, start)}
    for one in changed:
        assert f"def f(x, y):\n    q = ({one})\n" in found


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("x.y = 1", ["pass"]),
        ("x += y", ["pass", "x = y", "x -= y"]),
        ("f(x)", ["pass"]),
        ("raise E('a + b')", ["pass"]),
        ("if x: y()", ["if True: y()", "if False: y()", "if x: pass"]),
        ("for a in x: continue", ["for a in x: break", "for a in x: pass"]),
        ("return x == y", ["return True", "return False", "return x != y"]),
        ("y = f(y)", ["pass"]),
    ],
)
def test_faults_of_a_statement(tmp_path: Path, text: str, changed: list[str]) -> None:
    start = f"def f(x, y) -> bool:\n    {text}  # why\n"
    found = {mutant.applied(start.encode()).decode() for mutant in _mutants(tmp_path, start)}
    for one in changed:
        assert f"def f(x, y) -> bool:\n    {one}  # why\n" in found


@pytest.mark.parametrize(
    "text",
    [
        '"""What 1 + 1 is."""\n',
        "def f(x: list[int] | None) -> dict[str, int]:\n    '''a < b'''\n",
        "if TYPE_CHECKING:\n    from a import b\n",
        "__all__ = ['a', 'b']\n",
        "Kind = Rows | Tiles\n",
        "log.warning('a - b', 1)\nprint(1 + 1)\n",
        "assert a < b\n",
    ],
)
def test_what_is_for_people_and_type_checkers_is_let_alone(tmp_path: Path, text: str) -> None:
    assert not _mutants(tmp_path, text)


def test_headers_have_faults_and_their_comments_none(tmp_path: Path) -> None:
    text = "// a + b\nvoid f() {\n    total += a * b;  // c - d\n    if (i < n) g(i);\n}\n"
    found = _mutants(tmp_path, text, "kernels/a.h")
    assert {mutant.line for mutant in found} == {3, 4}
    changed = {mutant.applied(text.encode()).decode().splitlines()[2] for mutant in found}
    assert changed >= {"    total -= a * b;  // c - d", "    total += a / b;  // c - d", "    ;  // c - d"}


def test_a_smaller_sample_begins_a_larger_one_and_no_room_dominates() -> None:
    paths = [path for path in mutable(ROOT) if path.endswith(("s.py", "r.h")) and len(Path(path).stem) < 8]  # a part
    large = sample(ROOT, paths, 60, 1)
    assert sample(ROOT, paths, 20, 1) == large[:20]
    assert sample(ROOT, paths, 20, 2) != large[:20]
    rooms = Counter(mutant.room for mutant in large)
    assert set(rooms) >= {"evonas", "kernels", "workers", "db"}
    assert max(rooms.values()) <= 30


def test_files_are_found_where_they_lie_and_rooms_by_their_folder() -> None:
    found = mutable(ROOT)
    assert {"evonas/language/graph.py", "kernels/cpp/helpers.h", "workers/anchors/layers.py", "db/store.py"} <= set(
        found
    )
    assert not [
        path for path in found if path.startswith(("evonas/db", "evonas/cli", "evonas/report", "db/migrations"))
    ]
    assert mutable(ROOT, ("evonas/cli/search.py",)) == ["evonas/cli/search.py"]
    assert [room_of(path) for path in ("evonas/a.py", "evonas/b/c.py", "workers/anchors/d.py")] == [
        "evonas", "evonas/b", "workers",
    ]  # fmt: skip


def test_verdicts_of_other_code_do_not_count(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "other", ignore=shutil.ignore_patterns("__pycache__"))
    assert digests(tmp_path / "other") == digests(toy)
    (tmp_path / "other" / "tests" / "test_toy.py").write_text(TOY_TEST + "\n")
    more = digests(tmp_path / "other")
    assert more.code == digests(toy).code
    assert more.whole != digests(toy).whole
    (tmp_path / "other" / "evonas" / "toy.py").write_text(TOY + "\n")
    assert digests(tmp_path / "other").code != more.code


def test_each_known_fault_fits_the_code_and_names_tests_that_are_there() -> None:
    for fault in faults(KNOWN):
        fault.mutant(ROOT)  # raises ListError with the entry's words
        assert fault.why.strip()
        for name in fault.tests:
            file, _, test = name.partition("::")
            function = test.partition("[")[0].rpartition("::")[2]
            assert f"def {function}(" in (ROOT / file).read_text(), f"{fault.path}, “{fault.why}”: there is no {name}"


def test_each_equivalent_mutant_is_one_and_has_a_reason() -> None:
    assert not outdated(ROOT, equivalents(EQUIVALENT))


def test_a_fault_that_no_longer_fits_says_which_it_is() -> None:
    with pytest.raises(
        ListError, match=r"evonas/language/graph\.py, “all wrong”: the text to be replaced is not in it"
    ):
        Fault("evonas/language/graph.py", "no such text", "", "all wrong").mutant(ROOT)
