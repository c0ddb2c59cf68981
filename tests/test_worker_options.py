"""Every command and function that starts trainings has the same options for workers, and passes them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import typer

import evonas
from evonas.cli import app
from evonas.errors import UsageError
from evonas.reruns.baseline import baseline
from evonas.reruns.reranking import rerank
from evonas.setup.make_executor import Workers, check_executor, make_executor
from tests.test_cli import TINY, Call

ASKED = {
    "workers": 3,
    "ray_address": "127.0.0.1:1",
    "gpus_per_worker": 0.25,
    "cpus_per_worker": 2,
    "recycle_after": 50,
}
OPTIONS = [word for name, value in ASKED.items() for word in (f"--{name.replace('_', '-')}", str(value))]
COMMANDS = ("search", "resume", "rerank", "baseline")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(monkeypatch, capsys)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of `RayExecutor`, which is replaced and not started."""
    seen: list[dict[str, Any]] = []

    def refuse(data: object, **settings: Any) -> None:
        seen.append(settings)
        raise UsageError("no Ray in this test")

    monkeypatch.setattr("evonas.workers.executors.ray_executor.RayExecutor", refuse)
    return seen


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("searched") / "runs.db"
    seeds = ["evonorm-s0"]
    evonas.search(
        budget=1, seed_graphs=seeds, protocol=TINY, storage=path, executor="local", references=(), verify=False
    ).store.close()
    return path


def handed_on(seen: list[dict[str, Any]]) -> dict[str, Any]:
    (settings,) = seen
    return {("ray_address" if name == "address" else name): value for name, value in settings.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_passes_on_the_options_for_workers(
    command: str, call: Call, asked: list[dict[str, Any]], database: Path
) -> None:
    code, _, err = call(command, *OPTIONS, "--storage", database)
    assert code == 2 and "no Ray in this test" in err
    assert handed_on(asked).items() >= ASKED.items()


@pytest.mark.parametrize("start", [evonas.search, evonas.resume, rerank, baseline])
def test_a_function_passes_on_the_options_for_workers(
    start: Callable[..., object], asked: list[dict[str, Any]], database: Path
) -> None:
    arguments: dict[str, Any] = {"layers": ["dyt"]} if start is baseline else {"storage": database}
    with pytest.raises(UsageError, match="no Ray in this test"):
        start(**arguments, **ASKED)
    assert handed_on(asked).items() >= ASKED.items()


def test_the_commands_have_an_option_for_each_of_them() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group of them
    for name in COMMANDS:
        own = {one.name: one for one in commands[name].params if isinstance(one, click.Option) or one.opts}
        assert Workers.__annotations__.keys() | {"executor"} <= own.keys()
        assert "execution" not in own


@pytest.mark.parametrize("name", ["workers", "cpus_per_worker", "recycle_after"])
def test_there_is_at_least_one_of_everything_that_is_counted(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} must be at least 1, not 0"):
        check_executor("ray", **{name: 0})  # type: ignore[misc]
    check_executor("ray", **{name: 1})  # type: ignore[misc]


@pytest.mark.parametrize(("device", "given", "gpus"), [("cpu", None, 0.0), ("cuda", None, 1.0), ("cuda", 0.25, 0.25)])
def test_a_worker_that_trains_on_a_gpu_has_one_by_default(
    device: Any, given: float | None, gpus: float, asked: list[dict[str, Any]]
) -> None:
    with pytest.raises(UsageError, match="no Ray in this test"):
        # On a cluster, so that this machine needs no GPU.
        make_executor("ray", replace(TINY, device=device), ray_address="127.0.0.1:1", gpus_per_worker=given)
    assert handed_on(asked)["gpus_per_worker"] == gpus and handed_on(asked)["device"] == device
