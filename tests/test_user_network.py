"""Users' networks as anchors: ordinary models, outputs and losses of other shapes, files beside the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from evonas import NormAct
from evonas.errors import UsageError
from evonas.layers.layer_factory import LayerFactory
from evonas.settings import plugins
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.anchors import build_anchor, check_user_anchor, logits_of
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.trial.training import Training

HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n\n\n"
NET = """class Net(nn.Module):
    def __init__(self, in_channels, classes):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 8, 3, padding=1, bias=False)
        self.bn, self.head = nn.BatchNorm2d(8), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(F.relu(self.bn(self.conv(x))).mean((2, 3)))


"""
OUTPUTS = {
    "tensor": "return y",
    "mapping": "return {'logits': y, 'features': x}",
    "out": "return {'out': y, 'aux': x}",
    "object": "return types.SimpleNamespace(logits=y, loss=None)",
    "several": "return y, x",
}
BUILDERS = {
    "keywords": "def build(in_channels, classes):\n    return Net(in_channels, classes)\n",
    "positions": "def build(channels, number):\n    return Net(channels, number)\n",
    "class": "build = Net\n",
    "defaults": "def build(in_channels=3, classes=10, width=4):\n    return Net(in_channels, classes)\n",
}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(sys, "path", list(sys.path))


def named(path: Path, text: str, name: str = "build") -> str:
    path.write_text(text)
    plugins.load_named_files([f"{path}:{name}"])
    return f"{path}:{name}"


@pytest.mark.parametrize("how", BUILDERS)
def test_layers_are_swapped_into_an_ordinary_model(how: str, tmp_path: Path) -> None:
    name = named(tmp_path / "net.py", HEAD + NET + BUILDERS[how])
    check_user_anchor(name, 1, (8, 8), 5)
    for layer in ("evonorm-s0", "bn-relu"):
        torch.manual_seed(0)
        model = build_anchor(name, LayerFactory.of(layer), in_channels=1, classes=5)
        assert isinstance(model.bn, NormAct) and model.bn.graph == LayerFactory.of(layer).graph
        weight = model.conv.weight
        torch.manual_seed(0)
        assert torch.equal(weight, build_anchor(name, LayerFactory.of("dyt"), in_channels=1, classes=5).conv.weight)


def test_a_function_that_takes_a_layer_works_as_before(tmp_path: Path) -> None:
    text = HEAD + (
        "def build(layer, *, in_channels, classes):\n"
        "    made = [nn.Conv2d(in_channels, 4, 1), layer.norm_act(4), nn.Flatten(), nn.LazyLinear(classes)]\n"
        "    return nn.Sequential(*made)\n\n\n"
        "def named(in_channels, classes, layer):\n    return build(layer, in_channels=in_channels, classes=classes)\n"
    )
    for which in ("build", "named"):
        model = build_anchor(named(tmp_path / "net.py", text, which), LayerFactory.of("dyt"), in_channels=2, classes=3)
        assert isinstance(model[1], NormAct)


def test_outputs_with_logits_are_trained_and_scored(tmp_path: Path) -> None:
    found = {}
    for output, returned in OUTPUTS.items():
        net = NET.replace("        return self.head(", "        y = self.head(")
        net = net.replace(".mean((2, 3)))\n", f".mean((2, 3)))\n        {returned}\n")
        name = named(tmp_path / f"{output}.py", f"import types\n{HEAD}{net}{BUILDERS['class']}")
        protocol = EvaluationProtocol(anchors=(name,), steps=10)
        training = Training(name, LayerFactory.of("bn-relu"), load_dataset("digits"), protocol)
        assert training.advance(10)
        found[output] = (*training.losses, training.accuracy("validation"), training.train_accuracy())
    assert len(set(found.values())) == 1, found


def test_a_network_may_have_its_own_loss(tmp_path: Path) -> None:
    net = (
        NET.rstrip()
        + "\n\n    def loss(self, output, labels):\n        return 2 * F.cross_entropy(output, labels)\n\n\n"
    )
    losses = []
    for text in (NET, net):
        name = named(tmp_path / f"net{len(losses)}.py", HEAD + text + BUILDERS["class"])
        protocol = EvaluationProtocol(anchors=(name,), steps=1)
        training = Training(name, LayerFactory.of("bn-relu"), load_dataset("digits"), protocol)
        training.advance(1)
        losses += training.losses
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-6)  # float32


def test_a_file_finds_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_net.py").write_text(HEAD + NET)
    name = named(tmp_path / "net.py", "from neighbour_of_net import Net\n\n\n" + BUILDERS["keywords"])
    check_user_anchor(name, 1, (8, 8), 5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "def build(a, b, c, d):\n    return None\n",
            r"is called with \(layer, \*, in_channels, classes\), or \(in_ch",
        ),
        ("def build(in_channels, classes):\n    return 3\n", "returned 3, not a torch.nn.Module"),
        (
            "def build(in_channels, classes):\n    return nn.Linear(1, 1)\n",
            "a layer has no place in .*no normalisation",
        ),
        (
            "def build(in_channels, classes):\n    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4))\n",
            "a layer has no place in .*1: no activation follows",
        ),
        (
            NET + "def build(in_channels, classes):\n    return Net(in_channels, 3)\n",
            r"returns \(2, 3\) for two images",
        ),
        ("def build(in_channels, classes):\n    raise KeyError('width')\n", r"net.py, line 7: KeyError: 'width'"),
    ],
)
def test_what_does_not_fit_is_said(text: str, says: str, tmp_path: Path) -> None:
    name = named(tmp_path / "net.py", HEAD + text)
    with pytest.raises(UsageError, match=says):
        check_user_anchor(name, 1, (8, 8), 5)


def test_an_output_without_logits_is_said() -> None:
    assert logits_of(torch.zeros(2)).shape == (2,)
    for output in ({"a": torch.zeros(1)}, None, (), "text", nn.Linear(1, 1)):
        with pytest.raises(UsageError, match="there are no logits"):
            logits_of(output)
