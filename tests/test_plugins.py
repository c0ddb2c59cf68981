"""Plugins from files and packages: anchors, data sets, spaces, filters and objectives."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import evonas
from evonas.cli import main
from evonas.errors import UsageError
from evonas.evolution.trainings import carry_out, training_task
from evonas.settings import plugins
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import configure, named_protocol, open_storage
from evonas.setup.make_executor import make_executor
from evonas.workers.anchors import anchor_named
from evonas.workers.data.data_sets import load_dataset

EXAMPLES = Path(__file__).parent.parent / "examples"
QUICK = {"steps": 4, "quality_floor": 0.0, "early_steps": (), "early_floors": (), "hurdle_steps": ()}
ALL = [
    *("--anchor", f"{EXAMPLES}/anchor.py:plain"),
    *("--data", f"{EXAMPLES}/data.py:stripes"),
    *("--space", f"{EXAMPLES}/space.py:smooth"),
    *("--filter", f"{EXAMPLES}/filter.py:Bounded"),
    *("--objective", "anchors", "--objective", f"{EXAMPLES}/objective.py:depth"),
]


@pytest.fixture(autouse=True)
def forgotten():
    """Start each test without the files that another has loaded."""
    before = dict(plugins._loaded)
    plugins._loaded.clear()
    yield
    plugins._loaded.clear()
    plugins._loaded.update(before)


def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["evonas", *words])
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_examples_make_a_search(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--budget", "4", "--steps", "4", "--executor", "local", "-f", "json", "--set", "protocol.quality_floor=0"]
    words += ["--set", "protocol.early_steps=[]", "--set", "protocol.early_floors=[]", "--set", "protocol.signal=false"]
    words += ["--set", "finalists=1", "--set", "verify_seeds=1"]
    code, out, err = cli(monkeypatch, capsys, "search", *ALL, *words)
    assert code == 0, err
    found = json.loads(out)
    verdict = found["verdict"]
    assert verdict["missing"] == 0 and verdict["unseen"] == "vgg-small", verdict["text"]
    assert all(one["difference"] is not None for one in verdict["comparisons"])
    (row, *_) = found["best"]
    objective = f"{EXAMPLES}/objective.py:depth"
    assert set(row["scores"]) == {f"{EXAMPLES}/anchor.py:plain"}
    assert row["measures"][objective] >= 1
    assert "bounded" in json.dumps(found)

    with open_storage("evonas.db", read_only=True) as store:
        config = store.run(1).config
    assert config.space.name == "smooth"
    recorded = [json.loads(text) for text in config.protocol.plugins]
    assert {Path(r["path"]).name for r in recorded if "file" in r} == {
        "anchor.py",
        "data.py",
        "filter.py",
        "objective.py",
    }
    assert all(len(r["sha256"]) == 64 for r in recorded if "file" in r)

    # Results are read, and the run is written out as a preset, without running the files.
    plugins._loaded.clear()
    for command in (["pareto", "-f", "json"], ["best"], ["show", row["id"]], ["config", "1"]):
        code, out, err = cli(monkeypatch, capsys, *command)
        assert code == 0, err
    assert not plugins.loaded_files()
    Path("again.toml").write_text(out)
    assert configure(preset="again.toml").protocol.plugins == config.protocol.plugins


ANCHOR = """
from torch import nn

def tiny(layer, *, in_channels, classes):
    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), layer.norm_act(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, classes))
"""


def run_of(tmp_path: Path) -> Path:
    """A finished run with an anchor from a file, and the file."""
    file = tmp_path / "mine.py"
    file.write_text(ANCHOR)
    evonas.search(
        "evonorm-s",
        budget=2,
        protocol={**QUICK, "anchors": (f"{file}:tiny",)},
        storage=tmp_path / "evonas.db",
        executor="local",
        references=(),
        verify=False,
    )
    return file


def test_a_run_is_resumed_with_the_file_that_it_began_with(tmp_path) -> None:
    file = run_of(tmp_path)
    for command in ("resume", "rerank"):
        plugins._loaded.clear()
        file.write_text(ANCHOR + "raise SystemError('is never run')\n")
        with pytest.raises(evonas.UsageError, match=r"mine\.py has changed since the run began"):
            getattr(evonas, command)(1, storage=tmp_path / "evonas.db", executor="local")
        file.unlink()
        with pytest.raises(evonas.UsageError, match=r"mine\.py' cannot be read: No such file"):
            getattr(evonas, command)(1, storage=tmp_path / "evonas.db", executor="local")
        file.write_text(ANCHOR)
    plugins._loaded.clear()
    found = evonas.resume(1, storage=tmp_path / "evonas.db", executor="local", references=(), verify=False)
    assert found.summary.candidates == 2
    assert [source.key for source in plugins.loaded_files()] == [f"{file}:tiny".rpartition(":")[0]]


def test_nothing_of_a_database_is_run_by_its_name_alone(tmp_path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("raise SystemError('was run')\n")
    protocol = EvaluationProtocol(anchors=(f"{file}:tiny",))  # as a record without a hash would give it
    with pytest.raises(evonas.UsageError, match="has not been loaded"):
        make_executor("local", protocol)
        anchor_named(protocol.anchors[0])


@pytest.mark.parametrize(
    ("source", "option", "message"),
    [
        ("def f(:\n", "anchor", r"mine\.py, line 1: SyntaxError: "),
        ("x = 1\ny = x / 0\n", "data", r"mine\.py, line 2: ZeroDivisionError: division by zero"),
        ("import nowhere_to_be_found\n", "filter", r"mine\.py, line 1: ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)\n", "space", r"mine\.py, line 1: SystemExit: 3"),
        ("g = 1\n", "objective", r"mine\.py has no objective called f"),
        ("f = 3\n", "anchor", r"mine\.py:f is not a valid anchor: it must be a function \(layer, "),
        ("f = 3\n", "space", r"mine\.py:f is not a valid search space: it must be a SearchSpace, not 3"),
        ("f = 3\n", "filter", r"mine\.py:f is not a valid filter: it must be an object with a `name`"),
        (
            "f = 3\n",
            "objective",
            r"mine\.py:f is not a valid objective: it must be an evonas\..*\.Objective",
        ),
        ("f = 3\n", "data", r"mine\.py:f is not a valid data set: it must be a function"),
        ("def f(layer, *, in_channels, classes):\n    return layer.nrom_act(3)\n", "anchor", r"mine\.py, line 2: Attr"),
        ("def f(layer, *, in_channels, classes):\n    return 3\n", "anchor", r"returned 3, not a torch\.nn\.Module"),
        (
            "from torch import nn\ndef f(layer, *, in_channels, classes):\n    return nn.Flatten()\n",
            "anchor",
            r"returns \(2, 256\) for two images instead of logits of shape \(2, 19\)",
        ),
        ("def f(folder, image_size):\n    return 3\n", "data", r"is 3, not a DataSet"),
        ("def f(folder, image_size):\n    return folder / 'x'\n", "data", r"mine\.py, line 2: TypeError"),
    ],
)
def test_an_error_in_a_users_file_is_one_message_with_the_line(
    tmp_path, monkeypatch, capsys, source: str, option: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(source)
    code, _, err = cli(monkeypatch, capsys, "search", f"--{option}", "mine.py:f", "--executor", "local")
    assert code == 2
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert re.search(message, err), err
    assert not Path("evonas.db").exists()


def test_names_that_are_nothing_are_told_what_there_is() -> None:
    for settings, kind in (
        ({"anchors": ("resnte",)}, "anchor"),
        ({"filters": ("mine",)}, "filter"),
        ({"data": "x"}, "data"),
    ):
        with pytest.raises(evonas.UsageError, match=rf"unknown {kind}.*; or a file of your own, as FILE\.py:NAME"):
            named_protocol(EvaluationProtocol(**settings))
    with pytest.raises(evonas.UsageError, match="cannot be read"):
        named_protocol(EvaluationProtocol(anchors=("absent.py:f",)))


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """An installed package with one entry point of each kind."""
    (tmp_path / "their_plugins.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "from anchor import plain\nfrom data import stripes\nfrom filter import Bounded\n"
        "from objective import depth\nfrom space import smooth\n"
        f"sys.path.remove({str(EXAMPLES)!r})\n"
    )
    info = tmp_path / "their_plugins-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-plugins\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[evonas.anchors]\ntheir-anchor = their_plugins:plain\n[evonas.data_sets]\ntheir-data = their_plugins:stripes\n"
        "[evonas.search_spaces]\ntheir-space = their_plugins:smooth\n"
        "[evonas.filters]\ntheir-filter = their_plugins:Bounded\n"
        "[evonas.objectives]\ntheir-depth = their_plugins:depth\nbroken = their_plugins:absent\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return info


def test_entry_points_of_packages_are_found_and_recorded(package: Path, tmp_path) -> None:
    protocol = {
        **QUICK,
        "anchors": ("their-anchor",),
        "data": "their-data",
        "filters": ("their-filter",),
        "signal": False,
    }
    found = evonas.search(
        "their-space",
        budget=2,
        protocol={**protocol, "objectives": ("anchors", "their-depth")},
        storage=tmp_path / "evonas.db",
        executor="local",
        references=(),
        verify=False,
    )
    assert found.best()[0].measures["their-depth"] >= 1
    recorded = [json.loads(text) for text in found.run.config.protocol.plugins]
    assert {r["name"]: r["package"] for r in recorded if "entry" in r} == dict.fromkeys(
        ("their-anchor", "their-data", "their-filter", "their-depth"), "their-plugins 1.2"
    )
    with pytest.raises(evonas.UsageError, match=r"objective broken of their-plugins 1\.2 cannot be loaded"):
        named_protocol(EvaluationProtocol(objectives=("anchors", "broken")))
    text = package / "METADATA"
    text.write_text(text.read_text().replace("1.2", "1.3"))
    with pytest.warns(
        UserWarning, match=r"began with their-anchor of their-plugins 1\.2, but their-plugins 1\.3 is installed"
    ):
        plugins.load_recorded_files(found.run.config.protocol.plugins)


def test_a_filter_and_an_objective_that_answer_nonsense_fail_by_name(tmp_path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from evonas.settings.objectives import Objective\n"
        "class F:\n    name = 'mine'\n    def judge(self, trial):\n        return True\n"
        "o = Objective('o', 'things', True, 'None.', measure=lambda trial: None)\n"
    )
    for settings, message in (
        ({"filters": (f"{file}:F",)}, "the filter mine returned True"),
        ({"objectives": ("anchors", f"{file}:o")}, "returned None, not a number"),
    ):
        found = evonas.search(
            "evonorm-s",
            budget=1,
            seed_graphs=["evonorm-s0"],
            protocol={**QUICK, **settings, "anchors": ("resnet-small",), "stability_steps": (), "signal": False},
            executor="local",
            references=(),
            verify=False,
            max_attempts=1,
        )
        (evaluation,) = found.store.evaluations(1)
        assert message in evaluation.reason


def test_a_data_set_is_loaded_anew_when_its_file_has_changed(tmp_path) -> None:
    file = tmp_path / "mine.py"
    text = (EXAMPLES / "data.py").read_text()
    for size in (12, 14):
        file.write_text(text.replace("image_size or 12", f"image_size or {size}"))
        plugins.load_named_files([f"{file}:stripes"])
        assert load_dataset(f"{file}:stripes").size == (size, size)


@pytest.mark.slow
def test_ray_workers_load_the_same_files(tmp_path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(ANCHOR)
    protocol = named_protocol(EvaluationProtocol(anchors=(f"{file}:tiny",), steps=4))
    with make_executor("ray", protocol, workers=1) as executor:
        file.unlink()  # as on a machine that does not have it
        (evaluation,) = carry_out([training_task("bn-relu", 0, protocol)], executor)
    assert set(evaluation.scores) == {f"{file}:tiny"}


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_data_without_images_in_a_split_is_refused(tmp_path: Path, part: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        (EXAMPLES / "data.py").read_text() + "\n\nfrom dataclasses import replace\n"
        "def empty(folder, image_size):\n"
        "    data = stripes(folder, image_size)\n"
        f"    return replace(data, {part}=data.{part}.first(0))\n"
    )
    plugins.load_named_files([f"{file}:empty"])
    with pytest.raises(UsageError, match="has a split without images"):
        load_dataset(f"{file}:empty")
