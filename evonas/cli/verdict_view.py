"""The finalists of a run and the verdict on it, for a terminal and for JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from evonas.display.layer_list import LayerList, Line
from evonas.display.tables import LINE, cut, sample_mean
from evonas.records.retraining import RetrainingStage
from evonas.reruns.verdict import HELD_OUT, Finalist, Verdict
from evonas.reruns.verdict_words import UNVERIFIED
from evonas.settings.evaluation_protocol import OWN_SCORE


def verdict_view(verdict: Verdict | None) -> RenderableType:
    """The table of finalists and the verdict in words; without a verdict, that nothing is verified."""
    if verdict is None:
        return Text(UNVERIFIED)
    style = "bold green" if verdict.better else "bold"
    return Group(Text(), _finalists(verdict), Text(), Text(str(verdict), style=style))


def as_document(verdict: Verdict | None) -> dict[str, Any] | None:
    """The verdict for JSON."""
    return None if verdict is None else verdict.as_dict()


def verdict_on(verdict: Verdict | None, layer: str) -> dict[str, Any] | None:
    """The verdict for JSON if it is on this candidate, named by its id; None if it is on another, or there is none."""
    on_it = verdict is not None and verdict.layer is not None and verdict.layer.id == layer
    return as_document(verdict) if on_it else None


def _finalists(verdict: Verdict) -> LayerList:
    networks = [name for one in verdict.finalists[:1] for name in one.layer.samples[HELD_OUT].scores]
    over = "" if networks == [OWN_SCORE] else f"{', '.join(networks)} and "
    transfer = "" if verdict.unseen is None else f"; transfer: {verdict.unseen}"
    caption = (
        f"mean over {over}fresh seeds ± half the width of its 95% interval; only the best of those that never "
        f"collapsed is scored on the test split{transfer}"
    )
    later = [] if verdict.layer is None else [stage for stage in verdict.layer.samples if stage is not HELD_OUT]
    lines = [_line(one, verdict, later) for one in verdict.finalists]
    others = [
        Line(one.id, ["", *(sample_mean(one.samples[stage]) for stage in later), ""]) for one in verdict.references
    ]
    headings = (HELD_OUT.value, *(stage.value for stage in later), "search")
    return LayerList(headings, lines, others, "finalists, trained again", caption)


def _line(one: Finalist, verdict: Verdict, later: list[RetrainingStage]) -> Line:
    layer = one.layer
    tested = verdict.layer is not None and verdict.layer.id == layer.id
    samples = verdict.layer.samples if tested and verdict.layer is not None else {}
    mean = sample_mean(layer.samples[HELD_OUT]) + (" collapsed" if one.collapsed else "")
    searched = "" if layer.searched is None else f"{layer.searched:.3f}"
    cells = [mean, *(sample_mean(samples.get(stage)) for stage in later), searched]
    name = f"{layer.name}: " if layer.name else ""
    return Line(layer.id, cells, [name + cut(layer.expression, LINE)])
