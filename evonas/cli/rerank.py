"""The command `rerank`, which trains the best layers of a run again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evonas.cli import options
from evonas.cli.worker_options import ExecutorOptions, with_executor_options
from evonas.display.layer_list import LayerList, Line
from evonas.display.progress import training_bar
from evonas.display.tables import LINE, cut, half_width, narrow, sample_mean, table
from evonas.reruns.ranking import PairedComparison, Ranked, Ranking
from evonas.reruns.rerank_cost import RerankCost
from evonas.reruns.rerank_plan import AUTO
from evonas.reruns.reranking import rerank as train_again
from evonas.setup.assemble import open_storage

app = typer.Typer()
_NONE = "none"


@app.command(epilog=options.example("evonas rerank last --top 10 --seeds 5"))
@with_executor_options
def rerank(
    run: options.RunId = options.LAST,
    top: Annotated[int, typer.Option(help="How many layers to train again, the best of the search.")] = 10,
    seeds: Annotated[int, typer.Option(help="Number of trainings of each layer on each anchor.")] = 5,
    first_seed: Annotated[int, typer.Option(help="The first seed; the others follow it.")] = 1000,
    steps: Annotated[
        int | None,
        typer.Option(help="Steps per training; by default those of the run's longest, at least twice its steps."),
    ] = None,
    held_out: Annotated[float, typer.Option(help="Share of the training split to hold out and score on.")] = 0.2,
    report: Annotated[int, typer.Option(help="How many of the best to score on the test split.")] = 3,
    reference: Annotated[
        list[str] | None, typer.Option(help="Published layer to compare with; may be repeated.")
    ] = None,
    transfer: Annotated[
        str, typer.Option(help="An anchor that the search never saw; 'auto' for one of evonas's own, or 'none'.")
    ] = AUTO,
    other_data: options.OtherData = False,
    storage: options.Storage = options.STORAGE,
    *,
    execution: ExecutorOptions,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Train a run's best layers again, longer and with fresh seeds, and score the best once on the test split.

    Each training is recorded as it ends. If the command is interrupted or killed, call it again to continue.
    """
    with open_storage(storage, create=False) as store:
        found = options.find_run(store, run).id
        try:
            with training_bar(options.stderr) as bar:
                ranking = train_again(
                    found,
                    storage=store,
                    top=top,
                    references=reference or None,
                    seeds=seeds,
                    first_seed=first_seed,
                    steps=steps,
                    held_out=held_out,
                    report=report,
                    transfer=None if transfer == _NONE else transfer,
                    progress=bar,
                    announce=_announce,
                    other_data=other_data,
                    **execution,
                )
        except KeyboardInterrupt:
            kept = len(store.retrainings(found))
            options.stderr.print(f"{kept} trainings were recorded; the same command continues from there.")
            raise typer.Exit(130) from None
    options.emit(form, ranking.as_dict(), ranking_tables(ranking))


def _announce(cost: RerankCost) -> None:
    options.stderr.print(f"{cost}; Ctrl-C keeps what is done", markup=False, highlight=False)


def ranking_tables(ranking: Ranking) -> Group:
    """The ranking, the comparisons of reported layers with references, and the failures, for a terminal."""
    parts: list[RenderableType] = [_layers(ranking)]
    if ranking.references and ranking.reported:
        parts += [Text(), _comparisons(ranking)]
    samples = [(one.id, found) for one in (*ranking.layers, *ranking.references) for found in one.samples.values()]
    parts += [Text(f"{id_}: {reason}") for id_, found in samples for reason in found.failures]
    return Group(*parts)


def _layers(ranking: Ranking) -> LayerList:
    tested = f"{ranking.test_steps} steps, seeds {_span(ranking.test_seeds)}"
    title = f"run {ranking.run_id}: accuracy after {ranking.steps} steps, seeds {_span(ranking.seeds)}"
    caption = (
        f"mean over anchors and seeds ± half the width of its 95% interval; held-out: on {ranking.held_out:.0%} of the "
        "training split, which is left out of training; test: on the test split, on which each layer is measured once, "
        f"{tested}"
    )
    if ranking.transfer:
        caption += f"; transfer: on the test split with {ranking.transfer}, which the search never saw"
    headings = [narrow(heading) for heading in (*(stage.value for stage in ranking.stages), "search")]
    lines = [_line(one, ranking) for one in ranking.layers]
    return LayerList(headings, lines, [_line(one, ranking) for one in ranking.references], title, caption)


def _line(one: Ranked, ranking: Ranking) -> Line:
    means = [sample_mean(one.samples.get(stage)) for stage in ranking.stages]
    if one.searched is None:
        return Line(one.id, [*means, ""])
    name = f"{one.name}: " if one.name else ""
    return Line(one.id, [*means, f"{one.searched:.3f}"], [name + cut(one.expression, LINE)])


def _comparisons(ranking: Ranking) -> Table:
    caption = (
        "difference over the same seeds ± half the width of its 95% interval, and p-value of the paired t-test with "
        "Holm's correction for all comparisons of the column; the layers were chosen by the held-out part, so its "
        "differences are biased in their favour, and those on the test split are not"
    )
    grid = table("reported layers minus references", caption)
    grid.add_column("id", no_wrap=True)
    grid.add_column("reference", no_wrap=True)
    for stage in ranking.stages:
        grid.add_column(stage.value, justify="right")  # on a narrow terminal p goes below its difference
    columns = [ranking.comparisons(stage) for stage in ranking.stages]
    for row, of_layer in enumerate(zip(*columns, strict=True)):
        if row and not row % len(ranking.references):
            grid.add_section()
        grid.add_row(of_layer[0].layer, of_layer[0].reference, *(_difference(one) for one in of_layer))
    return grid


def _difference(one: PairedComparison) -> str:
    if one.paired is None:
        return "failed"
    p = "" if one.corrected is None else " p<0.001" if one.corrected < 0.001 else f" p={one.corrected:.3f}"
    dropped = f" ({one.dropped} seeds failed)" if one.dropped else ""
    return f"{one.paired.difference:+.3f}{half_width(one.paired.interval)}{p}{dropped}"


def _span(seeds: Sequence[int]) -> str:
    """Seeds as text: "1000", "1000 to 1004", or a list if they are not consecutive."""
    whole = list(range(seeds[0], seeds[-1] + 1)) == list(seeds)
    if whole and len(seeds) > 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
