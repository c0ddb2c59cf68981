"""What `evonas doctor` reports on a machine on which something does not work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from evonas.kernels.cpp import build as cpp_build
from evonas.kernels.cpp import calls as cpp_calls
from evonas.layers import norm_act
from evonas.records.memory_store import MemoryStore
from evonas.setup import doctor


class Scaled(nn.Module):
    """A layer that computes the wrong thing: x times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def said(check: Callable[[], str]) -> str:
    """The message of a check, which must fail."""
    result = doctor._try("it", check)
    assert not result.ok
    return result.found


@pytest.mark.parametrize("factor", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._try("layer", doctor._layer).ok
    monkeypatch.setattr(norm_act, "NormAct", lambda *arguments: Scaled(factor))
    assert said(doctor._layer) == "RuntimeError: EvoNorm-B0 gave no finite gradient"


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_kernels_that_are_wrong(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*arguments: Any, backend: str) -> nn.Module:
        return Scaled(1.0 if backend == "reference" else factor)

    monkeypatch.setattr(norm_act, "NormAct", made)
    monkeypatch.setattr(cpp_build, "trouble", lambda: None)
    monkeypatch.setattr(cpp_calls, "build_calls", lambda: None)
    assert said(doctor._compiler).startswith("RuntimeError: C++ kernels and reference differ by ")


def test_without_a_compiler_nothing_is_wrong_but_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpp_build, "trouble", lambda: "no compiler")
    check = doctor._try("compiler", doctor._compiler)
    assert check.ok and check.found.startswith("no compiler; layers on a CPU are computed by the reference")


def test_packages_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"ray": doctor.NOT_INSTALLED, "alembic": doctor.NOT_INSTALLED}
    monkeypatch.setattr(doctor, "version_of", lambda name: versions.get(name, "1.0"))
    assert said(doctor._packages) == (
        "RuntimeError: not installed: alembic, ray; install them with `pip install evonas`"
    )


def test_a_database_that_reads_back_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(MemoryStore):
        def run(self, run_id: int) -> Any:
            found = super().run(run_id)
            return replace(found, config=replace(found.config, seed=found.config.seed + 1))

    monkeypatch.setattr("evonas.setup.assemble.open_storage", lambda path: Forgetful())
    assert said(doctor._database) == "RuntimeError: a run that was read back differs from what was written"


def test_a_worker_that_fails_or_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        dashboard = None

        def __init__(self, data: object, workers: int) -> None:
            assert workers == 1

        def __enter__(self) -> Silent:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, task: object) -> None:
            pass

        def poll(self, seconds: float) -> list[Any]:
            return []

    clock = iter([0.0, 1.0, 121.0])
    monkeypatch.setattr("evonas.workers.executors.ray_executor.RayExecutor", Silent)
    monkeypatch.setattr(doctor, "monotonic", lambda: next(clock))
    assert said(doctor._ray) == "RuntimeError: no worker answered within two minutes"


def test_an_exception_is_reported_in_one_line() -> None:
    def check() -> str:
        raise ValueError("first\nsecond")

    assert said(check) == "ValueError: first"
    assert doctor._try("fine", lambda: "yes") == doctor.Check("fine", True, "yes")
