"""The Python API of a search: `search` and `resume`.

`evonas.setup.assemble` makes the parts of a search. To assemble them differently, call `execute` with your own.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from evonas.evolution.executor import Executor
from evonas.evolution.loop import Search
from evonas.evolution.observer import Observer
from evonas.front.result import Result
from evonas.language.graph import Graph
from evonas.records.coordinator_claim import check_free, claimed
from evonas.records.environment import environment, warn_of_changes
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import Store
from evonas.reruns.collapse import CHANCE
from evonas.reruns.verification import verify as verify_best
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.presets import DEFAULT
from evonas.settings.run_config import RunConfig
from evonas.settings.search_space import SearchSpace
from evonas.setup.assemble import DEFAULT_STORAGE, chance_level, chosen_run, configure, note_on_noise, open_storage
from evonas.setup.make_executor import Workers, make_executor
from evonas.setup.recorded_data import DATA, check_same_data, digest_of_data

if TYPE_CHECKING:
    from rich.console import Console


def search(
    space: SearchSpace | str | None = None,
    *,
    preset: str = DEFAULT,
    budget: int | None = None,
    seed: int = 0,
    seed_graphs: Iterable[Graph | str] | None = None,
    protocol: EvaluationProtocol | Mapping[str, Any] | None = None,
    score: str | None = None,
    storage: str | Path | Store | None = None,
    executor: str | Executor = "ray",
    workers: int | None = None,
    ray_address: str | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: int = 1,
    recycle_after: int | None = None,
    observers: Sequence[Observer] = (),
    references: Sequence[str] | None = None,
    verify: bool = True,
    progress: bool | None = None,
    **settings: float | int | str | Sequence[str] | Sequence[float] | None,
) -> Result:
    """Evolves layers, verifies the best, and returns what was found. After Ctrl-C, returns what was found until then.

    Args:
        space: a search space or its name; that of the preset if None.
        preset: the preset for all settings that are not passed here: "small", "paper", or the path of a TOML file.
        budget: the number of distinct candidates to judge; that of the preset if None.
        seed: the seed of every random choice; the same seed draws the same candidates.
        seed_graphs: layers to judge first, as graphs, published names or expressions.
        protocol: how candidates are judged: a whole protocol, or settings that replace those of the preset, such
            as ``{"lr": 0.05}``. Its seed is replaced by `seed`.
        score: a training loop of your own, as FILE.py:NAME, in place of anchors and data (`evonas.settings.own_score`).
        storage: the path or URL of a database, or a store; the run is kept in memory if None.
        executor: "ray", "local" (in this process), or an executor, which is closed at the end.
        workers: the number of Ray workers; by default as many as fit on the available CPUs and GPUs.
        ray_address: a running Ray cluster, HOST:PORT or "auto". If None, the environment variable RAY_ADDRESS names
            it, and without one a Ray is started on this machine.
        gpus_per_worker: the GPUs per Ray worker, such as 0.25 for four workers on one GPU; by default 1 if the
            protocol trains on cuda, else 0.
        cpus_per_worker: the CPUs per Ray worker, and the number of threads that it computes with.
        recycle_after: the number of candidates after which a worker is replaced by a new process; None for never.
        observers: observers whose methods are called at each step.
        references: published layers to score under the same protocol; None for those of the configuration.
        verify: whether to train the best layers again after the search, as the settings `finalists`, `verify_seeds` and
            `verify_steps` say; `Result.verdict` is what comes of it.
        progress: whether to show a live display on stderr; None for one in a notebook, and where both stdout and
            stderr are a terminal.
        settings: further fields of `RunConfig`, such as `strategy="random"`.

    Raises:
        UsageError: if a setting makes no sense; the message says which.
        StorageError: if the database cannot be used.
    """
    if budget is not None:
        settings["budget"] = budget
    if score is not None:
        protocol = {**_settings(protocol), "score": score}
    config = configure(
        space, preset=preset, seed_graphs=seed_graphs, protocol=protocol, settings={"seed": seed, **settings}
    )
    asked = Workers(
        workers=workers,
        ray_address=ray_address,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker,
        recycle_after=recycle_after,
    )
    store = open_storage(storage)
    with make_executor(executor, config.protocol, deadline=config.deadline, **asked) as running:
        run = store.create_run(config, recorded_environment(config))
        noise = note_on_noise(config.protocol)
        if noise:
            logging.getLogger("evonas").warning(noise)
        return _to_the_end(run, store, running, observers, references, verify, progress)


def _settings(protocol: EvaluationProtocol | Mapping[str, Any] | None) -> Mapping[str, Any]:
    return asdict(protocol) if isinstance(protocol, EvaluationProtocol) else protocol or {}


def resume(
    run_id: int | None = None,
    *,
    storage: str | Path | Store = DEFAULT_STORAGE,
    executor: str | Executor = "ray",
    observers: Sequence[Observer] = (),
    references: Sequence[str] | None = None,
    verify: bool = True,
    other_data: bool = False,
    progress: bool | None = None,
    **workers: Unpack[Workers],
) -> Result:
    """Continues a run that was interrupted or killed, and reaches the candidates that it would have reached.

    Then it verifies the best layers, or continues to.

    Args:
        run_id: the run; the latest run of the store if None.
        storage, executor, observers, references, verify: as in `search`.
        other_data: whether to go on even if the images in the run's files are others than it began with.
        progress: as in `search`.
        workers: `workers`, `ray_address`, `gpus_per_worker`, `cpus_per_worker`, `recycle_after`, as in `search`.

    Raises:
        UsageError: if there is no such run, another coordinator is executing it, or its images have changed.
        StorageError: if the database cannot be used.
    """
    store = open_storage(storage)
    run = chosen_run(store, run_id)
    config = run.config
    check_free(store, run.id)  # before workers are started in vain
    check_same_data(run, other_data)
    warn_of_changes(run)
    with make_executor(executor, config.protocol, deadline=config.deadline, **workers) as running:
        return _to_the_end(run, store, running, observers, references, verify, progress)


def recorded_environment(config: RunConfig) -> dict[str, str]:
    """What is recorded of the environment with a new run: versions, hardware, the accuracy at chance, and the data."""
    digest = digest_of_data(config.protocol)
    data = {} if digest is None else {DATA: digest}
    return {**environment(), CHANCE: f"{chance_level(config.protocol):.6g}", **data}


def _to_the_end(
    run: RunInfo,
    store: Store,
    executor: Executor,
    observers: Sequence[Observer],
    references: Sequence[str] | None,
    verify: bool,
    progress: bool | None,
) -> Result:
    console = _console(progress)
    with ExitStack() as stack:
        if console is not None:
            from evonas.display.live_display import LiveDisplay

            observers = (*observers, stack.enter_context(LiveDisplay(run, store, console, executor.dashboard)))
        result = execute(run, store, executor, observers, references)
    if not verify or result.run.status is not RunStatus.FINISHED:
        return result
    if console is None:
        note = verify_best(store, run.id, executor).note
    else:
        from evonas.display.progress import training_bar

        with training_bar(console, "verifying") as bar:
            note = verify_best(store, run.id, executor, bar).note
    if note:
        logging.getLogger("evonas").warning(note)
    return result


def _console(progress: bool | None) -> Console | None:
    """The console that shows a live display; None where a script is not to print anything of itself."""
    if progress is False:
        return None
    from rich.console import Console

    console = Console(stderr=True)
    live = console.is_jupyter or (console.is_terminal and sys.stdout.isatty())
    return console if progress or live else None


def execute(
    run: RunInfo,
    store: Store,
    executor: Executor,
    observers: Sequence[Observer] = (),
    references: Sequence[str] | None = None,
) -> Result:
    """Executes the search of a run, new or resumed, until it ends or Ctrl-C interrupts it. It verifies nothing.

    Args:
        run: the run.
        store: the store that holds it.
        executor: the executor of its evaluations, which is not closed.
        observers: observers whose methods are called at each step.
        references: published layers to score under the same protocol; None for those of the configuration.

    Returns:
        The result; after Ctrl-C the status of its run is `INTERRUPTED`.

    Raises:
        UsageError: if another coordinator is executing the run.
    """
    from evonas.workers.executors.metrics import metering

    with claimed(store, run.id):
        store.record(run.id, status=RunStatus.RUNNING)
        run = store.run(run.id)  # as it is now: another coordinator may have executed it in the meantime
        beside = run.config.references if references is None else references
        Search(run, store, executor, (*observers, *metering(run, store, executor)), beside).execute()
    return Result(store, run.id)
