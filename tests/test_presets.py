"""Presets: their files, overrides, and refusals."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from PIL import Image

from evonas.errors import UsageError
from evonas.language.graph import Graph
from evonas.language.zoo import FOUND, PUBLISHED, zoo
from evonas.search_spaces import evonorm, evonorm_s
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.presets import PRESETS, assignments, merged, preset_of, read_preset, resolve
from evonas.settings.run_config import RunConfig
from evonas.setup.assemble import configure
from tests.test_config import configs

ROOT = Path(__file__).parent.parent

OPTIONAL = (
    {"core_minutes", "seed_graphs", "verify_steps"},
    {"data_dir", "image_size", "crop", "clip", "seed", "plugins", "stability_images"},
)


DEFAULT = {
    "strategy": "families",
    "mutation": "edit",
    "stride": (0.3, 1.0),
    "strays": 0.15,
    "twins": 0.1,
    "fresh": 0.1,
    "of_one_root": 0.25,
    "of_one_kind": 0.25,
    "choices": 24,
    "rungs": (2, 4),
    "rung_anchors": (2, 4),
    "rung_rates": (1.5, 1.0),
    "rung_lookahead": 40,
    "core_minutes": 35.0,
    "finalists": 6,
}
DEFAULT_PROTOCOL = {
    "data": "crops",
    "anchors": ("mobilenet-small", "vgg-small", "resnet-small", "densenet-small"),
    "hurdle_steps": (),
    "hurdle_ends": 1,
    "hurdle_quantile": 0.6,
    "lr": 0.2,
    "stability_images": 16,
    "floors": "published",
    "early_floors": (0.2, 0.6),
    "quality_floor": 0.7,
}


OF_IMAGES = [row.name for row in (*PUBLISHED, *FOUND)]


def test_the_default_preset_differs_from_the_defaults_of_fields_where_it_has_to() -> None:
    """The defaults of the fields are those of runs that were recorded before there was a choice."""
    config = configure()
    protocol = dataclasses.replace(EvaluationProtocol(), **DEFAULT_PROTOCOL)  # type: ignore[arg-type]
    assert dataclasses.replace(config, seed_graphs=()) == RunConfig(evonorm, protocol=protocol, **DEFAULT)  # type: ignore[arg-type]
    assert {Graph.from_json(text).key for text in config.seed_graphs} == {zoo[name].key for name in OF_IMAGES}


def test_a_space_that_cannot_hold_a_layer_of_the_preset_starts_without_it(tmp_path: Path) -> None:
    kept = {Graph.from_json(text).key for text in configure("evonorm-s").seed_graphs}
    layers = [zoo[name] for name in OF_IMAGES]
    assert kept == {g.key for g in layers if not any("bwh" in g.node(n).op for n in g.operations)}
    with pytest.raises(UsageError, match=r"uses \w+_bwh, which is not in 'evonorm-s'"):
        configure("evonorm-s", seed_graphs=["bn-relu"])
    file = tmp_path / "mine.toml"
    file.write_text('space = "evonorm-s"\nseed_graphs = ["bn-relu"]\n')
    with pytest.raises(UsageError, match="not in 'evonorm-s'"):
        configure(preset=str(file))


def test_seed_graphs_of_a_recorded_run_are_read_again(tmp_path: Path) -> None:
    config, file = configure(seed_graphs=["x / std_wh(x)"]), tmp_path / "again.toml"
    file.write_text(tomli_w.dumps(preset_of(config)))
    assert configure(preset=str(file)) == config
    with pytest.raises(UsageError, match=r"the seed graph .* cannot be read"):
        configure(seed_graphs=['{"nodes": 3}'])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_every_setting(name: str) -> None:
    document = read_preset(name)
    run, protocol = ({field.name for field in dataclasses.fields(cls)} for cls in (RunConfig, EvaluationProtocol))
    assert run - document.keys() <= OPTIONAL[0]
    assert protocol - document["protocol"].keys() <= OPTIONAL[1]


def test_the_preset_for_pictures_is_the_default_with_other_data_and_a_target() -> None:
    changes = {"data": "image-folder", "image_size": 16, "pad": 2, "flip": True}
    target = ["resnet-medium", "mobilenet-medium"]
    assert read_preset("pictures") == merged(read_preset("small"), {"target_anchors": target, "protocol": changes})


def test_the_paper_s_numbers() -> None:
    """Liu et al. 2020, as docs/SPEC.md quotes it in sections 2 to 4."""
    document = read_preset("paper")
    run, protocol = resolve(document), resolve(document)["protocol"]
    assert (run["population"], run["tournament"], run["mutations"], run["fresh"]) == (2500, 0.05, 2, 0.5)
    assert run["strategy"] == "pareto"
    assert protocol["anchors"] == ["resnet50@0.25", "mobilenetv2@0.5", "efficientnet-b0@0.5"]
    assert (protocol["batch"], protocol["crop"], protocol["lr"], protocol["weight_decay"]) == (128, 24, 0.1, 1e-4)
    assert (protocol["steps"], protocol["schedule"]) == (2000, "constant")
    assert (protocol["stability_steps"][-1], protocol["stability_limit"]) == (100, 1e8)
    assert (protocol["quality_step"], protocol["quality_floor"], protocol["floors"]) == (100, 0.2, "absolute")
    assert not protocol["signal"] and not protocol["early_steps"] and not protocol["hurdle_steps"]
    without = resolve({**document, "space": "evonorm-s"})["protocol"]
    assert (without["steps"], without["schedule"], without["batch"]) == (5000, "cosine", 128)


def test_options_go_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'space = "evonorm-s"\npopulation = 7\nseed_graphs = ["gn-relu", "x * sigmoid(x)"]\n'
        "[protocol]\nlr = 1\nanchors = ['resnet-small']\n[spaces.evonorm-s.protocol]\nsteps = 9\n"
        "[spaces.evonorm]\npopulation = 8\n"
    )
    config = configure(preset=str(file))
    assert (config.space, config.population, config.protocol.steps) == (evonorm_s, 7, 9)
    assert config.protocol.anchors == ("resnet-small",) and config.protocol.batch == 64
    assert len(config.seed_graphs) == 2
    other = configure("evonorm", preset=str(file), seed_graphs=(), protocol={"lr": 0.5}, settings={"seed": 3})
    assert (other.population, other.protocol.steps, other.protocol.lr) == (8, 100, 0.5)
    assert other.seed == other.protocol.seed == 3


@given(configs)
def test_a_run_is_a_preset_for_the_same_run(config: RunConfig) -> None:
    document = preset_of(config)
    text = tomli_w.dumps(document)
    assert "None" not in text
    back = merged(resolve(tomllib.loads(text)), {"protocol": {"seed": config.protocol.seed}})
    assert RunConfig.from_dict(back) == config


def test_assignments_are_toml_and_names_need_no_quotes() -> None:
    assert assignments(["population=100", "protocol.lr = 0.05", "protocol.schedule=constant"]) == {
        "population": 100,
        "protocol": {"lr": 0.05, "schedule": "constant"},
    }
    assert assignments(["protocol.early_steps=[1, 2]"])["protocol"] == {"early_steps": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("population", "a setting is KEY=VALUE, such as protocol.lr=0.05, not 'population'"),
        ("popluation=3", "unknown setting 'popluation'"),
        ("protocol.larning_rate=3", "unknown setting 'protocol.larning_rate'"),
        ("space=evonorm", "unknown setting 'space'"),
        ("protocol.lr.x=1", "unknown setting 'protocol.lr.x'"),
        ("protocol.lr=fast", "protocol.lr must be a number, not 'fast'"),
        ("protocol.steps=2.5", "protocol.steps must be an integer, not 2.5"),
        ("protocol.anchors=resnet-small", "protocol.anchors must be a list, each item text, not 'resnet-small'"),
        ("protocol.schedule=linear", "protocol.schedule must be 'constant' or 'cosine', not 'linear'"),
        ("protocol.signal=1", "protocol.signal must be true or false, not 1"),
        ("population=1\nbudget=2", "population must be an integer"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        assignments([text])
    assert message in str(caught.value)


def test_an_unknown_setting_is_told_those_that_there_are() -> None:
    """Each setting can be overridden, except those with options of their own: the space, files and seed graphs."""
    with pytest.raises(UsageError, match="unknown setting 'populatoin'; known: ") as caught:
        assignments(["populatoin=1"])
    told = set(str(caught.value).partition("known: ")[2].split(", "))
    run = {f.name for f in dataclasses.fields(RunConfig)} - {"space", "protocol", "seed_graphs"}
    assert told == run | {f"protocol.{f.name}" for f in dataclasses.fields(EvaluationProtocol)} - {
        "protocol.seed",
        "protocol.plugins",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("budget = ", "is not TOML"),
        ("protocol = 3", "protocol must be a table, not 3"),
        ("[spaces]\nevonorm = 3", "spaces.evonorm must be a table, not 3"),
        ("[spaces.evonorm]\nspace = 'evonorm-s'", "unknown setting 'spaces.evonorm.space'"),
        ("[spaces.evonorm.protocol]\nlr = 'x'", "spaces.evonorm.protocol.lr must be a number"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_preset(str(file))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_preset_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="unknown preset 'large'; known: paper, pictures, small, tokens; or the path"):
        read_preset("large")
    with pytest.raises(UsageError, match=r"the preset 'none.toml' cannot be read: No such file"):
        read_preset("none.toml")


def test_whoever_names_networks_of_their_own_has_no_target_of_a_preset(tmp_path: Path) -> None:
    for number in range(40):
        file = tmp_path / "train" / ("cat", "dog")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(file)
    data = {"data_dir": str(tmp_path)}
    assert configure(preset="pictures", protocol=data).target_anchors == ("resnet-medium", "mobilenet-medium")
    with pytest.warns(UserWarning, match="resnet-medium, mobilenet-medium.* is left out"):
        assert configure(preset="pictures", protocol={**data, "anchors": ["vgg-small"]}).target_anchors == ()
    both = configure(
        preset="pictures", protocol={**data, "anchors": ["vgg-small"]}, settings={"target_anchors": ["vgg-medium"]}
    )
    assert both.target_anchors == ("vgg-medium",)
    loop = f"{ROOT}/examples/loop.py:score"
    with pytest.warns(UserWarning, match="is left out"):
        assert configure(preset="pictures", protocol={"score": loop, "data": None}).target_anchors == ()
    with pytest.raises(UsageError, match="trains its own"):
        configure(preset="pictures", protocol={"score": loop}, settings={"target_anchors": ["vgg-medium"]})
    for bad, said in (
        ("vgg-medium", "a list, not 'vgg-medium'"),
        (3, "a list, not 3"),
        ([3], r"a list of text, not \[3\]"),
    ):
        with pytest.raises(UsageError, match=f"target_anchors must be {said}"):
            configure(settings={"target_anchors": bad})


def test_an_anchor_can_be_an_objective_beside_a_target() -> None:
    found = configure(protocol={"objectives": ["mobilenet-small"]}, settings={"target_anchors": ["resnet-medium"]})
    assert found.protocol.objectives == ("mobilenet-small",) and found.target_anchors == ("resnet-medium",)
