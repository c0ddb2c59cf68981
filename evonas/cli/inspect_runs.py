"""Commands that show runs and only read: `runs`, `status`, `best`, `pareto` and `show`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from evonas.cli import options
from evonas.cli.verdict_view import as_document, verdict_on, verdict_view
from evonas.display.tables import filters_table, layers_table, runs_table, times_tables
from evonas.errors import UsageError, shorten
from evonas.language.graph import Graph
from evonas.language.zoo import as_graph
from evonas.records import results
from evonas.records.coordinator import state
from evonas.records.time_breakdown import breakdown
from evonas.report.graph_drawing import tree
from evonas.report.number_format import duration
from evonas.reruns.verdict import verdict_of
from evonas.reruns.verdict_words import standing
from evonas.settings.objectives import objective_named
from evonas.setup.assemble import open_storage

app = typer.Typer()
Limit = Annotated[int, typer.Option("--top", help="How many layers to show.")]


@app.command(epilog=options.example("evonas runs"))
def runs(storage: options.Storage = options.STORAGE, form: options.OutputFormat = options.Format.TABLE) -> None:
    """List the runs of a database."""
    with open_storage(storage, read_only=True) as store:
        found, unreadable = [], []
        for run_id in store.run_ids():
            try:
                found.append(store.run(run_id))
            except UsageError:
                unreadable.append(run_id)
        summaries = [store.summary(run.id) for run in found]
        verdicts = [verdict_of(store, run.id) for run in found]
        coordinators = [store.coordinator(run.id) for run in found]
        document = [
            results.status(run, summary, coordinator) | {"verdict": as_document(verdict)}
            for run, summary, coordinator, verdict in zip(found, summaries, coordinators, verdicts, strict=True)
        ]
        states = [state(run.status, coordinator) for run, coordinator in zip(found, coordinators, strict=True)]
        verified = ["" if verdict is None else verdict.word for verdict in verdicts]
        options.emit(form, document, runs_table(found, states, summaries, verified))
    if unreadable:
        options.stderr.print(f"left out these runs, because this version cannot read their configuration: {unreadable}")


@app.command(epilog=options.example("evonas status last"))
def status(
    run: options.RunId = options.LAST,
    storage: options.Storage = options.STORAGE,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Show the progress of a run: what each filter rejected and where the time went."""
    with open_storage(storage, read_only=True) as store:
        found = options.find_run(store, run)
        summary = store.summary(found.id)
        coordinator = store.coordinator(found.id)
        verdict = verdict_of(store, found.id)
        document = results.status(found, summary, coordinator) | {"verdict": as_document(verdict)}
        counts = ", ".join(f"{count:,} {kind.value}" for kind, count in summary.statuses.items())
        title = (
            f"run {found.id}, {state(found.status, coordinator)}: {summary.evaluations:,} of {found.config.budget:,} "
            f"candidates judged in {duration(found.elapsed)} ({counts})"
        )
        parts: list[RenderableType] = [filters_table(summary, title), Text(), *times_tables(breakdown(found, summary))]
        if document["killed"]:
            parts.append(Text(f"Its process ended without a word; `evonas resume {found.id}` goes on."))
        parts.append(Text(f"verdict: {'the best are not verified' if verdict is None else verdict.brief}"))
        options.emit(form, document, Group(*parts))


@app.command(epilog=options.example("evonas best last --top 5"))
def best(
    run: options.RunId = options.LAST,
    top: Limit = 10,
    by_family: Annotated[
        bool,
        typer.Option("--by-family/--all", help="Show the best layer of each family first, or all in order of score."),
    ] = True,
    storage: options.Storage = options.STORAGE,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Show the best layers, one of each family of layers that do the same, then the others; and the verdict."""
    choose = results.best_by_family if by_family else results.best
    with open_storage(storage, read_only=True) as store:
        found = options.find_run(store, run)
        rows, verdict = choose(store, found.id, top), verdict_of(store, found.id)
        shown = layers_table(
            rows, found.references, found.config.protocol.anchors, "by the score of the search", families=True
        )
        # A list of layers, as it always was: the verdict stands beside the layer that it is on.
        document = [row.as_dict() | {"verdict": verdict_on(verdict, row.id)} for row in rows]
        options.emit(form, document, Group(shown, verdict_view(verdict)))


@app.command(epilog=options.example("evonas pareto last"))
def pareto(
    run: options.RunId = options.LAST,
    storage: options.Storage = options.STORAGE,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Show the Pareto front of the run's objectives."""
    with open_storage(storage, read_only=True) as store:
        found = options.find_run(store, run)
        rows, anchors = results.pareto(store, found.id), found.config.protocol.anchors
        table = layers_table(rows, found.references, anchors, families=True)
        options.emit(form, [row.as_dict() for row in rows], table)


@app.command(epilog=options.example("evonas show 'x * sigmoid(x) / rms_whcg(x)' --plan"))
def show(
    candidate: options.CandidateId,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show how it is computed: sweeps, memory traffic, saved values.")
    ] = False,
    kernel: Annotated[bool, typer.Option("--kernel", help="Show the source of its kernels.")] = False,
    storage: options.Storage = options.STORAGE,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Show a layer: all that is recorded of a candidate, or what is known of any other; or its plan or kernels."""
    if not options.names_candidate(candidate):
        layer = as_graph(candidate)
        if plan or kernel:
            _show_compiled(layer, plan, kernel)
        else:
            known = results.of_graph(layer)
            options.emit(form, known, Group(_written(known), _facts(known, ()), tree(layer)))
        return
    with open_storage(storage, read_only=True) as store:
        run, index = options.find_candidate(store, candidate)
        document, verdict = results.details(store, run.id, index), verdict_of(store, run.id)
        graph = store.candidate(run.id, index).graph.canonical
        if plan or kernel:
            _show_compiled(graph, plan, kernel)
            return
        facts = _facts(document, run.config.protocol.plugins)
        if document["status"] == "scored":
            facts.add_row("[dim]verified[/]", escape(standing(verdict, document["id"])))
        document["verdict"] = verdict_on(verdict, document["id"])
        options.emit(form, document, Group(_written(document), facts, tree(graph)))


def _show_compiled(graph: Graph, plan: bool, kernel: bool) -> None:
    """Prints plain text without wrapping lines, so that a kernel can go into a file."""
    from evonas.kernels.plan.kind import PlanKind, kinds_of
    from evonas.kernels.plan.planner import plan_of
    from evonas.kernels.plan.rows import row_plan_of
    from evonas.kernels.triton.module import source_of
    from evonas.kernels.triton.rows import RowKernels, rows_in_triton

    kinds = kinds_of(graph)
    if not kinds:
        raise UsageError(
            f"{shorten(graph.written())} has no kernels, because it takes statistics over planes and over the channels "
            "at single positions: PyTorch computes it"
        )
    if PlanKind.PLANES in kinds:
        planned = plan_of(graph)
        parts = [str(planned)] if plan else []
        parts += [source_of(planned).rstrip()] if kernel else []
    else:
        rows = row_plan_of(graph)
        parts = [str(rows)] if plan else []
        parts += [rows_in_triton(RowKernels(rows)).rstrip()] if kernel else []
    typer.echo("\n\n".join(parts))


def _written(document: dict[str, Any]) -> Text:
    """The expression, which has lines of its own because it can be long."""
    return Text(document["expression"], "bold")


def _facts(document: dict[str, Any], plugins: Sequence[str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name in ("id", "name", "family", "latex", "origin", "parent", "status", "reason"):
        if document.get(name):
            grid.add_row(f"[dim]{name}[/]", escape(str(document[name])))
    for change in document.get("mutations", ()):
        grid.add_row("[dim]mutation[/]", escape(change))
    for outcome in document.get("filters", ()):
        verdict = "passed" if outcome["accepted"] else f"rejected: {outcome['reason']}"
        value = "" if outcome["value"] is None else f", {outcome['value']:.3f}"
        grid.add_row("[dim]filter[/]", escape(f"{outcome['name']}: {verdict}{value} ({outcome['seconds']:.2f} s)"))
    for anchor, score in document.get("scores", {}).items():
        grid.add_row(f"[dim]{anchor}[/]", f"{score:.3f}")
    for longer in document.get("longer", ()):
        scores = ", ".join(f"{a} {'failed' if s is None else format(s, '.3f')}" for a, s in longer["scores"].items())
        grid.add_row(f"[dim]{longer['steps']} steps, lr {longer['lr']:g}[/]", escape(scores))
    for name, value in document.get("measures", {}).items():
        grid.add_row(f"[dim]{name}[/]", objective_named(name, plugins).written(value))
    return grid
