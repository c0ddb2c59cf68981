"""What each filter of a run rejected, from the first proposal to the scored layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from evonas.judging.cheap_filters import CHEAP_FILTERS
from evonas.records.run_info import RunSummary

MEANINGS: Mapping[str, str] = {
    "structural": "ignores its input, or is constant on every plane",
    "duplicate": "the same function as an earlier candidate, by algebra",
    "numerical": "not finite, constant or without gradient on a probe",
    "functional": "the same function as an earlier candidate, by its values",
    "twin": "the same function while parameters are where training starts",
    "signal": "activations or gradients vanish or explode at initialisation",
    "stability": "gradient ascent on the weights makes the gradient explode",
    "early": "still at chance early in training",
    "quality": "validation accuracy under the floor",
    "hurdle": "behind the earlier candidates at this point of training",
}
"""What falling to a filter means, by the first word of its name."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """One filter of a run.

    Attributes:
        name: the filter.
        cheap: whether it runs in the coordinator, on proposals that are no candidates yet.
        judged, rejected: how many it saw, and how many it turned away.
        seconds: core-seconds that it took.
        reasons: rejections by reason, most frequent first; empty for cheap filters, which keep counts alone.
    """

    name: str
    cheap: bool
    judged: int
    rejected: int
    seconds: float
    reasons: Mapping[str, int]

    @property
    def share(self) -> float:
        """Share of what it judged that it rejected."""
        return self.rejected / self.judged if self.judged else 0.0

    @property
    def meaning(self) -> str:
        """What falling to it means, in a few words; empty for a filter that is not ours."""
        return MEANINGS.get(re.split("[- ]", self.name)[0], "")


def funnel(summary: RunSummary) -> list[Filtered]:
    """The filters in the order in which proposals, then candidates, reach them."""
    judged = summary.candidates + sum(summary.discarded.values())
    known = dict.fromkeys([*CHEAP_FILTERS, *summary.discarded])
    filters = []
    for name in known:
        rejected = summary.discarded.get(name, 0)
        filters.append(Filtered(name, True, judged, rejected, summary.drawing.get(name, 0.0), {}))
        judged -= rejected
    for name, f in summary.filters.items():
        filters.append(Filtered(name, False, f.judged, f.rejected, f.seconds, f.reasons))
    return filters
