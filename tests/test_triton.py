"""Triton kernels under Triton's interpreter, against the reference in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch

from evonas.kernels.compiled_layer import Settings
from evonas.kernels.plan.plan import Plan
from evonas.kernels.plan.planner import plan_of
from evonas.kernels.plan.schedule import forward_reductions
from evonas.kernels.triton import run as triton_run
from evonas.kernels.triton.launches import Launch
from evonas.kernels.triton.on_chip import OnChipKernels
from evonas.kernels.triton.run import TritonLayer
from evonas.kernels.triton.steps import backward_pass, forward_pass
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.kernels.triton.tiles import Shape
from evonas.language.graph import FIRST, Graph
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from evonas.layers.running_values import running_names
from tests.compiled_layers import BRACKETS, LATER, NARROW, RUNNING, SHAPES, SMALL, UNEVEN, compare, compare_many
from tests.strategies import OF_PLANES, ZOO_OF_PLANES, seeded_graphs


class Writers(NamedTuple):
    streaming: StreamingKernels
    on_chip: OnChipKernels

    @staticmethod
    def of(graph: Graph) -> Writers:
        plan, names = plan_of(graph), running_names(graph)
        return Writers(StreamingKernels(plan, names), OnChipKernels(plan, names))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("channels_last", "on_chip"), [(False, True), (True, True), (False, False), (True, False)])
@pytest.mark.parametrize("name", ZOO_OF_PLANES)
def test_the_zoo(name: str, channels_last: bool, on_chip: bool, shape: tuple[int, ...]) -> None:
    compare(zoo[name], shape, partial(TritonLayer, on_chip=on_chip), channels_last=channels_last)


@pytest.mark.parametrize("name", ZOO_OF_PLANES)
def test_the_zoo_in_evaluation(name: str) -> None:
    compare(zoo[name], SHAPES[0], TritonLayer, training=False)


@pytest.mark.parametrize("text", ["x * 0 + std_bwh(x)", "std_wh(v1) + v0"])
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_whose_gradient_is_a_number(text: str, training: bool) -> None:
    compare(Graph.parse(text), SHAPES[0], TritonLayer, training=training)


def test_random_candidates() -> None:
    compare_many(100, lambda graph, training, n: TritonLayer(graph, training, n % 2 == 0), lambda n: torch.float32)


@pytest.mark.parametrize("text", ["tanh(x / -sqrt(std_wh(x)))", "std_wh(x) / -sqrt(std_wh(x)) * x"])
def test_a_negated_row_that_tiles_and_rows_need(text: str) -> None:
    compare(Graph.parse(text), SHAPES[0], partial(TritonLayer, on_chip=False))


@pytest.mark.parametrize(
    "text",
    ["x * (v0 / v1) / std_whcg(x)", "rms_whc(x - std_whc(v1))", "x * (std_whcg(x) * tanh(std_whcg(x))) / std_whcg(x)"],
)
def test_a_row_that_one_part_of_a_kernel_needs_and_then_another(text: str) -> None:
    for training in (True, False):
        compare(Graph.parse(text), SHAPES[0], TritonLayer, training=training)


@pytest.mark.parametrize("divisor", SMALL)
def test_divisors_inside_of_the_clamp(divisor: str) -> None:
    compare(Graph.parse(f"x / ({divisor}) + x"), SHAPES[0], TritonLayer)


@pytest.mark.parametrize("on_chip", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("text", [*RUNNING, *NARROW])
def test_numbers_of_every_kind_and_running_values_of_several_sweeps(text: str, training: bool, on_chip: bool) -> None:
    compare(Graph.parse(text), UNEVEN, partial(TritonLayer, on_chip=on_chip), training=training)


def test_every_kernel_runs_once_and_after_what_it_needs() -> None:
    count = 0
    for label, graph in seeded_graphs(150, OF_PLANES):
        layer = Writers.of(graph)
        forward = [step.kernel for step in forward_pass(*layer).steps]
        backward = [step.kernel for step in backward_pass(*layer).steps]
        assert len(set(forward)) == len(forward) and len(set(backward)) == len(backward), label
        reductions = layer.streaming.schedule.forward_reductions
        assert sorted(forward) == sorted(
            [f"sweep_{n + 1}" for n in range(len(layer.streaming.plan.sweeps))]
            + [f"join_{n + 1}" for n in range(len(reductions))]
            + ["write"]
        )
        assert forward[-1] == "write" and backward[-1] == "write_back"
        for number, reduction in enumerate(reductions, 1):
            place = forward.index(f"join_{number}")
            swept = {int(name.removeprefix("sweep_")) for name in forward[:place] if name.startswith("sweep_")}
            assert len(swept) == reduction.after == max(swept, default=0), label
        count += len(reductions)
    assert count > 30


def test_brackets_stand_where_they_are_needed() -> None:
    compare(Graph.parse(BRACKETS), SHAPES[0], TritonLayer)


def sweep_needed(plan: Plan, number: int) -> int:
    """The number of the sweep after which a node that is constant on planes can be computed, found from its leaves."""
    leaves = {leaf: n for n, sweep in enumerate(plan.sweeps, 1) for t in sweep for leaf in (t.mean, t.variance)}
    raw = {s.node: (s.raw,) for s in plan.statistics}
    if number < FIRST or number in leaves:
        return leaves.get(number, 0)
    below = raw.get(number, plan.nodes[number - FIRST].args)
    return max((sweep_needed(plan, n) for n in below if n is not None), default=0)


@pytest.mark.parametrize("argument", LATER)
def test_reductions_wait_for_the_last_sweep_that_they_need(argument: str) -> None:
    for statistic in ("mean_whc", "std_whcg", "rms_bwh"):
        plan = plan_of(Graph.parse(f"x * {statistic}({argument})"))
        reductions = forward_reductions(plan)
        assert [r.after for r in reductions] == [max(sweep_needed(plan, n) for n in r.nodes) for r in reductions]
        assert max(r.after for r in reductions) == 2


def test_one_value_has_the_variance_that_it_has() -> None:
    assert Shape(1, 4, 1, 2, False).numbers()["unbias"] == 1.0
    assert Shape(2, 4, 5, 2, False).numbers()["unbias"] == 10 / 9
    compare(Graph.parse("x + std_bwh(x)"), (1, 4, 1, 1), TritonLayer)


def test_kernels_get_the_constants_that_they_have() -> None:
    """The interpreter passes over one that is too many, which a GPU does not."""
    for text in [*RUNNING, *NARROW]:
        layer = TritonLayer(Graph.parse(text), training=True)
        work = layer._work(torch.Size(UNEVEN), True, Settings(2, 1e-5, 0.1))
        for launch in (*work.forward, *work.backward):
            constants = {a for a in launch.kernel.arg_names if a.isupper() and a not in ("B", "C", "G", "HW")}
            assert set(launch.constants) - {"num_warps", "span"} == constants


def test_kernels_run_on_the_gpu_that_the_input_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton launches on the current one. Without GPUs, that another is switched to is what can be seen."""
    current: list[Any] = [None]

    @contextmanager
    def device(wanted: torch.device) -> Iterator[None]:
        current.append(wanted)
        yield
        current.pop()

    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    layer = NormAct("evonorm-s0", 4, groups=2, backend="triton")
    wanted = torch.autograd.grad(layer(x).sum(), x)[0]
    launched: list[Any] = []
    run = Launch.__call__
    monkeypatch.setattr(Launch, "__call__", lambda self, given: (launched.append(current[-1]), run(self, given))[1])
    monkeypatch.setattr(triton_run, "is_on_another_gpu", lambda x: current[-1] != x.device)
    monkeypatch.setattr(torch.cuda, "device", device)
    assert torch.equal(torch.autograd.grad(layer(x).sum(), x)[0], wanted)
    assert launched and set(launched) == {x.device}
    assert current == [None]
