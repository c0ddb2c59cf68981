"""The command `baseline`: trains layers on the anchors with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Annotated, Any

import typer

from evonas.cli import options
from evonas.cli.worker_options import ExecutorOptions, with_executor_options
from evonas.display.layer_list import LayerList, Line
from evonas.display.progress import training_bar
from evonas.display.tables import LINE, cut, narrow
from evonas.errors import UsageError
from evonas.language.zoo import as_graph, zoo
from evonas.layers.modules.module_names import MODULES
from evonas.reruns.baseline import Comparison
from evonas.reruns.baseline import baseline as train
from evonas.settings.presets import DEFAULT
from evonas.setup.assemble import configure

app = typer.Typer()
_LABEL = 16  # characters of a layer that stands beside its numbers; a longer one has lines of its own below them


@app.command(epilog=options.example("evonas baseline --layer bn-relu --layer evonorm-s0 --seeds 3"))
@with_executor_options
def baseline(
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="A published layer, an expression, or the RUN/INDEX of a candidate; may be repeated. By default all "
            "published layers."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of trainings of each layer on each anchor.")] = 3,
    first_seed: Annotated[int, typer.Option(help="The first seed; the others follow it.")] = 0,
    test: Annotated[bool, typer.Option("--test", help="Score on the test split, which no search sees.")] = False,
    anchor: Annotated[list[str] | None, typer.Option(help="Anchor network, or FILE.py:NAME; may be repeated.")] = None,
    preset: options.Preset = DEFAULT,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data: crops, photographs, digits, cifar10, cifar100, image-folder, npz, text or FILE.py:NAME."
        ),
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder or file of the data set.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps on each anchor; the preset's by default.")] = None,
    storage: options.Storage = options.STORAGE,
    *,
    execution: ExecutorOptions,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Train layers on the anchors with several seeds, and show the mean and spread of their accuracy."""
    changes = options.specified({"data": data, "data_dir": data_dir, "anchors": anchor, "steps": steps})
    protocol = configure(preset=preset, protocol=changes, look_up=False).protocol  # training looks it up
    layers = [options.find_layer(text, storage) for text in layer] if layer else list(zoo)
    for one in layers:
        if one not in MODULES:
            as_graph(one)  # raises before anything starts if it is not a layer
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, not {seeds}")
    replace(protocol, seed=first_seed)  # raises if the seed is out of range
    with training_bar(options.stderr) as bar:
        comparisons = train(
            layers,
            protocol=protocol,
            seeds=range(first_seed, first_seed + seeds),
            split="test" if test else "validation",
            progress=bar,
            **execution,
        )
    split, number = "test" if test else "validation", f"{seeds} seed{'' if seeds == 1 else 's'}"
    title = f"{split} accuracy after {protocol.steps} steps, {number}"
    document = [_document(one, protocol.anchors) for one in comparisons]
    options.emit(form, document, comparison_table(comparisons, protocol.anchors, title))


def _document(comparison: Comparison, anchors: Sequence[str]) -> dict[str, Any]:
    scored = bool(comparison.scores[anchors[0]])
    return {
        "layer": comparison.layer,
        "mean": comparison.mean() if scored else None,
        "spread": comparison.spread() if scored else None,
        "scores": {anchor: list(scores) for anchor, scores in comparison.scores.items()},
        "seconds": dict(comparison.seconds),
        "failures": list(comparison.failures),
    }


def comparison_table(comparisons: Sequence[Comparison], anchors: Sequence[str], title: str | None = None) -> LayerList:
    """The mean and standard deviation of accuracies over seeds for each layer, best mean first."""
    lines = []
    headings = [narrow(heading) for heading in ("all", *anchors, "s")]
    ordered = sorted(comparisons, key=lambda c: -c.mean() if c.scores[anchors[0]] else 1.0)
    for place, c in enumerate(ordered, 1):
        short = len(c.layer) <= _LABEL
        label, below = (c.layer, []) if short else (str(place), [cut(c.layer, LINE)])
        if not c.scores[anchors[0]]:
            lines.append(Line(label, ["" for _ in headings], [*below, f"failed: {c.failures[0]}"]))
            continue
        several = len(c.scores[anchors[0]]) > 1  # a single training has no spread
        cells = [f"{c.mean(a):.3f}" + (f" ±{c.spread(a):.3f}" if several else "") for a in (None, *anchors)]
        lines.append(Line(label, [*cells, f"{fmean(c.seconds.values()):.1f}"], below))
    caption = "accuracy, mean ± standard deviation over seeds; s: core-seconds per training"
    return LayerList(headings, lines, title=title, caption=caption, what="layer")
