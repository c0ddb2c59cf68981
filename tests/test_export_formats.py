"""Layers as JSON, LaTeX, and programs for torch.export and ONNX: they are read back without evonas and compared."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from evonas.errors import UsageError
from evonas.kernels.export import formats
from evonas.kernels.export.formats import Concrete
from evonas.kernels.export.layer_file import SUFFIXES, ExportOptions, export_as
from evonas.language.graph import FIRST, Graph, Node
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from tests.strategies import seeded_graphs
from tests.test_export import is_tame

FACTS = {"candidate": "1/17", 'a "name"': 'of\n"""any\u202e content'}
EVERYTHING = Graph.parse(
    "log(x) + sqrt(x) * max(tanh(x), v0) / (exp(-abs(x)) - x) + mean_bwh(x * x) / rms_bwh(x) + std_bwh(mean_whcg(x))"
    " + std_whcg(x) * rms_whcg(v1 * x) - mean_wh(x) * rms_wh(x) / std_wh(x)"
    " + mean_whc(sigmoid(x)) * rms_whc(x) / std_whc(x)"
)
GRAPHS = {"bn-relu": zoo["bn-relu"], "evonorm-s0": zoo["evonorm-s0"], "everything": EVERYTHING}
SIZE = Concrete(6, groups=2, eps=1e-4)
SHAPES = [(1, 6, 1, 1), (5, 6, 3, 7), (2, 6, 1, 4)]
"""Shapes that differ from the traced one in batch, height and width."""


def trained(graph: Graph, folder: Path) -> tuple[NormAct, Concrete]:
    """A layer with random parameters and running values, and its size, with its state in a file."""
    layer = NormAct(graph, SIZE.channels, SIZE.groups, SIZE.eps).eval()
    random = torch.Generator().manual_seed(3)
    state = {name: torch.rand(v.shape, generator=random) + 0.5 for name, v in layer.state_dict().items()}
    layer.load_state_dict(state)
    torch.save(state, folder / "state.pt")
    return layer, Concrete(SIZE.channels, SIZE.groups, SIZE.eps, folder / "state.pt")


def inputs() -> list[Tensor]:
    random = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=random) * 1.5 + 0.25 for shape in SHAPES]


def assert_onnx_agrees(graph: Graph, folder: Path) -> onnx.ModelProto:
    layer, size = trained(graph, folder)
    path = export_as("onnx", graph, folder / "layer.onnx", ExportOptions(size=size), provenance=FACTS, force=True)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    assert [one.shape[1] for one in (*session.get_inputs(), *session.get_outputs())] == [6, 6]
    for x in inputs():
        (y,) = session.run(["y"], {"x": x.numpy()})
        with torch.no_grad():
            wanted = layer(x)
        # float32 in another order, of values that were chosen to be good for 1e-4.
        np.testing.assert_allclose(y, wanted.numpy(), rtol=1e-4, atol=1e-4 * max(1.0, float(wanted.abs().max())))
    return onnx.load(path)


@pytest.mark.parametrize("name", GRAPHS)
def test_onnx(name: str, tmp_path: Path) -> None:
    model = assert_onnx_agrees(GRAPHS[name], tmp_path)
    onnx.checker.check_model(model, full_check=True)
    known = {entry.key: entry.value for entry in model.metadata_props}
    assert known["candidate"] == "1/17"


@pytest.mark.slow
def test_random_layers_in_onnx(tmp_path: Path) -> None:
    for label, graph in islice((item for item in seeded_graphs(1000) if is_tame(item[1])), 30):
        try:
            assert_onnx_agrees(graph, tmp_path)
        except AssertionError as error:
            raise AssertionError(label) from error


READ = """
import json, sys, torch
sys.modules["evonas"] = None
cases = torch.load(sys.argv[1])
for path, runs in cases.items():
    extra = {"provenance.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["provenance.json"])["candidate"] == "1/17"
    for x, wanted, slope in runs:
        x.requires_grad_()
        y = module(x)
        # The same operations in float32, of which sums may be made in another order.
        torch.testing.assert_close(y, wanted, rtol=1e-4, atol=1e-4)
        (found,) = torch.autograd.grad(y.square().sum(), x)
        torch.testing.assert_close(found, slope, rtol=1e-3, atol=1e-3 * float(slope.abs().max()) + 1e-4)
"""


def test_pt2(tmp_path: Path) -> None:
    cases = {}
    for number, graph in enumerate(GRAPHS.values()):
        layer, size = trained(graph, tmp_path)
        path = export_as("pt2", graph, tmp_path / f"{number}.pt2", ExportOptions(size=size), provenance=FACTS)
        runs = []
        for x in inputs():
            y = layer(x.requires_grad_())
            (slope,) = torch.autograd.grad(y.square().sum(), x)
            runs.append((x.detach(), y.detach(), slope))
        cases[str(path)] = runs
    torch.save(cases, tmp_path / "cases.pt")
    command = [sys.executable, "-I", "-c", READ, str(tmp_path / "cases.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_json_is_read_back(tmp_path: Path) -> None:
    for name, graph in zoo.items():
        text = export_as(
            "json", graph, tmp_path / f"{name}.json", ExportOptions(space="mine"), provenance=FACTS
        ).read_text()
        document = json.loads(text)
        assert Graph.from_json(text) == graph
        assert document["space"] == "mine" and document["provenance"] == FACTS and document["key"] == graph.key


def test_latex(tmp_path: Path) -> None:
    path = export_as("latex", zoo["dyt"], tmp_path / "layer.tex", provenance=FACTS)
    *comments, first, formula, last = path.read_text().splitlines()
    assert [first, last] == [r"\[", r"\]"]
    assert formula.strip() == r"y = \gamma \left(\tanh\left(s_1 \, x\right)\right) + \beta"
    assert len(comments) == len(FACTS) and all(line.startswith("% ") and line.isprintable() for line in comments)


def test_a_layer_without_a_formula_in_one_line(tmp_path: Path) -> None:
    deep = Graph(tuple(Node("mul", (n - 1 if n > FIRST else 0,) * 2) for n in range(FIRST, FIRST + 20)), FIRST + 19)
    with pytest.raises(UsageError, match="no formula in one line"):
        export_as("latex", deep, tmp_path / "layer.tex", provenance={})


@pytest.mark.parametrize("form", SUFFIXES)
def test_nothing_is_overwritten_without_force(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"layer{SUFFIXES[form]}"
    path.symlink_to(tmp_path / "elsewhere")  # leads nowhere yet, and is something all the same
    with pytest.raises(UsageError, match="exists; use --force"):
        export_as(form, zoo["dyt"], path, ExportOptions(size=SIZE), provenance={})
    if form not in ("pt2", "onnx"):
        export_as(form, zoo["dyt"], path, provenance={}, force=True)
        assert not path.is_symlink() and [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("form", SUFFIXES)
def test_a_name_that_is_no_name_is_refused(form: str, tmp_path: Path) -> None:
    for name in ("../Layer", "class", "a b"):
        with pytest.raises(UsageError, match="class name"):
            export_as(form, zoo["dyt"], tmp_path / "layer", ExportOptions(size=SIZE, class_name=name), provenance={})
    assert not list(tmp_path.iterdir())


def test_a_program_needs_its_channels(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--channels"):
        export_as("pt2", zoo["dyt"], tmp_path / "layer.pt2", provenance={})
    with pytest.raises(UsageError, match="channels, groups and eps must be positive"):
        export_as("pt2", zoo["dyt"], tmp_path / "layer.pt2", ExportOptions(size=Concrete(0)), provenance={})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"nonsense", "is not a state_dict"),
        ({"weight": torch.ones(4)}, "is not the state of this layer"),
        ([1], "is not the state of this layer"),
    ],
)
def test_a_state_that_is_none_is_refused(content: object, message: str, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    if isinstance(content, bytes):
        state.write_bytes(content)
    elif content is not None:
        torch.save(content, state)
    with pytest.raises(UsageError, match=message):
        export_as(
            "pt2", zoo["dyt"], tmp_path / "layer.pt2", ExportOptions(size=Concrete(4, state=state)), provenance={}
        )


def test_without_onnx_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        return None if name == "onnxscript" else importlib.util.find_spec(name)

    monkeypatch.setattr(formats, "find_spec", missing)
    with pytest.raises(UsageError, match="pip install onnx onnxscript"):
        export_as("onnx", zoo["dyt"], tmp_path / "layer.onnx", ExportOptions(size=SIZE), provenance={})
