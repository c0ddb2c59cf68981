"""Reads a run's trainings after the search as samples that can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product

from evonas.records.retraining import Layer, Retraining, RetrainingStage
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.reruns.finalists import finalists
from evonas.reruns.ranking import Ranked, ranked_layer, sample
from evonas.reruns.rerank_plan import test_terms, unseen_anchor, verify_request


class ComparableTrainings:
    """Those of a run's trainings after the search that the verdict is about, all made on equal terms.

    They are those of the verification. Only if there is none are they those of a reranking, because whoever reranks
    until the verdict is good has chosen by the test split.

    Args:
        store: the store that holds the run.
        run: the run.
        retrainings: all its trainings after the search.

    Attributes:
        anchors: the networks that layers are verified on.
        unseen: the network of the stage `TRANSFER`; None if there is none.
        test_seeds: the seeds of the trainings that are scored on the test split.
    """

    def __init__(self, store: Store, run: RunInfo, retrainings: Sequence[Retraining]) -> None:
        self._store, self._run = store, run
        self.anchors, self._request = run.config.verified_on, verify_request(run, None)
        held_out = [one for one in retrainings if one.stage is RetrainingStage.HELD_OUT]
        later = [one for one in retrainings if one.stage is not RetrainingStage.HELD_OUT]
        terms = Counter((one.steps, one.held_out) for one in held_out if isinstance(one.layer, int))
        # Rerankings may have had other terms than a verification has; of those, most trainings count.
        own = (self._request.steps_of(run), self._request.held_out)
        used = own if own in terms else max(terms, key=lambda term: (terms[term], term), default=own)
        if run.config.finalists or not later:
            steps, self.test_seeds = test_terms(retrainings, run, self._request)
        else:
            steps = Counter(one.steps for one in later).most_common(1)[0][0]
            self.test_seeds = sorted({one.seed for one in later if one.steps == steps})
        networks = Counter(one.anchor for one in later if one.stage is RetrainingStage.TRANSFER)
        due = unseen_anchor(run.config) if run.config.finalists else None
        self.unseen = due if due in networks else next((name for name, _ in networks.most_common(1)), None)
        self._rows = [one for one in held_out if (one.steps, one.held_out) == used]
        if run.config.finalists and used == own:
            self._rows = self._verified(self._rows)
        self._rows += [
            one
            for one in later
            if one.steps == steps
            and one.seed in self.test_seeds
            and (one.stage is RetrainingStage.TEST or one.anchor == self.unseen)
        ]

    def _verified(self, held_out: list[Retraining]) -> list[Retraining]:
        """The trainings on held-out images that a verification makes, without those that a reranking added."""
        seeds = set(self._request.seeds_of(self._run))
        rows = [one for one in held_out if one.seed in seeds]
        layers = {one.layer for one in rows if isinstance(one.layer, int)}
        if len(layers) <= self._run.config.finalists:
            return rows
        layers &= set(finalists(self._store, self._run.id, self._run.config.finalists))
        return [one for one in rows if isinstance(one.layer, str) or one.layer in layers]

    @property
    def stages(self) -> list[RetrainingStage]:
        """The stages after the held-out one: there are two if there is an unseen network, else one."""
        return [RetrainingStage.TEST, *([] if self.unseen is None else [RetrainingStage.TRANSFER])]

    @property
    def candidates(self) -> list[int]:
        """The candidates that were trained on held-out images, and that the verdict may be on."""
        found = (one.layer for one in self._rows if one.stage is RetrainingStage.HELD_OUT)
        return list(dict.fromkeys(layer for layer in found if isinstance(layer, int)))

    @property
    def command(self) -> str:
        """The command that makes up for trainings that are missing."""
        return f"evonas {'resume' if self._run.config.finalists else 'rerank'} {self._run.id}"

    @property
    def tested(self) -> set[Layer]:
        """The layers that have a training at a later stage."""
        return {one.layer for one in self._rows if one.stage is not RetrainingStage.HELD_OUT}

    @property
    def references(self) -> list[str]:
        """The published layers that belong to a verification, if the run has one, else those that are recorded."""
        if self._run.config.finalists:
            return list(self._run.config.references)
        later = (one.layer for one in self._rows if one.stage is not RetrainingStage.HELD_OUT)
        return list(dict.fromkeys(layer for layer in later if isinstance(layer, str)))

    def ranked(self, layer: Layer, stages: Sequence[RetrainingStage]) -> Ranked:
        """A layer with its trainings at these stages, which may be none."""
        samples = {}
        for stage in stages:
            unseen = [self.unseen] if self.unseen is not None else []
            anchors = unseen if stage is RetrainingStage.TRANSFER else list(self.anchors)
            rows = [one for one in self._rows if one.layer == layer and one.stage is stage and one.anchor in anchors]
            samples[stage] = sample(rows, anchors)
        return ranked_layer(self._store, self._run, layer, samples)

    def lacks_held_out(self) -> bool:
        """Whether a candidate lacks a training on held-out images that a verification makes."""
        had = {(one.layer, one.anchor, one.seed) for one in self._rows if one.stage is RetrainingStage.HELD_OUT}
        return not had >= set(product(self.candidates, self.anchors, self._request.seeds_of(self._run)))

    def lacks_later(self, layers: Sequence[Layer]) -> int:
        """The number of trainings of the later stages that these layers lack."""
        networks = len(self.anchors) + (self.unseen is not None)
        had = sum(one.layer in layers and one.stage is not RetrainingStage.HELD_OUT for one in self._rows)
        return networks * len(self.test_seeds) * len(layers) - had
