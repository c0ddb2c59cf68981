"""The commands `search`, `resume` and `config`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import tomli_w
import typer

from evonas.cli import options
from evonas.cli.live_display import LiveDisplay
from evonas.cli.tables import layers_table
from evonas.cli.worker_options import ExecutorOptions, with_executor_options
from evonas.front.api import execute
from evonas.records import results
from evonas.records.coordinator_claim import check_free
from evonas.records.environment import environment, warn_of_changes
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import Store
from evonas.report.number_format import duration
from evonas.search_spaces import SPACES
from evonas.settings.presets import DEFAULT, assignments, merged, preset_of, read_preset, resolve
from evonas.settings.run_config import STRATEGIES, RunConfig
from evonas.setup import assemble
from evonas.setup.make_executor import make_executor

app = typer.Typer()


@app.command()
@with_executor_options
def search(
    preset: options.Preset = DEFAULT,
    budget: Annotated[int | None, typer.Option(help="Number of distinct candidates to judge.")] = None,
    space: Annotated[
        str | None, typer.Option(help="Search space: evonorm, evonorm-s (no batch statistics), or FILE.py:NAME.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice of the run.")] = None,
    strategy: Annotated[str | None, typer.Option(help=f"How parents are selected: {', '.join(STRATEGIES)}.")] = None,
    seed_graph: Annotated[
        list[str] | None,
        typer.Option(help="A layer to judge first: a name from `evonas zoo` or an expression; may be repeated."),
    ] = None,
    core_minutes: Annotated[
        float | None, typer.Option(help="Draw no more candidates after the workers have spent this many core-minutes.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set: digits, cifar10, cifar100, image-folder, npz or FILE.py:NAME.")
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder or file of the data set.")] = None,
    anchor: Annotated[
        list[str] | None, typer.Option(help="Anchor network, such as resnet50@0.25 or FILE.py:NAME; may be repeated.")
    ] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="What to select by: anchors, size, …, or FILE.py:NAME; may be repeated.")
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option("--filter", help="A further filter of your own, FILE.py:NAME; may be repeated."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps on each anchor.")] = None,
    set_: options.Set = None,
    storage: options.Storage = options.STORAGE,
    *,
    execution: ExecutorOptions,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Evolve layers. Results are recorded in the database as they come; `evonas config` shows every setting."""
    run = {"budget": budget, "seed": seed, "strategy": strategy, "core_minutes": core_minutes}
    protocol = {
        "data": data,
        "data_dir": data_dir,
        "anchors": tuple(anchor) if anchor else None,
        "objectives": tuple(objective) if objective else None,
        "filters": tuple(filter_) if filter_ else None,
        "steps": steps,
    }
    changes = merged(assignments(set_ or []), {"protocol": options.specified(protocol), **options.specified(run)})
    config = assemble.configure(
        space, preset=preset, seed_graphs=seed_graph, protocol=changes.pop("protocol"), settings=changes
    )
    with assemble.open_storage(storage) as store:
        _execute(None, config, store, execution, form)


@app.command()
def config(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="The number of the run, or 'last'; if left out, a preset is printed."),
    ] = None,
    preset: options.Preset = DEFAULT,
    space: Annotated[str | None, typer.Option(help="Search space; the preset's by default.")] = None,
    set_: options.Set = None,
    storage: options.Storage = options.STORAGE,
) -> None:
    """Print every setting of a run or of a preset as TOML, which `evonas search --preset FILE` reads."""
    if run is not None:
        with assemble.open_storage(storage, read_only=True) as store:
            document = preset_of(options.find_run(store, run).config)
    else:
        document = read_preset(preset)
        if space is not None:
            found = assemble.named_space(space)
            document["space"] = space if space in SPACES else asdict(found)
        document = merged(resolve(document), assignments(set_ or []))
    typer.echo(tomli_w.dumps(document), nl=False)


@app.command()
@with_executor_options
def resume(
    run: options.RunId = options.LAST,
    storage: options.Storage = options.STORAGE,
    *,
    execution: ExecutorOptions,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Continue a run that was interrupted or killed. It draws the same candidates as without the interruption."""
    with assemble.open_storage(storage, create=False) as store:
        found = options.find_run(store, run)
        check_free(store, found.id)  # before workers are started in vain
        warn_of_changes(found)
        _execute(found, found.config, store, execution, form)


def _execute(
    run: RunInfo | None, config: RunConfig, store: Store, execution: ExecutorOptions, form: options.Format
) -> None:
    console = options.console if form is options.Format.TABLE else options.stderr
    console.print("[dim]starting workers …[/]")
    with make_executor(protocol=config.protocol, deadline=config.deadline, **execution) as running:
        if running.note:
            console.print(running.note, style="yellow", markup=False, highlight=False)
        run = run or store.create_run(config, environment())
        with LiveDisplay(run, store, console, running.dashboard) as display:
            execute(run, store, running, [display])
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
            options.console.print(f"Next: `evonas show {best[0].id}`, or `evonas export {best[0].id} -o layer.py`.")
