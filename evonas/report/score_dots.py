"""Charts of scores: one row per layer, with dots, a mean and a range on a scale that all rows share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

from evonas.records.retraining import RetrainingStage
from evonas.report.layer_scores import LayerScores

_TITLES = {
    RetrainingStage.HELD_OUT: "Trained again, scored on held-out training images",
    RetrainingStage.TEST: "Trained again, scored on images that chose nothing",
    RetrainingStage.TRANSFER: "Trained on an unseen network, scored on images that chose nothing",
}


@dataclass(frozen=True, slots=True)
class DotRow:
    """The row of one layer.

    Attributes:
        name: the name of a published layer, or the id of a candidate.
        published: whether it is a published layer.
        mean: the mean of the dots.
        low, high: the ends of the range.
        dots: the single values.
    """

    name: str
    published: bool
    mean: float
    low: float
    high: float
    dots: Sequence[float]


@dataclass(frozen=True, slots=True)
class DotChart:
    """A chart.

    Attributes:
        title: what was scored.
        caption: what the dots and ranges stand for.
        rows: the layers, best mean first.
    """

    title: str
    caption: str
    rows: Sequence[DotRow]

    @property
    def scale(self) -> tuple[float, float]:
        """The ends of the scale, with a margin."""
        low = min(min(row.low, *row.dots) for row in self.rows)
        high = max(max(row.high, *row.dots) for row in self.rows)
        margin = 0.06 * (high - low) or 0.01
        return low - margin, high + margin


def dots(layers: Sequence[LayerScores], published: Sequence[LayerScores]) -> list[DotChart]:
    """Draws up one chart for each stage at which a layer was trained again, and one for the search.

    The test split comes first, then the unseen anchor, the held-out images and the search.

    Args:
        layers: the scores of candidates.
        published: the scores of published layers.
    """
    charts = []
    for stage in (RetrainingStage.TEST, RetrainingStage.TRANSFER, RetrainingStage.HELD_OUT):
        if any(stage in one.samples for one in layers):
            charts.append(_of_stage(stage, [*layers, *published]))
    return [chart for chart in charts if chart.rows] + _of_search(layers, published)


def _of_stage(stage: RetrainingStage, layer_scores: Sequence[LayerScores]) -> DotChart:
    rows, most = [], 0
    for one in layer_scores:
        values = list(one.samples[stage].by_seed.values()) if stage in one.samples else []
        if not values:
            continue
        interval = one.samples[stage].interval
        mean, most = fmean(values), max(most, len(values))
        low, high = (interval.low, interval.high) if interval else (mean, mean)
        rows.append(DotRow(one.name, one.published, mean, low, high, values))
    caption = "each dot is the mean over anchors with one seed"
    caption += f", of up to {most}; bar: 95% interval of the mean over seeds" if most > 1 else "; there is only one"
    return DotChart(_TITLES[stage], caption, _sorted(rows))


def _of_search(layers: Sequence[LayerScores], published: Sequence[LayerScores]) -> list[DotChart]:
    rows = []
    for one in (*layers, *published):
        values = [value for value in one.searched.values() if isfinite(value)]
        if values:
            rows.append(DotRow(one.name, one.published, fmean(values), min(values), max(values), values))
    caption = "one training for each anchor: each dot is an anchor, and the bar spans them"
    return [DotChart("Validation accuracy in the search", caption, _sorted(rows))] if rows else []


def _sorted(rows: Sequence[DotRow]) -> list[DotRow]:
    return sorted(rows, key=lambda row: -row.mean)
