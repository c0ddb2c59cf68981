"""NormAct as a module: against reference files, against PyTorch's layers, and as torch.nn expects a module to be."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evonas.errors import UsageError
from evonas.language.graph import Graph
from evonas.language.zoo import PUBLISHED, zoo
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.norm_act import NormAct
from evonas.layers.running_values import running_names

REFERENCE = Path(__file__).parent / "reference"
EVERY_RUNNING_VALUE = "mean_bwh(x) + mean_bwh(tanh(x)) + rms_bwh(x) + std_bwh(x) + std_bwh(mean_whcg(x))"


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("name", ["evonorm-b0", "evonorm-s0"])
def test_matches_the_reference_files(name):
    file = {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(REFERENCE / f"{name}.npz").items()}
    settings = {"groups": int(file["groups"]), "eps": file["eps"].item(), "momentum": file["momentum"].item()}
    layer = NormAct(name, len(file["weight"]), **settings, dtype=torch.float64)
    with torch.no_grad():
        for parameter, value in layer.named_parameters():
            value.copy_(file[parameter])
    for step in range(3):
        x = file[f"x{step}"].requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.backward(file["dy"])
        close(y, file[f"train_y{step}"])
        close(x.grad, file[f"dx{step}"])
        for parameter, value in layer.named_parameters():
            # d_v2 is the gradient of v1 in step 2: the file numbers steps and not parameters.
            close(value.grad, file[f"d_{'v' if parameter == 'v1' else parameter}{step}"])
    layer.eval()
    close(layer(file["x0"]), file["eval_y"])
    assert ("running_var" in file) == (name == "evonorm-b0") == hasattr(layer, "running_var")
    if "running_var" in file:
        close(layer.running_var, file["running_var"])


def close(found, expected, tolerance=1e-9):
    """The project promises 1e-9 for these files; rounding stays below 1e-14."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance


# The graph, and PyTorch's layer with its parameters called as the graph calls them.
EQUALS = {
    "bn-relu": (zoo["bn-relu"], lambda c, g: nn.Sequential(nn.BatchNorm2d(c), nn.ReLU())),
    "gn-relu": (zoo["gn-relu"], lambda c, g: nn.Sequential(nn.GroupNorm(g, c), nn.ReLU())),
    "in-relu": (zoo["in-relu"], lambda c, g: nn.Sequential(nn.InstanceNorm2d(c, affine=True), nn.ReLU())),
    "ln-relu": (zoo["ln-relu"], lambda c, g: nn.Sequential(nn.GroupNorm(1, c), nn.ReLU())),
    "bn-swish": (zoo["bn-swish"], lambda c, g: nn.Sequential(nn.BatchNorm2d(c), nn.SiLU())),
}


@pytest.mark.parametrize("name", EQUALS)
def test_equals_the_layer_of_pytorch_in_training_and_evaluation(name):
    channels, groups = 6, 3
    graph, build = EQUALS[name]
    ours = NormAct(graph, channels, groups, affine=False, dtype=torch.float64)
    theirs = build(channels, groups).double()
    with torch.no_grad():
        for mine, his, seed in ((ours.v1, theirs[0].weight, 1), (ours.v0, theirs[0].bias, 2)):
            mine.copy_(random(channels, seed=seed))
            his.copy_(mine)
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.05) for layer in (ours, theirs)]
    for step in range(4):
        x, dy = random(5, channels, 4, 3, seed=10 + step) * 2 + 1, random(5, channels, 4, 3, seed=20 + step)
        leaves = [x.clone().requires_grad_() for _ in range(2)]
        for layer, leaf, optimizer in zip((ours, theirs), leaves, optimizers, strict=True):
            optimizer.zero_grad()
            leaf.y = layer(leaf)
            leaf.y.backward(dy)
        # Two orders of summing some hundred numbers of order 1 in float64.
        close(leaves[0].y, leaves[1].y, 1e-12)
        close(leaves[0].grad, leaves[1].grad, 1e-12)
        close(ours.v1.grad, theirs[0].weight.grad, 1e-12)
        close(ours.v0.grad, theirs[0].bias.grad, 1e-12)
        for optimizer in optimizers:
            optimizer.step()
    for kind in ("running_mean", "running_var"):
        assert (kind in dict(ours.named_buffers())) == (kind in dict(theirs[0].named_buffers()))
        if hasattr(ours, kind):
            close(getattr(ours, kind), getattr(theirs[0], kind), 1e-12)
    ours.eval()
    theirs.eval()
    x = random(1, channels, 2, 7, seed=30)
    close(ours(x), theirs(x), 1e-12)


def test_equals_layer_norm_with_its_affine_by_channel():
    layer = NormAct("(x - mean_whc(x)) / std_whc(x)", 5, dtype=torch.float64)
    x = random(4, 5, 3, 2) + 3
    with torch.no_grad():
        layer.weight.copy_(random(5, seed=1))
        layer.bias.copy_(random(5, seed=2))
    shape = (5, 3, 2)
    weight, bias = (p.view(5, 1, 1).expand(shape) for p in (layer.weight, layer.bias))
    for mode in (True, False):
        close(layer.train(mode)(x), F.layer_norm(x, shape, weight, bias, eps=1e-5), 1e-12)


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("evonorm-s0", {"weight", "bias", "v1"}),
        ("evonorm-b2", {"weight", "bias"}),
        ("bn-relu", {"weight", "bias", "v0", "v1"}),
        ("x + v0", {"weight", "bias", "v0"}),
        ("x", {"weight", "bias"}),
    ],
)
def test_parameters(expression, names):
    starts = {"weight": 1.0, "bias": 0.0, "v0": 0.0, "v1": 1.0}
    for affine in (True, False):
        layer = NormAct(expression, 7, affine=affine)
        parameters = dict(layer.named_parameters())
        assert set(parameters) == (names if affine else names - {"weight", "bias"})
        for name, value in parameters.items():
            assert value.shape == (7,)
            assert (value == starts[name]).all()
        x = random(2, 7, 3, 3, dtype=torch.float32).requires_grad_()
        layer(x).square().sum().backward()
        assert all(value.grad is not None for value in parameters.values())
    # A dead v0 is not a parameter, because it would never get a gradient.
    assert NormAct(Graph((*zoo["dyt"].nodes, *Graph.parse("x + v0").nodes), 5), 7).v0 is None


def test_affine_comes_last():
    layer = NormAct("tanh(x)", 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        layer.bias.copy_(torch.tensor([-1.0, 0.0, 5.0]))
    x = random(2, 3, 2, 2)
    expected = x.tanh() * layer.weight.view(1, 3, 1, 1) + layer.bias.view(1, 3, 1, 1)
    close(layer(x), expected, 0)


def test_running_values_follow_the_batch():
    layer = NormAct(EVERY_RUNNING_VALUE, 4, groups=2, dtype=torch.float64, momentum=0.3)
    names = ["running_mean", "running_mean_1", "running_square", "running_var", "running_var_1"]
    assert sorted(dict(layer.named_buffers())) == sorted(running_names(layer.graph).values()) == names
    expected = {name: torch.full((4,), float("mean" not in name), dtype=torch.float64) for name in names}
    for step in range(3):
        x = random(3, 4, 5, 2, seed=step) * 2 + 1
        layer(x)
        narrow = x.view(3, 2, 2, 5, 2).mean((2, 3, 4), keepdim=True).expand(3, 2, 2, 5, 2).reshape(x.shape)
        moments = [x.mean((0, 2, 3)), x.tanh().mean((0, 2, 3)), x.square().mean((0, 2, 3))]
        # Unbiased, over what the argument would be if broadcast to the shape of x.
        moments += [x.var((0, 2, 3)), narrow.var((0, 2, 3))]
        batch = dict(zip(names, moments, strict=True))
        for name in names:
            expected[name] = 0.7 * expected[name] + 0.3 * batch[name]
            close(getattr(layer, name), expected[name], 1e-12)
    layer.eval()
    e = expected
    roots = [(e[n] + 1e-5).sqrt() for n in names[2:]]
    wanted = e["running_mean"] + e["running_mean_1"] + sum(roots)
    close(layer(random(1, 4, 3, 1)), wanted.view(1, 4, 1, 1).expand(1, 4, 3, 1), 1e-12)


def test_running_values_of_one_kind_are_numbered_in_the_order_of_nodes():
    terms = (f"{kind}_bwh({of})" for of in ("x", "tanh(x)", "exp(x)") for kind in ("std", "mean", "rms"))
    layer = NormAct(" + ".join(terms) + " + x", 4)
    kinds = ("running_var", "running_mean", "running_square")
    assert [name for name, _ in layer.named_buffers()] == [
        *kinds,
        *(f"{kind}_{number}" for number in (1, 2) for kind in kinds),
    ]
    x = torch.randn(5, 4, 3, 3)
    layer.train()(x)
    expected = 0.1 * x.exp().mean((0, 2, 3))  # of the third mean, which started at 0
    torch.testing.assert_close(layer.running_mean_2, expected, rtol=1e-5, atol=0)  # float32


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_momentum_at_its_ends(momentum):
    layer = NormAct(EVERY_RUNNING_VALUE, 4, groups=2, momentum=momentum, dtype=torch.float64)
    before = copy.deepcopy(dict(layer.named_buffers()))
    x = random(3, 4, 5, 2) + 2
    layer(random(3, 4, 5, 2, seed=1))
    layer(x)
    for name, value in layer.named_buffers():
        assert torch.equal(value, before[name]) == (momentum == 0.0), name
    if momentum == 1.0:
        close(layer.running_var, x.var((0, 2, 3)), 1e-12)


def test_a_single_value_has_no_unbiased_variance():
    layer = NormAct("bn-relu", 3, dtype=torch.float64)
    y = layer(random(1, 3, 1, 1))
    assert torch.isfinite(y).all()
    close(layer.running_var, torch.full((3,), 0.9, dtype=torch.float64), 1e-15)


def test_evaluation_leaves_running_values_alone_and_is_by_sample():
    layer = NormAct(EVERY_RUNNING_VALUE + " + x", 4, groups=2)
    layer(random(3, 4, 5, 2, dtype=torch.float32))
    layer.eval()
    before = copy.deepcopy(layer.state_dict())
    x = random(3, 4, 5, 2, seed=5, dtype=torch.float32)
    assert torch.equal(layer(x)[1:2], layer(x[1:2]))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("through", ["state_dict", "deepcopy", "pickle"])
@pytest.mark.parametrize("name", ["bn-relu", EVERY_RUNNING_VALUE])
def test_copies(name, through):
    layer = NormAct(name, 4, groups=2, eps=1e-3)
    layer(random(3, 4, 5, 2, dtype=torch.float32))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5)
    if through == "state_dict":
        copied = NormAct(name, 4, groups=2, eps=1e-3)
        copied.load_state_dict(layer.state_dict())
    else:
        copied = copy.deepcopy(layer) if through == "deepcopy" else pickle.loads(pickle.dumps(layer))
    assert copied.graph == layer.graph
    x = random(2, 4, 3, 3, dtype=torch.float32)
    layer.eval(), copied.eval()
    expected = layer(x)
    assert torch.equal(copied(x), expected)
    copied.train()(x)
    assert torch.equal(layer(x), expected), "the copy shares its buffers"


@pytest.mark.parametrize("shape", [(3,), (2, 3, 1, 1, 1, 1), (2, 4), (2, 4, 3), (2, 4, 3, 3), (3, 2, 2), ()])
def test_wrong_input(shape):
    with pytest.raises(ValueError, match=r"expected an input of shape \(b, 3\), \(b, 3, l\), \(b, 3, h, w\) or"):
        NormAct("dyt", 3)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels must be an integer >= 1, not 0"),
        ({"channels": -1}, "channels must be an integer >= 1, not -1"),
        ({"groups": 0}, "groups must be an integer >= 1, not 0"),
        ({"eps": 0.0}, "eps must be a small positive number, not 0.0"),
        ({"eps": float("nan")}, "eps must be a small positive number, not nan"),
        ({"momentum": 1.5}, "momentum must be between 0 and 1, or None, not 1.5"),
        ({"momentum": -0.1}, "momentum must be between 0 and 1, or None, not -0.1"),
        ({"graph": "evonorm-s9"}, "'evonorm-s9' is neither a published layer"),
        ({"graph": "x +"}, "column 4: expected a name, a number, '-' or '\\(', found the end"),
        ({"channels": "3"}, "channels must be an integer >= 1, not '3'"),
        ({"channels": 3.0}, "channels must be an integer"),
        ({"channels": True}, "channels must be an integer"),
        ({"groups": 2.5}, "groups must be an integer"),
        ({"groups": None}, "groups must be an integer"),
        ({"momentum": "1"}, "momentum must be between 0 and 1, or None, not '1'"),
        ({"process_group": "wrold"}, "process_group must be a group of torch.distributed or 'world', not 'wrold'"),
        ({"eps": "1"}, "eps must be a small positive number, not '1'"),
        ({"graph": []}, "a layer must be a graph, a published name or an expression, not \\[\\]"),
        ({"graph": None}, "a layer must be a graph"),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(UsageError, match=message):
        NormAct(**{"graph": "dyt", "channels": 4, **arguments})


def test_a_graph_may_be_a_name_an_expression_or_a_graph():
    layers = [NormAct(g, 4) for g in ("evonorm-s0", zoo["evonorm-s0"], "x * sigmoid(v1 * x) / std_whcg(x)")]
    assert len({layer.graph for layer in layers}) == 1
    assert "x * sigmoid(v1 * x) / std_whcg(x), 4, eps=1e-05, affine=True, groups=32" in repr(layers[0])


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row.name)
def test_factory_of_published_layers(row):
    factory = LayerFactory.published(row.name)
    assert factory.norm_act(4).graph == zoo[row.name]
    x = random(2, 4, 3, 3, dtype=torch.float32)
    linear = factory.norm(4)(x)
    expected = x if row.linear is None else NormAct(row.linear, 4, affine=False)(x)
    assert torch.equal(linear, expected)


@pytest.mark.parametrize("name", ["bn-relu", "evonorm-b0", "evonorm-s0"])
def test_an_empty_batch_gives_an_empty_output_and_leaves_running_values(name):
    layer = NormAct(name, 3)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    assert layer(torch.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    for key, value in layer.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_an_input_that_is_not_floating_point(dtype):
    with pytest.raises(ValueError, match="floating-point"):
        NormAct("bn-relu", 3)(torch.zeros(2, 3, 2, 2, dtype=dtype))
