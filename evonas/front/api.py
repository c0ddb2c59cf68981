"""The Python API of a search: `search`, `resume`, and their result.

`evonas.setup.assemble` makes the parts of a search. To assemble them differently, call `execute` with your own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any, Unpack

from evonas.errors import UsageError
from evonas.evolution.executor import Executor
from evonas.evolution.loop import Search
from evonas.evolution.observer import Observer
from evonas.language.graph import Graph
from evonas.records import nothing_scored, results
from evonas.records.coordinator_claim import check_free, claimed
from evonas.records.environment import environment, warn_of_changes
from evonas.records.run_info import RunInfo, RunStatus, RunSummary
from evonas.records.store import Store
from evonas.reruns.collapse import CHANCE
from evonas.reruns.verdict import Verdict, verdict_of
from evonas.reruns.verification import verify as verify_best
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.presets import DEFAULT
from evonas.settings.run_config import RunConfig
from evonas.settings.search_space import SearchSpace
from evonas.setup.assemble import DEFAULT_STORAGE, chance_level, chosen_run, configure, note_on_noise, open_storage
from evonas.setup.make_executor import Workers, make_executor
from evonas.setup.recorded_data import DATA, check_same_data, digest_of_data

UNVERIFIED = "No layer of this run is verified: each score is of one training, so that the best were also lucky."
"""What is said of a run without a verdict."""


@dataclass(frozen=True)
class Result:
    """What a run has found so far, read from its store.

    Attributes:
        store: the store that holds the run.
        run_id: the run's number.
    """

    store: Store
    run_id: int

    @property
    def run(self) -> RunInfo:
        """The run's configuration, status, and reference scores."""
        return self.store.run(self.run_id)

    @property
    def verdict(self) -> Verdict | None:
        """Whether the best of the verified layers is better than published ones; None if none was verified."""
        return verdict_of(self.store, self.run_id)

    @property
    def summary(self) -> RunSummary:
        """The run's counts and times by filter and anchor."""
        return self.store.summary(self.run_id)

    def best(self, limit: int = 10) -> list[results.ResultRow]:
        """The layers that promise most by all their trainings, best first."""
        return results.best(self.store, self.run_id, limit)

    def pareto(self) -> list[results.ResultRow]:
        """The layers on the Pareto front of the run's objectives."""
        return results.pareto(self.store, self.run_id)

    def to_pandas(self, limit: int = 100) -> Any:
        """The best layers as a DataFrame of pandas, best first.

        Its columns are `id`, `expression`, `name`, `family`, `mean`, one for each anchor, one for each rung of longer
        training, such as `400 steps`, and one for each further objective.

        Args:
            limit: the largest number of layers.

        Raises:
            UsageError: if pandas is not installed.
        """
        try:
            from pandas import DataFrame  # type: ignore[import-untyped]  # it has no types of its own
        except ModuleNotFoundError:
            raise UsageError("pandas is not installed: pip install pandas") from None
        return DataFrame([_flat(row) for row in self.best(limit)])

    def _repr_html_(self) -> str:
        """The best layers as a table, and the verdict, as a notebook shows them."""
        rows = [{**_flat(row), **_written(row)} for row in self.best()]
        shown = {key: None for row in rows for key in row if key != "name"}
        head = "".join(f"<th>{escape(key)}</th>" for key in shown)
        body = "".join(f"<tr>{''.join(f'<td>{_cell(row.get(key))}</td>' for key in shown)}</tr>" for row in rows)
        return f"<p>{self._title()}</p><table><tr>{head}</tr>{body}</table><p>{escape(self._conclusion())}</p>"

    def _title(self) -> str:
        return f"run {self.run_id}, {self.run.status.value}: {self.summary.evaluations} candidates judged"

    def _conclusion(self) -> str:
        """Why nothing was scored, or what is verified."""
        return nothing_scored.why_nothing_was_scored(self.store, self.run_id) or str(self.verdict or UNVERIFIED)

    def __str__(self) -> str:
        lines = [self._title()]
        best = self.best(5)
        if best and self.run.config.rungs:
            steps = self.run.config.protocol.steps
            lines.append(f"the best by all their trainings, each with its mean accuracy after {steps} steps alone:")
        lines += [f"  {row.mean:.3f}  {row.id:>8}  {row.expression}" for row in best]
        for name, scores in results.references_as_rows(self.run.references):
            lines.append(f"  {fmean(scores.values()):.3f}            {name}")
        lines += filter(None, [results.short_of_budget(self.run, self.summary)])
        return "\n".join([*lines, self._conclusion()])


def _flat(row: results.ResultRow) -> dict[str, str | float | None]:
    """A row as the columns of a table."""
    about: dict[str, str | float | None] = {
        "id": row.id,
        "expression": row.expression,
        "name": row.name,
        "family": row.family,
        "mean": row.mean,
    }
    longer = {f"{steps} steps": score for steps, score in row.longer.items()}
    return {**about, **row.scores, **longer, **row.measures}


def _written(row: results.ResultRow) -> dict[str, str]:
    """The further objectives of a row, each as it is written."""
    return {one.name: one.written(row.measures[one.name]) for one in row.objectives}


def _cell(value: str | float | None) -> str:
    if isinstance(value, str):
        return f"<code>{escape(value)}</code>"
    return "" if value is None else f"{value:.3f}"


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
        return _to_the_end(run, store, running, observers, references, verify)


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
    **workers: Unpack[Workers],
) -> Result:
    """Continues a run that was interrupted or killed, and reaches the candidates that it would have reached.

    Then it verifies the best layers, or continues to.

    Args:
        run_id: the run; the latest run of the store if None.
        storage, executor, observers, references, verify: as in `search`.
        other_data: whether to go on even if the images in the run's files are others than it began with.
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
        return _to_the_end(run, store, running, observers, references, verify)


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
) -> Result:
    result = execute(run, store, executor, observers, references)
    if verify and result.run.status is RunStatus.FINISHED:
        note = verify_best(store, run.id, executor).note
        if note:
            logging.getLogger("evonas").warning(note)
    return result


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
