"""The command `export`, which writes a layer as a file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from evonas.cli import options
from evonas.errors import UsageError
from evonas.language.graph import Graph
from evonas.language.zoo import FOUND, ROWS, as_graph, zoo
from evonas.records import results
from evonas.records.environment import version_of
from evonas.reruns.verdict import verdict_of
from evonas.reruns.verdict_words import standing
from evonas.setup.assemble import open_storage

app = typer.Typer()


class ExportFormat(Enum):
    """The formats in which a layer can be exported."""

    PY = "py"
    JSON = "json"
    PT2 = "pt2"
    ONNX = "onnx"
    LATEX = "latex"


@app.command(epilog=options.example("evonas export 1/137 -o layer.py"))
def export(
    candidate: options.CandidateId,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    form: Annotated[
        ExportFormat | None,
        typer.Option("-f", "--format", help="By default the suffix of the file decides, or else it is py."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the class, for py only.")] = "Layer",
    triton: Annotated[bool, typer.Option("--triton/--no-triton", help="Include Triton kernels, for py only.")] = True,
    channels: Annotated[int | None, typer.Option(help="Channels of the layer, for pt2 and onnx only.")] = None,
    groups: Annotated[
        int | None, typer.Option(help="Groups of channels, for pt2 and onnx only; 32 by default.")
    ] = None,
    eps: Annotated[float | None, typer.Option(help="The layer's eps, for pt2 and onnx only; 1e-5 by default.")] = None,
    dim: Annotated[
        int | None, typer.Option(help="Axis of the channels, 1 or -1 for tokens, for pt2 and onnx only; 1 by default.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="File with a trained layer's state_dict by torch.save, for pt2 and onnx only.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
    storage: options.Storage = options.STORAGE,
) -> None:
    """Write a layer as a file that works without evonas: a PyTorch module, a program, JSON, or a formula."""
    from evonas.kernels.export.formats import Concrete
    from evonas.kernels.export.layer_file import PROGRAMS, SUFFIXES, ExportOptions, export_as

    if form is None:
        chosen = next((one for one, suffix in SUFFIXES.items() if suffix == output.suffix.lower()), "py")
    else:
        chosen = form.value
    concrete = options.specified({"channels": channels, "groups": groups, "eps": eps, "state": state, "dim": dim})
    if concrete and chosen not in PROGRAMS:
        raise UsageError(f"--{next(iter(concrete))} is only for the formats pt2 and onnx; {chosen} leaves it open")
    if concrete and channels is None:
        raise UsageError(f"the format {chosen} needs a fixed number of channels; set it with --channels")
    graph, facts, space = _layer(candidate, storage)
    size = Concrete(**concrete) if concrete else None
    start = ROWS[candidate].start if candidate in ROWS else {}
    details = ExportOptions(class_name=name, triton=triton, space=space, start=start, size=size)
    export_as(chosen, graph, output, details, provenance=facts, force=force)
    typer.echo(f"wrote {output}")


def _layer(candidate: str, storage: str) -> tuple[Graph, dict[str, str], str]:
    """The layer, its provenance, and the name of its search space."""
    versions = f"evonas {version_of('evonas')}, torch {version_of('torch')}"
    if candidate in zoo:
        source = f"{candidate}, {ROWS[candidate].source}"
        kind = "layer" if ROWS[candidate] in FOUND else "published layer"
        return zoo[candidate], {kind: source, "exported with": versions}, "evonorm"
    if not options.names_candidate(candidate):
        return as_graph(candidate), {"expression": candidate, "exported with": versions}, "evonorm"
    with open_storage(storage, read_only=True) as store:
        run, index = options.find_candidate(store, candidate)
        graph = store.candidate(run.id, index).graph.canonical
        known, verdict = results.details(store, run.id, index), verdict_of(store, run.id)
    recorded = [f"{what} {run.environment[what]}" for what in ("evonas", "torch", "python") if what in run.environment]
    config = run.config
    facts = {
        "candidate": f"{known['id']}, {known['origin']}, key {known['key']}",
        "run": f"{run.id} of {run.created:%Y-%m-%d}, space {config.space.name}, {config.strategy}, seed {config.seed}",
        "found with": ", ".join(recorded) or "versions that were not recorded",
        "exported with": versions,
        "trained on": f"{config.protocol.data}, {config.protocol.steps} steps",
    }
    if config.target_anchors:
        facts["for"] = ", ".join(config.target_anchors)
    if known["status"] != "scored":
        facts["status"] = known["status"]
        by = [f"{one['name']}: {one['reason']}" for one in known.get("filters", ()) if not one["accepted"]]
        why = f" ({by[0]})" if by else ""
        options.stderr.print(f"note: candidate {known['id']} is {known['status']}{why}", highlight=False, markup=False)
    else:
        facts["verified"] = standing(verdict, known["id"])
    facts |= {f"validation accuracy on {anchor}": f"{score:.4f}" for anchor, score in known.get("scores", {}).items()}
    facts |= {name: f"{value:.4g}" for name, value in known.get("measures", {}).items()}
    return graph, facts, config.space.name
