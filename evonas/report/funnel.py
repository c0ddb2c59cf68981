"""What each filter of a run rejected, from the first proposal to the scored layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from evonas.judging.cheap_filters import CHEAP_FILTERS
from evonas.records.run_info import RunSummary

MEANINGS: Mapping[str, str] = {
    "proposal": "an answer of your function that is no layer of the space",
    "structural": "ignores its input, or is made of statistics alone",
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
"""Why a filter rejects a layer, by the first word of the filter's name."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """One filter of a run.

    Attributes:
        name: the filter's name.
        cheap: whether it runs in the coordinator, on proposals that are not candidates yet.
        judged, rejected: how many layers it judged and how many it rejected.
        seconds: the core-seconds that it took.
        reasons: the number of rejections by reason, most frequent first; empty for cheap filters, which keep only
            counts.
    """

    name: str
    cheap: bool
    judged: int
    rejected: int
    seconds: float
    reasons: Mapping[str, int]

    @property
    def share(self) -> float:
        """The share of judged layers that it rejected, from 0 to 1."""
        return self.rejected / self.judged if self.judged else 0.0

    @property
    def meaning(self) -> str:
        """Why it rejects a layer, in a few words; empty for a user's own filter."""
        return MEANINGS.get(re.split("[- ]", self.name)[0], "")


def funnel(summary: RunSummary) -> list[Filtered]:
    """The filters of a run, in the order in which they are applied: first to proposals, then to candidates."""
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
