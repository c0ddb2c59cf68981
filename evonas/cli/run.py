"""Commands that run a search: `search` and `resume`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from evonas import assemble, results
from evonas.api import execute
from evonas.cli import options
from evonas.cli.live import Watcher
from evonas.cli.tables import duration, layers_table
from evonas.config import RunConfig
from evonas.environment import environment
from evonas.protocol import Protocol
from evonas.store import RunInfo, RunStatus, Store

app = typer.Typer()
_PROTOCOL = Protocol()
_DEFAULTS = RunConfig(assemble.named_space("evonorm"))


@app.command()
def search(
    budget: Annotated[int, typer.Option(help="Distinct candidates to judge.")] = _DEFAULTS.budget,
    space: Annotated[
        str, typer.Option(help="Search space: evonorm, or evonorm-s without batch statistics.")
    ] = "evonorm",
    seed: Annotated[int, typer.Option(help="Of every random choice of the run.")] = 0,
    strategy: Annotated[str, typer.Option(help="pareto, average, or random.")] = _DEFAULTS.strategy,
    seed_graph: Annotated[
        list[str] | None,
        typer.Option(help="Judge this layer first: a name from `evonas zoo` or an expression. May be repeated."),
    ] = None,
    population: Annotated[int, typer.Option(help="Newest scored candidates in the window.")] = _DEFAULTS.population,
    tournament: Annotated[float, typer.Option(help="Share of the window in a tournament.")] = _DEFAULTS.tournament,
    fresh: Annotated[float, typer.Option(help="Probability of a new random graph.")] = _DEFAULTS.fresh,
    mutations: Annotated[int, typer.Option(help="Mutations of an offspring.")] = _DEFAULTS.mutations,
    lookahead: Annotated[
        int, typer.Option(help="Candidate i sees the results up to i - lookahead; raise it for many workers.")
    ] = _DEFAULTS.lookahead,
    core_minutes: Annotated[
        float | None, typer.Option(help="Draw no more candidates once workers have spent this long in all.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="Data set: digits, cifar10, cifar100, image-folder or npz.")
    ] = _PROTOCOL.data,
    data_dir: Annotated[str | None, typer.Option(help="Its folder or file.")] = None,
    anchor: Annotated[list[str] | None, typer.Option(help="Anchor network; may be repeated.")] = None,
    steps: Annotated[int, typer.Option(help="Training steps on each anchor.")] = _PROTOCOL.steps,
    deadline: Annotated[float, typer.Option(help="Seconds after which a candidate is stopped.")] = _DEFAULTS.deadline,
    storage: options.Storage = options.STORAGE,
    executor: options.Executor = "ray",
    workers: options.Workers = None,
    ray_address: options.RayAddress = None,
    gpus_per_worker: options.GpusPerWorker = None,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Evolve layers; results go to the database as they come."""
    protocol = replace(
        _PROTOCOL,
        data=data,
        data_dir=data_dir,
        anchors=tuple(anchor) if anchor else _PROTOCOL.anchors,
        steps=steps,
    )
    config = assemble.configure(
        space,
        budget=budget,
        seed=seed,
        seed_graphs=seed_graph or (),
        protocol=protocol,
        strategy=strategy,
        population=population,
        tournament=tournament,
        fresh=fresh,
        mutations=mutations,
        lookahead=lookahead,
        core_minutes=core_minutes,
        deadline=deadline,
    )
    assemble.check_executor(executor, workers, gpus_per_worker)
    with assemble.open_storage(storage) as store:
        _execute(None, config, store, executor, workers, ray_address, gpus_per_worker, form)


@app.command()
def resume(
    run: options.RunId = options.LAST,
    storage: options.Storage = options.STORAGE,
    executor: options.Executor = "ray",
    workers: options.Workers = None,
    ray_address: options.RayAddress = None,
    gpus_per_worker: options.GpusPerWorker = None,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Continue a run that was interrupted or killed; it reaches the same candidates."""
    assemble.open_storage(storage, read_only=True).close()  # resuming makes no new database
    with assemble.open_storage(storage) as store:
        found = options.the_run(store, run)
        _execute(found, found.config, store, executor, workers, ray_address, gpus_per_worker, form)


def _execute(
    run: RunInfo | None,
    config: RunConfig,
    store: Store,
    executor: str,
    workers: int | None,
    ray_address: str | None,
    gpus_per_worker: float | None,
    form: options.Format,
) -> None:
    console = options.console if form is options.Format.TABLE else options.stderr
    console.print("[dim]starting workers …[/]")
    with assemble.make_executor(
        executor,
        config.protocol,
        deadline=config.deadline,
        workers=workers,
        ray_address=ray_address,
        gpus_per_worker=gpus_per_worker,
    ) as running:
        run = run or store.create_run(config, environment())
        with Watcher(run, store, console, running.dashboard) as watcher:
            execute(run, store, running, [watcher])
    _conclude(store, run.id, form)


def _conclude(store: Store, run_id: int, form: options.Format) -> None:
    run, summary = store.run(run_id), store.summary(run_id)
    best = results.best(store, run_id)
    anchors = run.config.protocol.anchors
    document = {**results.status(run, summary), "best": [row.as_dict() for row in best]}
    title = f"run {run_id}, {run.status.value}: {summary.evaluations:,} judged in {duration(run.elapsed)}"
    options.emit(form, document, layers_table(best, run.references, anchors, title))
    if form is options.Format.TABLE:
        if run.status is RunStatus.INTERRUPTED:
            options.console.print(f"`evonas resume {run_id}` continues it.")
        elif best:
            options.console.print(
                f"`evonas show {best[0].id}` and `evonas export {best[0].id} -o layer.py` go on from here."
            )
