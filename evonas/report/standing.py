"""The scores of a layer beside those of published ones, with their spread, from what a run recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evonas.records.retraining import Layer, Retraining, RetrainingStage
from evonas.records.run_info import RunInfo
from evonas.reruns.ranking import Sample, sample


@dataclass(frozen=True, slots=True)
class Standing:
    """How one layer scored.

    Attributes:
        name: a published layer's, or the id of a candidate.
        published: which of the two it is.
        searched: validation accuracy by anchor, one training each; empty where the run has none.
        samples: trainings after the search (`evonas rerank`) by stage, of several seeds each.
    """

    name: str
    published: bool
    searched: Mapping[str, float]
    samples: Mapping[RetrainingStage, Sample]

    @property
    def mean(self) -> float | None:
        """The mean over anchors in the search."""
        return fmean(self.searched.values()) if self.searched else None


def standings(
    run: RunInfo, layers: Sequence[tuple[int, Mapping[str, float]]], retrainings: Sequence[Retraining]
) -> tuple[list[Standing], list[Standing]]:
    """Candidates and published layers.

    Args:
        run: whose references are the published layers, beside those that were trained again with its candidates.
        layers: candidates, and their scores in the search.
        retrainings: of the run. Of trainings at one stage with different lengths or held-out parts, those are taken
            of which there are most: scores are only compared on equal terms.

    Returns:
        The candidates in the order given, and the published layers, the best first.
    """
    alike: list[Retraining] = []
    for stage in RetrainingStage:
        of_stage = [one for one in retrainings if one.stage is stage]
        terms = Counter((one.steps, one.held_out) for one in of_stage)
        if terms:
            most = max(terms, key=lambda term: (terms[term], term))
            alike += [one for one in of_stage if (one.steps, one.held_out) == most]

    def standing(layer: Layer, name: str, searched: Mapping[str, float]) -> Standing:
        return Standing(name, isinstance(layer, str), searched, _samples(layer, alike, run.config.protocol.anchors))

    found = [standing(index, f"{run.id}/{index}", scores) for index, scores in layers]
    names = dict.fromkeys([*run.references, *(one.layer for one in alike if isinstance(one.layer, str))])
    published = [standing(name, name, run.references.get(name, {})) for name in names]
    return found, sorted(published, key=lambda one: (-(one.mean or 0.0), one.name))


def _samples(layer: Layer, retrainings: Sequence[Retraining], anchors: Sequence[str]) -> dict[RetrainingStage, Sample]:
    samples = {}
    for stage in RetrainingStage:
        mine = [one for one in retrainings if one.layer == layer and one.stage is stage]
        if any(not one.failed for one in mine):
            # An anchor that the search never saw is the only one of its stage.
            seen = [anchor for anchor in anchors if any(one.anchor == anchor for one in mine)]
            samples[stage] = sample(mine, seen or list(dict.fromkeys(one.anchor for one in mine)))
    return samples
