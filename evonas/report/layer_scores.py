"""The scores of candidates and published layers, in the search and when they were trained again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evonas.records.retraining import RERUNS, Layer, Retraining, RetrainingStage
from evonas.records.run_info import RunInfo
from evonas.reruns.ranking import Sample, sample


@dataclass(frozen=True, slots=True)
class LayerScores:
    """The scores of one layer.

    Attributes:
        name: the name of a published layer, or the id of a candidate.
        published: whether it is a published layer.
        searched: the validation accuracy on each anchor, from one training each; empty if the run has none.
        samples: the trainings after the search (`evonas rerank`) by stage, over several seeds each.
    """

    name: str
    published: bool
    searched: Mapping[str, float]
    samples: Mapping[RetrainingStage, Sample]

    @property
    def mean(self) -> float | None:
        """The mean over anchors in the search; None if the run has no score."""
        return fmean(self.searched.values()) if self.searched else None


def layer_scores(
    run: RunInfo, layers: Sequence[tuple[int, Mapping[str, float]]], retrainings: Sequence[Retraining]
) -> tuple[list[LayerScores], list[LayerScores]]:
    """Collects the scores of a run's candidates and published layers.

    Args:
        run: the run. The published layers are its references and those that were trained again with its candidates.
        layers: the index of each candidate, and its scores in the search.
        retrainings: the run's trainings after the search. Scores are only compared on equal terms: if the trainings
            of a stage differ in their length or held-out share, only the most frequent combination counts.

    Returns:
        The candidates in the order given, and the published layers, best first.
    """
    comparable: list[Retraining] = []
    for stage in RERUNS:
        of_stage = [one for one in retrainings if one.stage is stage]
        terms = Counter((one.steps, one.held_out) for one in of_stage)
        if terms:
            most = max(terms, key=lambda term: (terms[term], term))
            comparable += [one for one in of_stage if (one.steps, one.held_out) == most]

    def scores_of(layer: Layer, name: str, searched: Mapping[str, float]) -> LayerScores:
        samples = _samples(layer, comparable, run.config.verified_on)
        return LayerScores(name, isinstance(layer, str), searched, samples)

    candidates = [scores_of(index, f"{run.id}/{index}", scores) for index, scores in layers]
    names = dict.fromkeys([*run.references, *(one.layer for one in comparable if isinstance(one.layer, str))])
    published = [scores_of(name, name, run.references.get(name, {})) for name in names]
    return candidates, sorted(published, key=lambda one: (-(one.mean or 0.0), one.name))


def _samples(layer: Layer, retrainings: Sequence[Retraining], anchors: Sequence[str]) -> dict[RetrainingStage, Sample]:
    samples = {}
    for stage in RERUNS:
        mine = [one for one in retrainings if one.layer == layer and one.stage is stage]
        if any(not one.failed for one in mine):
            # The unseen anchor is the only one of its stage.
            seen = [anchor for anchor in anchors if any(one.anchor == anchor for one in mine)]
            samples[stage] = sample(mine, seen or list(dict.fromkeys(one.anchor for one in mine)))
    return samples
