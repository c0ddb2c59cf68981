"""Plans: what they promise, and that they compute the layer."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.kernels.plan.planner import plan_of
from evonas.kernels.plan.schedule import schedule_of
from evonas.language.axes import REMOVES, Extent
from evonas.language.graph import Graph
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Moment
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from tests.compiled_layers import LATER
from tests.plan_interpreter import PlanInterpreter
from tests.strategies import GROUPS, OF_PLANES, ZOO_OF_PLANES, seeded_graphs
from tests.test_differentiate import by_autograd, layer_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ZOO_OF_PLANES)
def test_the_plans_of_the_zoo_read_as_they_should(name: str) -> None:
    assert str(plan_of(zoo[name])) + "\n" == (GOLDEN / f"plan_{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "passes", "floor"),
    [
        ("evonorm-s0", (3, 5), (2, 3)),  # one read and one write where a group fits on chip
        ("evonorm-b0", (3, 5), (3, 5)),
        ("bn-relu", (3, 5), (3, 5)),
        ("rmsnorm", (3, 5), (2, 3)),
        ("dyt", (2, 3), (2, 3)),  # no statistic at all
    ],
)
def test_traffic(name: str, passes: tuple[int, int], floor: tuple[int, int]) -> None:
    plan = plan_of(zoo[name])
    assert (plan.passes, plan.floor) == (passes, floor)


@pytest.mark.parametrize(
    ("text", "sweeps"),
    [
        ("x / std_wh(x / std_bwh(x) - v0)", 1),  # affine in x: no sweep for the second
        ("x / std_bwh((x - mean_wh(x)) / std_wh(x))", 1),
        ("tanh(x) / std_bwh(v1 * tanh(x))", 1),
        ("x / std_wh(tanh(x)) + x / std_whc(x)", 1),  # two values, one sweep
        ("x / std_wh(x * sigmoid(x / std_wh(x)))", 2),
        ("x / std_wh(tanh(x / std_wh(tanh(x / std_bwh(x)))))", 3),
        ("x * std_bwh(mean_wh(x)) + std_whc(v1)", 1),
        ("x * std_whc(v1)", 0),
    ],
)
def test_only_what_is_not_affine_costs_a_sweep(text: str, sweeps: int) -> None:
    assert len(plan_of(Graph.parse(text)).sweeps) == sweeps


AGGREGATIONS = [op for op in PRIMITIVES.values() if op.is_aggregation]


def assert_computes(graph: Graph, training: bool = True) -> bool:
    """Whether gradients were compared."""
    layer, x, dy = layer_of(graph)
    layer.train(training)
    plan = plan_of(graph, training)
    running = _randomised_running_values(layer)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}
    with torch.no_grad():
        before = {k: v.clone() for k, v in layer.state_dict().items()}
        right = layer(x)
        layer.load_state_dict(before)
    work = PlanInterpreter(plan, x.detach(), parameters, GROUPS, running=running)
    close(work.forward(), right, "y")
    if not right.isfinite().all():
        return False
    gradients, found = by_autograd(layer, x, dy), work.backward(dy)
    assert set(gradients) == set(found)
    for name, gradient in gradients.items():
        close(found[name], gradient, name)
    return bool(gradients["x"].isfinite().all() and gradients["x"].abs().max() > 0)


def close(found: Tensor, right: Tensor, name: str) -> None:
    if right.isfinite().all():
        # The plan sums in another order; cancellation leaves the rounding errors of the largest values.
        size = max(1.0, float(right.abs().max()))
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-8 * size, msg=lambda m: f"{name}: {m}")


def _randomised_running_values(layer: NormAct) -> dict[int, Tensor]:
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for buffer in layer.buffers():
            buffer.copy_(torch.rand(buffer.shape, generator=random, dtype=buffer.dtype) + 0.5)
    return {node: layer.get_buffer(name).clone() for node, name in layer._running.items()}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ZOO_OF_PLANES)
def test_the_zoo(name: str, training: bool) -> None:
    assert assert_computes(zoo[name], training)


@pytest.mark.parametrize("training", [True, False])
def test_random_graphs(training: bool) -> None:
    compared = 0
    for label, graph in seeded_graphs(350, OF_PLANES):
        try:
            compared += assert_computes(graph, training)
        except AssertionError as error:
            raise AssertionError(f"{label}: {graph.written()}") from error
    assert compared >= 175


def test_every_aggregation_of_every_kind_of_argument() -> None:
    for op in AGGREGATIONS:
        for argument in ("x", "tanh(x)", "v1", "mean_wh(x)", "std_bwh(x)", "rms_whcg(tanh(x))", "x * v1 - mean_whc(x)"):
            graph = Graph.parse(f"x * {op.name}({argument}) + x")
            if PlanKind.PLANES in kinds_of(graph):
                assert assert_computes(graph), graph


@pytest.mark.parametrize("statistic", ["mean_wh", "rms_whc", "std_whcg", "std_bwh"])
@pytest.mark.parametrize("argument", LATER)
def test_what_a_later_sweep_finds_is_waited_for(argument: str, statistic: str) -> None:
    graph = Graph.parse(f"x * {statistic}({argument})")
    assert assert_computes(graph)
    after = {s.node: s.after for s in plan_of(graph).statistics}
    assert after[max(graph.node(graph.output).args)] == 2


@pytest.mark.parametrize("outer", IndexSet)
def test_every_aggregation_of_every_aggregation(outer: IndexSet) -> None:
    inner = [op for op in AGGREGATIONS if REMOVES[op.index_set] & Extent.PLANE]
    for one, other in product((op for op in AGGREGATIONS if op.index_set is outer), inner):
        graph = Graph.parse(f"x * {one.name}({other.name}(tanh(x)) * v1)")
        assert assert_computes(graph), graph
        assert assert_computes(graph, training=False), graph


def test_one_reduction_sweep_backward_whatever_the_depth() -> None:
    plan = plan_of(Graph.parse("x / std_wh(tanh(x / std_whc(tanh(x / std_bwh(x)))))"))
    means = {swept.mean for swept in plan.totals}
    for swept in plan.totals:  # no value that is summed depends on another total
        stack = [swept.value]
        while stack:
            number = stack.pop()
            assert number not in means
            if number >= 4 and number not in plan.saved:
                stack += plan.nodes[number - 4].args


def test_backward_is_one_step_where_dx_needs_no_total() -> None:
    """A kernel fewer, and x and dy are read once; what is written would be the same without it."""
    assert [step.name for step in schedule_of(plan_of(zoo["dyt"])).backward] == ["write_back"]
    names = [step.name for step in schedule_of(plan_of(zoo["bn-relu"])).backward]
    assert names == ["total", "join_back_1", "write_back"]


def test_saved_values_are_never_as_large_as_x() -> None:
    for _, graph in seeded_graphs(100, OF_PLANES):
        plan = plan_of(graph)
        assert not any(plan.varies_in_sweep(node) for node in plan.saved)


def test_forward_nodes_keep_their_numbers() -> None:
    """Running values belong to nodes, so a node that is there twice is computed twice."""
    graph = Graph.from_json('{"nodes": [["mean_bwh", [0]], ["mean_bwh", [0]], ["add", [4, 5]], ["add", [6, 0]]]}')
    plan = plan_of(graph)
    assert plan.nodes[: len(graph.nodes)] == graph.nodes
    assert [(s.node, s.moment, s.index_set) for s in plan.statistics] == [
        (n, Moment.MEAN, IndexSet.BWH) for n in (5, 4)
    ]
    assert assert_computes(graph) and assert_computes(graph, training=False)
