"""The finalists of a run and the verdict on it, for a terminal and for JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from evonas.display.tables import cut, sample_mean, table
from evonas.front.result import UNVERIFIED
from evonas.records.retraining import RetrainingStage
from evonas.reruns.verdict import HELD_OUT, Finalist, Verdict
from evonas.settings.evaluation_protocol import OWN_SCORE


def verdict_view(verdict: Verdict | None) -> RenderableType:
    """The table of finalists and the verdict in words; without a verdict, that nothing is verified."""
    if verdict is None:
        return Text(UNVERIFIED)
    style = "bold green" if verdict.better else "bold"
    return Group(_finalists(verdict), Text(str(verdict), style=style))


def as_document(verdict: Verdict | None) -> dict[str, Any] | None:
    """The verdict for JSON."""
    return None if verdict is None else verdict.as_dict()


def verdict_on(verdict: Verdict | None, layer: str) -> dict[str, Any] | None:
    """The verdict for JSON if it is on this candidate, named by its id; None if it is on another, or there is none."""
    on_it = verdict is not None and verdict.layer is not None and verdict.layer.id == layer
    return as_document(verdict) if on_it else None


def _finalists(verdict: Verdict) -> Table:
    networks = [name for one in verdict.finalists[:1] for name in one.layer.samples[HELD_OUT].scores]
    over = "" if networks == [OWN_SCORE] else f"{', '.join(networks)} and "
    transfer = "" if verdict.unseen is None else f"; transfer: {verdict.unseen}"
    caption = escape(
        f"mean over {over}fresh seeds ± half the width of its 95% interval; only the best of those that never "
        f"collapsed is scored on the test split{transfer}"
    )
    grid = table("finalists, trained again", caption)
    grid.add_column("id", no_wrap=True)
    grid.add_column("layer", overflow="fold", min_width=16)
    later = [] if verdict.layer is None else [stage for stage in verdict.layer.samples if stage is not HELD_OUT]
    for heading in ("search", HELD_OUT.value, *(stage.value for stage in later)):
        grid.add_column(heading, justify="right", no_wrap=True)
    for one in verdict.finalists:
        grid.add_row(*_cells(one, verdict, later))
    if verdict.references:
        grid.add_section()
    for reference in verdict.references:
        means = [sample_mean(reference.samples[stage]) for stage in later]
        grid.add_row("", f"[cyan]{reference.id}[/]", "", "", *means)
    return grid


def _cells(one: Finalist, verdict: Verdict, later: list[RetrainingStage]) -> list[str]:
    layer = one.layer
    text = escape(cut(layer.expression)) + (f" [dim]({layer.name})[/]" if layer.name else "")
    mean = sample_mean(layer.samples[HELD_OUT]) + (" collapsed" if one.collapsed else "")
    cells = [layer.id, text, "" if layer.searched is None else f"{layer.searched:.3f}", mean]
    if verdict.layer is not None and verdict.layer.id == layer.id:
        cells += [sample_mean(verdict.layer.samples[stage]) for stage in later]
    return cells
