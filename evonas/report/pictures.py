"""Draws the pictures of a report with matplotlib, as SVG or PNG files; they do not go through pyplot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evonas.errors import UsageError, shorten, unknown
from evonas.report.number_format import duration
from evonas.report.report_data import Report
from evonas.report.score_dots import dots
from evonas.report.times import DRAWING, FILTERS, IDLE, KERNELS, LOST, OTHER, TRAINING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1c66a8", "#b4501f", "#2b7a57", "#96690b", "#a8345f", "#7648a0")
_INK, _MUTED, _PALE = "#171b22", "#566070", "#c9d8e6"
_KINDS = {
    DRAWING: COLOURS[3],
    FILTERS: COLOURS[0],
    KERNELS: COLOURS[1],
    TRAINING: COLOURS[2],
    LOST: COLOURS[4],
    OTHER: _MUTED,
    IDLE: _PALE,
}


def draw(report: Report, what: str, path: Path, axes: tuple[str, str] | None = None) -> None:
    """Draws one picture and saves it as an SVG or PNG file.

    Args:
        report: the report to draw.
        what: the name of the picture, one of `PICTURES`.
        path: the file to write, whose suffix decides the format; an existing file is replaced.
        axes: the names of the two axes of the Pareto front, horizontal and vertical; by default the first two.

    Raises:
        UsageError: for an unknown picture or axis, a suffix other than .svg or .png, a run without a scored layer, or
            a file that cannot be written.
    """
    if what not in PICTURES:
        raise unknown("picture", what, PICTURES)
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"a picture must be an .svg or a .png file, not {shorten(path.name)}")
    if not report.points and what not in ("filters", "time"):
        raise UsageError(
            f"run {report.run.id} has no scored layer yet, so only the pictures filters and time can be drawn"
        )
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "evonas", "font.size": 9.5}):
        figure = _front(report, axes) if what == "front" else PICTURES[what](report)
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
        try:
            figure.savefig(path, dpi=150, metadata=metadata, facecolor="white")
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot write {shorten(str(path), 200)}: {error}") from None


def _figure(width: float, height: float, columns: int = 1, heights: Sequence[float] = ()) -> tuple[Figure, list[Axes]]:
    """A figure with plots side by side, or one below the other with the given ratios of heights."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    rows = {"height_ratios": list(heights)} if heights else None
    axes = figure.subplots(max(1, len(heights)), columns, squeeze=False, gridspec_kw=rows).flatten().tolist()
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(_PALE)
        one.tick_params(color=_PALE, labelcolor=_MUTED)
    return figure, axes


def _progress(report: Report) -> Figure:
    figure, (best, volume) = _figure(11, 3.8, 2)
    minutes = [step.core_seconds / 60 for step in report.steps]
    scored = [place for place, step in enumerate(report.steps) if step.best > 0]
    first = scored[0] if scored else 0
    for place, anchor in enumerate(report.anchors):
        values = [step.anchors[place] for step in report.steps][first:]
        colour = COLOURS[place % len(COLOURS)]
        best.step(minutes[first:], values, where="post", color=colour, linewidth=1.2, label=anchor)
    means = [step.best for step in report.steps][first:]
    best.step(minutes[first:], means, where="post", color=_INK, linewidth=2.2, label="mean")
    _name_lines(best, {one.name: one.mean for one in report.published if one.mean is not None})
    best.set(xlabel="core-minutes", title="best accuracy so far", xlim=(0, None))
    best.legend(frameon=False, fontsize=8, loc="lower right")
    volumes = [step.hypervolume for step in report.steps]
    volume.step(minutes, volumes, where="post", color=COLOURS[0], linewidth=2.2)
    volume.set(xlabel="core-minutes", title="hypervolume", xlim=(0, None), ylim=(0, None))
    return figure


def _name_lines(plot: Axes, values: Mapping[str, float]) -> None:
    """Draws a dashed line at each value, and names it there: further to the right where another name is near."""
    low, high = plot.get_ylim()
    near = 0.05 * max([high - low, *(abs(value - low) for value in values.values())])
    placed: list[tuple[int, float]] = []
    for name, value in values.items():
        plot.axhline(value, color=_MUTED, linestyle=(0, (4, 4)), linewidth=0.8)
        taken = {place for place, other in placed if abs(other - value) < near}
        place = next(place for place in range(len(values)) if place not in taken)
        placed.append((place, value))
        at = plot.get_yaxis_transform()
        plot.text(0.01 + 0.16 * place, value, name, transform=at, fontsize=7.5, color=_MUTED, va="bottom")


def _front(report: Report, axes: tuple[str, str] | None = None) -> Figure:
    names = [axis.name for axis in report.axes]
    if axes is None:
        chosen = (0, min(1, len(names) - 1))
    else:
        for name in axes:
            if name not in names:
                raise unknown("axis", name, names)
        chosen = (names.index(axes[0]), names.index(axes[1]))
    figure, (plot,) = _figure(6.4, 5.2)
    for front, colour, size, alpha, label in (
        (False, COLOURS[0], 14, 0.3, "scored layers"),
        (True, COLOURS[1], 30, 1.0, "Pareto front"),
    ):
        pairs = [(p.values[chosen[0]], p.values[chosen[1]]) for p in report.points if p.front is front]
        whole = [(x, y) for x, y in pairs if x is not None and y is not None]
        if whole:
            xs, ys = zip(*whole, strict=True)
            plot.scatter(xs, ys, s=size, color=colour, alpha=alpha, linewidth=0, label=label)
    for one in report.published:
        x, y = (one.searched.get(names[place]) for place in chosen)
        if x is not None and y is not None:
            plot.scatter(x, y, marker="D", s=26, color=_INK, zorder=3)
            plot.annotate(one.name, (x, y), (6, -3), textcoords="offset points", fontsize=8, color=_MUTED)
    plot.set(xlabel=report.axes[chosen[0]].label, ylabel=report.axes[chosen[1]].label)
    plot.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _filters(report: Report) -> Figure:
    figure, axes = _figure(11, 0.8 + 0.34 * max(5, sum(not f.cheap for f in report.filters)), 2)
    for cheap, plot in zip((True, False), axes, strict=True):
        filters = [f for f in report.filters if f.cheap is cheap]
        names, places = [f.name for f in filters], range(len(filters))
        plot.barh(places, [f.judged for f in filters], color=_PALE, height=0.62, label="passed on")
        plot.barh(places, [f.rejected for f in filters], color=COLOURS[0], height=0.62, label="rejected")
        for place, f in zip(places, filters, strict=True):
            plot.annotate(
                f"{f.rejected:,} of {f.judged:,}", (f.judged, place), (4, 0), textcoords="offset points", va="center",
                fontsize=8, color=_MUTED,
            )  # fmt: skip
        plot.set_yticks(places, names)
        plot.invert_yaxis()
        plot.margins(x=0.25)
        plot.set(title="proposals, in the coordinator" if cheap else "candidates, on workers")
        plot.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _time(report: Report) -> Figure:
    heights = [1 + len(clock.parts) for clock in report.times] or [1]
    figure, axes = _figure(8, 0.5 + 0.3 * sum(heights), heights=heights)
    for plot, clock in zip(axes, report.times, strict=False):
        places, parts = range(len(clock.parts)), clock.parts
        plot.barh(places, [part.seconds / 60 for part in parts], color=[_KINDS[part.kind] for part in parts])
        for place, part in enumerate(parts):
            at = (part.seconds / 60, place)
            text = f"{duration(part.seconds)}, {part.seconds / clock.total:.1%}"
            plot.annotate(text, at, (4, 0), textcoords="offset points", va="center", fontsize=8, color=_MUTED)
        plot.set_yticks(places, [part.where for part in parts])
        plot.invert_yaxis()
        plot.margins(x=0.2)
        plot.set(title=f"{clock.title}, in minutes")
    return figure


def _tree(report: Report) -> Figure:
    rows = report.tree
    figure, (plot,) = _figure(9.5, 0.4 + 0.46 * len(rows))
    plot.set_axis_off()
    widest = 1 + max(row.lane for row in rows)
    plot.set(xlim=(-0.5, widest + 24), ylim=(len(rows) - 0.4, -0.8))
    for place, row in enumerate(rows):
        if row.parent is not None:
            lane = rows[row.parent].lane
            turn = row.parent + 0.35 if lane == row.lane else place - 0.5
            plot.plot([lane, lane, row.lane, row.lane], [row.parent, turn, turn, place], color=_PALE, lw=2, zorder=1)
            text = ",  ".join(str(change) for change in row.changes[:2]) or "; ".join(row.recorded)
            plot.text(widest, place - 0.5, text, fontsize=7, color=_MUTED, va="center", parse_math=False)
        best = row.rank is not None
        edge = COLOURS[0] if best else _MUTED
        plot.scatter(row.lane, place, s=46 if best else 26, color=edge if best else "white", edgecolor=edge, zorder=2)
        head = f"#{row.rank}  " if best else ""
        mean = "" if row.mean is None else f"   {row.mean:.3f}"
        text = f"{head}{row.expression}{mean}"
        weight = "bold" if best else "normal"
        plot.text(widest, place, text, fontsize=9, color=_INK, va="center", weight=weight, parse_math=False)
    return figure


def _scores(report: Report) -> Figure:
    (chart, *_) = dots([one.scores for one in report.top], report.published)
    figure, (plot,) = _figure(7.5, 1.0 + 0.34 * len(chart.rows))
    texts = {one.scores.name: one.row.expression for one in report.top}
    for place, row in enumerate(chart.rows):
        colour = _MUTED if row.published else COLOURS[0]
        plot.plot([row.low, row.high], [place, place], color=colour, alpha=0.35, linewidth=5, solid_capstyle="round")
        plot.scatter(row.dots, [place] * len(row.dots), s=16, color=colour, alpha=0.7, linewidth=0)
        plot.scatter(row.mean, place, marker="|", s=150, color=colour, linewidth=2)
    names = [f"{row.name}  {texts.get(row.name, '')[:44]}".rstrip() for row in chart.rows]
    plot.set_yticks(range(len(names)), names, parse_math=False)
    plot.invert_yaxis()
    plot.set(xlim=chart.scale)
    plot.set_title(f"{chart.title}\n{chart.caption}", fontsize=9)
    return figure


def _response(report: Report) -> Figure:
    top = report.top
    figure, axes = _figure(3.4 * len(top), 3.0, len(top))
    for one, plot in zip(top, axes, strict=True):
        for (scale, values), colour in zip(
            one.response.curves.items(), (COLOURS[2], COLOURS[0], COLOURS[1]), strict=True
        ):
            clipped = [float("nan") if value is None or abs(value) > 12 else value for value in values]
            plot.plot(one.response.x, clipped, color=colour, label=f"others' σ = {scale:g}")
        plot.set(xlabel="x")
        plot.set_title(f"{one.row.id}  {one.row.expression[:40]}", fontsize=9, parse_math=False)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


PICTURES: Mapping[str, Callable[[Report], Figure]] = {
    "progress": _progress,
    "front": _front,
    "filters": _filters,
    "time": _time,
    "tree": _tree,
    "scores": _scores,
    "response": _response,
}
"""The pictures that `draw` can draw. A layer's graph is drawn by `evonas.report.graph_drawing.picture`."""
