"""The commands `search`, `resume` and `config`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group

from evonas.cli import options
from evonas.cli.verdict_view import verdict_view
from evonas.cli.worker_options import ExecutorOptions, with_executor_options
from evonas.display.live_display import LiveDisplay
from evonas.display.progress import training_bar
from evonas.display.tables import layers_table
from evonas.front.api import execute, recorded_environment
from evonas.language.graph import Graph
from evonas.records import results
from evonas.records.coordinator_claim import check_free
from evonas.records.environment import warn_of_changes
from evonas.records.nothing_scored import why_nothing_was_scored
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import Store
from evonas.report.number_format import duration
from evonas.reruns.verdict import Verdict, verdict_of
from evonas.reruns.verification import verify as verify_best
from evonas.search_spaces import SPACES
from evonas.settings.own_score import takes_split
from evonas.settings.presets import DEFAULT, assignments, merged, preset_of, read_preset, resolve
from evonas.settings.run_config import STRATEGIES, RunConfig
from evonas.setup import assemble
from evonas.setup.estimate import note_on_time
from evonas.setup.make_executor import make_executor
from evonas.setup.recorded_data import check_same_data

app = typer.Typer()
Verify = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        help="After the search, train the best of several families again, and score the best of those on the test "
        "split beside published layers (settings finalists, verify_seeds, verify_steps).",
    ),
]


@app.command(epilog=options.example("evonas search --budget 200 --seed 1"))
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
        str | None,
        typer.Option(
            help="Data: crops, photographs, digits, cifar10, cifar100, image-folder, npz, text or FILE.py:NAME."
        ),
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder or file of the data set.")] = None,
    anchor: Annotated[
        list[str] | None, typer.Option(help="Anchor network, such as resnet50@0.25 or FILE.py:NAME; may be repeated.")
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(help="A training loop of your own, FILE.py:NAME, in place of --anchor and --data."),
    ] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="What to select by: anchors, size, …, or FILE.py:NAME; may be repeated.")
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option("--filter", help="A further filter of your own, FILE.py:NAME; may be repeated."),
    ] = None,
    propose: Annotated[
        str | None,
        typer.Option(help="A function of your own, FILE.py:NAME, that proposes layers (its share is `proposed`)."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps on each anchor.")] = None,
    set_: options.Set = None,
    verify: Verify = True,
    storage: options.Storage = options.STORAGE,
    *,
    execution: ExecutorOptions,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Evolve layers and verify the best. Results are recorded as they come; `evonas config` shows every setting.

    A run that ends without a scored candidate says why on stderr, and the exit code is 1.
    """
    run = {"budget": budget, "seed": seed, "strategy": strategy, "core_minutes": core_minutes, "propose": propose}
    protocol = {
        "score": score,
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
        _execute(None, config, store, execution, form, verify)


@app.command(epilog=options.example("evonas config --preset pictures"))
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
    """Print every setting of a run or of a preset as TOML, which `evonas search --preset FILE` reads.

    Published layers that the search space cannot hold are left out. Numbers are checked, names only when a search uses
    them.
    """
    if run is not None:
        with assemble.open_storage(storage, read_only=True) as store:
            document = preset_of(options.find_run(store, run).config)
    else:
        changes, document = assignments(set_ or []), read_preset(preset)
        if space is not None:
            found = assemble.named_space(space)
            document["space"] = space if space in SPACES else asdict(found)
        document = merged(resolve(document), changes)
        # What a search would refuse is refused here, where it is written, and not where the file is read.
        protocol = changes.pop("protocol")
        checked = assemble.configure(space, preset=preset, protocol=protocol, settings=changes, look_up=False)
        if "seed_graphs" in document:
            usable = {Graph.from_json(graph).key for graph in checked.seed_graphs}
            named = document["seed_graphs"]
            document["seed_graphs"] = [name for name in named if assemble.seed_graph(name).key in usable]
    import tomli_w  # which no other command needs

    typer.echo(tomli_w.dumps(document), nl=False)


@app.command(epilog=options.example("evonas resume last"))
@with_executor_options
def resume(
    run: options.RunId = options.LAST,
    verify: Verify = True,
    other_data: options.OtherData = False,
    storage: options.Storage = options.STORAGE,
    *,
    execution: ExecutorOptions,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Continue a run, or its verification. It draws the same candidates as without the interruption."""
    with assemble.open_storage(storage, create=False) as store:
        found = options.find_run(store, run)
        check_free(store, found.id)  # before workers are started in vain
        check_same_data(found, other_data)
        warn_of_changes(found)
        _execute(found, found.config, store, execution, form, verify)


def _execute(
    run: RunInfo | None,
    config: RunConfig,
    store: Store,
    execution: ExecutorOptions,
    form: options.Format,
    verify: bool,
) -> None:
    console = options.console if form is options.Format.TABLE else options.stderr
    console.print("[dim]starting workers …[/]")
    with make_executor(protocol=config.protocol, deadline=config.deadline, **execution) as running:
        if running.note:
            console.print(running.note, style="yellow", markup=False, highlight=False)
        for note in () if run else (assemble.note_on_noise(config.protocol), note_on_time(config)):
            if note:
                console.print(note, style="yellow", markup=False, highlight=False)
        run = run or store.create_run(config, recorded_environment(config))
        with LiveDisplay(run, store, console, running.dashboard) as display:
            ended = execute(run, store, running, [display]).run.status
        if verify and ended is RunStatus.FINISHED:
            with training_bar(options.stderr, "verifying") as bar:
                note = verify_best(store, run.id, running, bar).note
            if note:
                console.print(note, style="yellow", markup=False, highlight=False)
    _conclude(store, run.id, form)


def _conclude(store: Store, run_id: int, form: options.Format) -> None:
    run, summary, verdict = store.run(run_id), store.summary(run_id), verdict_of(store, run_id)
    best = results.best(store, run_id)
    anchors = run.config.protocol.anchors
    document = {
        **results.status(run, summary),
        "best": [row.as_dict() for row in best],
        "verdict": None if verdict is None else verdict.as_dict(),
    }
    title = f"run {run_id}, {run.status.value}: {summary.evaluations:,} judged in {duration(run.elapsed)}"
    shown = layers_table(best, run.references, anchors, title)
    options.emit(form, document, Group(shown, verdict_view(verdict)) if best else shown)
    if form is options.Format.TABLE:
        for line in filter(None, (results.short_of_budget(run, summary), _advice(run, best, verdict))):
            options.console.print(line, markup=False)
    why = why_nothing_was_scored(store, run_id)
    if why is not None:
        typer.echo(why, err=True)
        raise typer.Exit(1)


def _advice(run: RunInfo, best: Sequence[results.ResultRow], verdict: Verdict | None) -> str:
    """What to do next. A layer is only recommended if it is verified to be better than BN-ReLU."""
    if run.status is RunStatus.INTERRUPTED:
        return f"`evonas resume {run.id}` continues it."
    longer = "search longer (`--budget`) or with another seed (`--seed`)"
    if not best:
        return ""  # `why_nothing_was_scored` says what to do
    if verdict is None and run.config.protocol.score and not takes_split(run.config.protocol):
        why = f"{run.config.protocol.score} takes no `split`, so that no data is left to verify it by"
        return f"`evonas show {best[0].id}` shows the best; {why}."
    if verdict is None or verdict.missing:
        how = f"`evonas resume {run.id}`" if run.config.finalists else f"`evonas rerank {run.id}`"
        return f"Next: {how} verifies the best; until then, `evonas show {best[0].id}` shows a layer that may be lucky."
    if verdict.better and verdict.layer is not None:
        return f"Next: `evonas show {verdict.layer.id}`, or `evonas export {verdict.layer.id} -o layer.py`."
    return f"Next: {longer}; `evonas rerank {run.id}` trains more layers of this run again."
