"""The stability filter: gradient ascent on the weights, in stages."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from evonas.language.graph import Graph
from evonas.language.zoo import FOUND, PUBLISHED
from evonas.layers import backend as backends
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.norm_act import NormAct
from evonas.settings.candidate import Accept, Reject
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.trial.network_filters import StabilityFilter, filters_of
from evonas.workers.trial.stability import GradientAscent
from evonas.workers.trial.trial import Trial
from tests.test_evaluate import QUICK

# The batch of the default protocol; its step size and limit are used as well.
PROTOCOL = replace(QUICK, batch=64, stability_steps=(5, 20))


@pytest.fixture(scope="module")
def data() -> DataSet:
    torch.set_num_threads(1)
    return load_dataset("digits")


needs_compiler = pytest.mark.skipif(not backends.has_cpp(), reason="needs a C++ compiler")


def trial(layer: LayerFactory, data: DataSet) -> Trial:
    return Trial(layer, PROTOCOL, data)


@pytest.mark.parametrize("name", [row.name for row in (*PUBLISHED, *FOUND) if row.name != "evonas-1"])
def test_every_published_layer_is_stable(name: str, data: DataSet) -> None:
    one = trial(LayerFactory.published(name), data)
    assert isinstance(StabilityFilter(20).judge(one), Accept)
    # Far from the limit: the largest of them, EvoNorm-B1, stays under 1.
    assert max(one.ascent.norms) < 10 and len(one.ascent.norms) == 21


def test_a_layer_that_evonas_found_is_less_stable_than_published_ones(data: DataSet) -> None:
    """As docs/SCIENCE.md says: on a small ResNet; on the MobileNet, where the default looks, it passes."""
    assert isinstance(StabilityFilter(5).judge(trial(LayerFactory.published("evonas-1"), data)), Reject)


UNSTABLE = [
    ("x", 5),  # nothing holds a linear network
    ("x - mean_bwh(x)", 5),
    ("max(x, x / rms_bwh(x))", 5),  # trains well from some seeds and not at all from others
    ("max(x, 0)", 20),
    ("x * square(x)", 5),
    ("exp(x)", 5),
]


@pytest.mark.parametrize(("text", "step"), UNSTABLE)
def test_known_unstable_layers_are_caught(text: str, step: int, data: DataSet) -> None:
    one = trial(LayerFactory(Graph.parse(text)), data)
    verdict = StabilityFilter(step).judge(one)
    assert isinstance(verdict, Reject) and verdict.reason == "gradient explodes"
    assert one.ascent.step < step  # it stopped where it exploded
    assert verdict.value is None or verdict.value > 1e8


def test_stages_share_one_ascent_and_leave_the_training_alone(data: DataSet) -> None:
    one, other = (trial(LayerFactory.published("bn-relu"), data) for _ in range(2))
    before = [p.clone() for p in one.first.model.state_dict().values()]
    for stage in (5, 20):
        StabilityFilter(stage).judge(one)
    StabilityFilter(20).judge(other)
    assert one.ascent.norms == other.ascent.norms
    assert all(torch.equal(a, b) for a, b in zip(before, one.first.model.state_dict().values(), strict=True))
    # After some training the ascent still begins at fresh weights.
    trained = trial(LayerFactory.published("bn-relu"), data)
    trained.first.advance(2)
    assert trained.ascent.norms[0] == one.ascent.norms[0]


@pytest.mark.parametrize("backend", ["reference", pytest.param("cpp", marks=needs_compiler)])
def test_networks_that_kernels_compute_are_judged_alike(backend: Literal["reference", "cpp"], data: DataSet) -> None:
    """Kernels have no second derivative, which each step of the ascent needs."""
    expected = trial(LayerFactory.published("evonorm-s0"), data)
    assert isinstance(StabilityFilter(2).judge(expected), Accept)
    factory = LayerFactory.published("evonorm-s0")
    one = Trial(factory, replace(expected.protocol, backend=backend), data)
    assert isinstance(StabilityFilter(2).judge(one), Accept)
    assert one.ascent.norms == expected.ascent.norms
    # The network on trial goes on with what was asked for: the ascent changed its own copy.
    assert {m.backend for m in one.first.model.modules() if isinstance(m, NormAct)} == {backend}


def test_a_step_is_plain_gradient_ascent_on_the_norm() -> None:
    """Compared with finite differences on a very small network, in float64."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()
    images, labels = torch.randn(5, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])

    def norm(weight: Tensor) -> float:
        out = torch.func.functional_call(model, {"0.weight": weight}, (images,))
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(out, labels), weight)
        return gradient.norm().item()

    weight, step = model[0].weight.detach(), 1e-6
    slopes = torch.zeros_like(weight)
    for place in range(weight.numel()):
        ends = []
        for sign in (1, -1):
            moved = weight.clone()
            moved.view(-1)[place] += sign * step
            ends.append(norm(moved.requires_grad_()))
        slopes.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
    ascent = GradientAscent(model, images, labels, step_size=0.5, limit=math.inf)
    assert ascent.advance(1)
    # Central differences are right to about step² in the norm and 1e-16 / step from rounding.
    moved = norm((weight + 0.5 * slopes).requires_grad_())
    assert math.isclose(ascent.norms[1], moved, rel_tol=1e-7) and ascent.norms[1] > ascent.norms[0]


def test_the_ascent_is_that_of_the_protocol_on_the_first_batch(data: DataSet) -> None:
    layer, protocol = LayerFactory.published("bn-relu"), replace(PROTOCOL, backend="reference")
    one = Trial(layer, protocol, data)
    model = one.training("resnet-small").model
    images, labels = data.batches(protocol.seed, protocol.batch)[0]
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    slopes = torch.autograd.grad(nn.functional.cross_entropy(model(images), labels), weights)
    norm = math.sqrt(sum(float(slope.double().square().sum()) for slope in slopes))
    verdict = StabilityFilter(2).judge(one)
    # Sums of some thousand squares in float32.
    assert one.ascent.norms[0] == pytest.approx(norm, rel=1e-4) and len(one.ascent.norms) == 3
    assert isinstance(verdict, Accept) and verdict.value == one.ascent.norms[2] != one.ascent.norms[0]
    tight = Trial(layer, replace(protocol, stability_limit=norm / 2), data)
    assert StabilityFilter(3).judge(tight) == Reject("gradient explodes", tight.ascent.norms[0])
    assert tight.ascent.step == 0
    # It ends with the first norm that is finite and beyond the limit.
    assert one.ascent.norms[0] < one.ascent.norms[1]
    passed = Trial(layer, replace(protocol, stability_limit=(one.ascent.norms[0] + one.ascent.norms[1]) / 2), data)
    assert StabilityFilter(2).judge(passed) == Reject("gradient explodes", passed.ascent.norms[1])
    assert passed.ascent.step == 1
    # The norm of a network that hardly moves is the same.
    slow = Trial(layer, replace(protocol, stability_rate=1e-9), data)
    StabilityFilter(1).judge(slow)
    assert slow.ascent.norms[1] == pytest.approx(norm, rel=1e-4)


def test_the_protocol_places_it_after_the_signal_and_before_training() -> None:
    names = [f.name for f in filters_of(PROTOCOL)]
    assert names == ["signal", "stability-5", "stability-20", "early-2", "quality"]
