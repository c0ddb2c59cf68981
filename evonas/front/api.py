"""The library's front door: `search`, `resume`, and the result to look at.

The parts are put together by `evonas.front.assemble`; whoever wants to do that differently finds `execute` here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Unpack

from evonas.evolution.executor import Executor
from evonas.evolution.loop import Search
from evonas.evolution.observer import Observer
from evonas.front.assemble import configure, latest_run, open_storage
from evonas.front.make_executor import Workers, make_executor
from evonas.language.graph import Graph
from evonas.records import results
from evonas.records.coordinator_claim import check_free, claimed
from evonas.records.environment import environment, warn_of_changes
from evonas.records.run_info import RunInfo, RunStatus, RunSummary
from evonas.records.store import Store
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.presets import DEFAULT
from evonas.settings.search_space import SearchSpace

REFERENCES = ("bn-relu", "gn-relu", "evonorm-b0", "evonorm-s0")
"""Published layers that each run scores under its own protocol, to stand beside what it finds."""

DEFAULT_STORAGE = "evonas.db"


@dataclass(frozen=True)
class Result:
    """What a run has found so far, read from its store.

    Attributes:
        store: where the run is recorded.
        run_id: the run's number in it.
    """

    store: Store
    run_id: int

    @property
    def run(self) -> RunInfo:
        """The run's row: configuration, status, references."""
        return self.store.run(self.run_id)

    @property
    def summary(self) -> RunSummary:
        """Counts and times, per filter and anchor."""
        return self.store.summary(self.run_id)

    def best(self, limit: int = 10) -> list[results.ResultRow]:
        """The layers with the highest mean score, best first."""
        return results.best(self.store, self.run_id, limit)

    def pareto(self) -> list[results.ResultRow]:
        """The layers that no other beats on every anchor."""
        return results.pareto(self.store, self.run_id)

    def __str__(self) -> str:
        summary = self.summary
        lines = [f"run {self.run_id}, {self.run.status.value}: {summary.evaluations} candidates judged"]
        lines += [f"  {row.mean:.3f}  {row.id:>8}  {row.expression}" for row in self.best(5)]
        for name, scores in results.references_as_rows(self.run.references):
            lines.append(f"  {fmean(scores.values()):.3f}            {name}")
        return "\n".join(lines)


def search(
    space: SearchSpace | str | None = None,
    *,
    preset: str = DEFAULT,
    budget: int | None = None,
    seed: int = 0,
    seed_graphs: Iterable[Graph | str] | None = None,
    protocol: EvaluationProtocol | Mapping[str, Any] | None = None,
    storage: str | Path | Store | None = None,
    executor: str | Executor = "ray",
    workers: int | None = None,
    ray_address: str | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: int = 1,
    recycle_after: int | None = None,
    observers: Sequence[Observer] = (),
    references: Sequence[str] = REFERENCES,
    **settings: float | int | str | None,
) -> Result:
    """Evolves layers, and returns what was found; after a Ctrl-C, what was found until then.

    Args:
        space: a search space or its name; the preset's when None.
        preset: where settings come from that are not given here: "small", "paper", or the path of a TOML file.
        budget: distinct candidates to judge; the preset's when None.
        seed: of every random choice; the same seed draws the same candidates.
        seed_graphs: layers to judge first: graphs, published names or expressions.
        protocol: how candidates are judged: a whole protocol, or settings that replace the preset's, such
            as ``{"lr": 0.05}``. Its seed is replaced by `seed`.
        storage: path or URL of a database, or a store; kept in memory when None.
        executor: "ray", "local" (in this process), or an executor, which is closed at the end.
        workers: number of Ray workers; by default one a CPU, or as many as fit on the GPUs that they need.
        ray_address: a running Ray cluster, HOST:PORT or "auto"; when None, that of the environment variable
            RAY_ADDRESS, and where there is none a Ray on this machine.
        gpus_per_worker: GPUs that each Ray worker is given, such as 0.25 for four on one GPU; by default 1
            when the protocol trains on cuda, and 0 elsewhere.
        cpus_per_worker: CPUs of each, and threads that it computes with.
        recycle_after: candidates after which a worker is replaced by a new process; None for never.
        observers: told of each step.
        references: published layers to score beside the search.
        settings: further fields of `RunConfig`, such as `strategy="random"`.

    Raises:
        UsageError: for a setting that makes no sense; the message says which.
        StorageError: when the database cannot be used.
    """
    if budget is not None:
        settings["budget"] = budget
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
        return execute(store.create_run(config, environment()), store, running, observers, references)


def resume(
    run_id: int | None = None,
    *,
    storage: str | Path | Store = DEFAULT_STORAGE,
    executor: str | Executor = "ray",
    observers: Sequence[Observer] = (),
    references: Sequence[str] = REFERENCES,
    **workers: Unpack[Workers],
) -> Result:
    """Continues a run that was interrupted or killed, to the candidates that it would have reached.

    Args:
        run_id: the run; the latest of the store when None.
        storage, executor, observers, references: as in `search`.
        workers: `workers`, `ray_address`, `gpus_per_worker`, `cpus_per_worker`, `recycle_after`, as there.

    Raises:
        UsageError: when there is no such run, or another coordinator is at work on it.
    """
    store = open_storage(storage)
    run = latest_run(store) if run_id is None else store.run(run_id)
    config = run.config
    check_free(store, run.id)  # before workers are started for nothing
    warn_of_changes(run)
    with make_executor(executor, config.protocol, deadline=config.deadline, **workers) as running:
        return execute(run, store, running, observers, references)


def execute(
    run: RunInfo,
    store: Store,
    executor: Executor,
    observers: Sequence[Observer] = (),
    references: Sequence[str] = REFERENCES,
) -> Result:
    """Takes a run, new or not, to its end or to a Ctrl-C, after which its status says `INTERRUPTED`.

    Raises:
        UsageError: when another coordinator is at work on the run.
    """
    from evonas.workers.executors.metrics import metering

    with claimed(store, run.id):
        store.record(run.id, status=RunStatus.RUNNING)
        run = store.run(run.id)  # as it is now: another coordinator may have had it in the meantime
        Search(run, store, executor, (*observers, *metering(run, store, executor)), references).execute()
    return Result(store, run.id)
