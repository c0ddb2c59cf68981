"""The result of a reranking: layers trained again, best first, and their comparison with published ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from statistics import fmean
from typing import Any

from evonas.language.zoo import ROWS
from evonas.records.results import result_row
from evonas.records.retraining import RERUNS, Layer, Retraining, RetrainingStage
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.reruns.significance import SIGNIFICANT, Interval, Paired, holm, interval, paired
from evonas.settings.candidate import OriginKind
from evonas.settings.evaluation_protocol import OWN_SCORE


@dataclass(frozen=True, slots=True)
class Sample:
    """The trainings of one layer at one stage.

    Attributes:
        scores: the accuracies by anchor and seed, without trainings that failed.
        failures: why trainings failed or diverged, with their anchor and seed.
    """

    scores: Mapping[str, Mapping[int, float]]
    failures: Sequence[str] = ()

    @property
    def by_seed(self) -> dict[int, float]:
        """The mean over anchors, for each seed whose trainings failed on no anchor."""
        first, *others = self.scores.values()
        whole = [seed for seed in first if all(seed in other for other in others)]
        return {seed: fmean(of_anchor[seed] for of_anchor in self.scores.values()) for seed in whole}

    @property
    def mean(self) -> float:
        """The mean over anchors and seeds; NaN if no seed has a score on every anchor."""
        values = self.by_seed.values()
        return fmean(values) if values else nan

    @property
    def interval(self) -> Interval | None:
        """The confidence interval of `mean` over seeds; None for fewer than two seeds."""
        return interval(list(self.by_seed.values()))

    def as_dict(self) -> dict[str, Any]:
        """The sample as a dictionary for JSON."""
        return {
            "mean": self.mean,
            "interval": _as_list(self.interval),
            "scores": {anchor: {str(s): v for s, v in of.items()} for anchor, of in self.scores.items()},
            "failures": list(self.failures),
        }


def sample(trainings: Iterable[Retraining], anchors: Sequence[str]) -> Sample:
    """Collects the trainings of one layer at one stage; `anchors` determines the order of the scores."""
    scores: dict[str, dict[int, float]] = {anchor: {} for anchor in anchors}
    failures = []
    for one in sorted(trainings, key=lambda one: one.seed):
        if not one.failed:
            scores[one.anchor][one.seed] = one.score
        if one.reason:
            failures.append(f"{one.anchor}, seed {one.seed}: {one.reason}")
    return Sample(scores, failures)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A layer that was trained again.

    Attributes:
        id: "RUN/INDEX" for a candidate, the name for a published layer.
        expression: the layer as text.
        name: the name of the layer in the zoo that it equals; None if there is none.
        searched: its mean score in the search; None for a reference.
        samples: its trainings by stage; only references and reported layers have the test stages.
        start: whether it is a candidate that the search started from (`RunConfig.seed_graphs`) and did not find.
    """

    id: str
    expression: str
    name: str | None
    searched: float | None
    samples: Mapping[RetrainingStage, Sample]
    start: bool = False

    @property
    def index(self) -> int:
        """The index of a candidate; a published layer has none."""
        return int(self.id.rpartition("/")[2])

    def as_dict(self) -> dict[str, Any]:
        """The layer as a dictionary for JSON."""
        known = {"id": self.id, "expression": self.expression, "name": self.name, "searched": self.searched}
        known["start"] = self.start
        return known | {stage.value: found.as_dict() for stage, found in self.samples.items()}


def ranked_layer(store: Store, run: RunInfo, layer: Layer, samples: Mapping[RetrainingStage, Sample]) -> Ranked:
    """A candidate of a run, which must be scored, or a published layer, with its trainings by stage."""
    if isinstance(layer, str):
        return Ranked(layer, ROWS[layer].expression, layer, None, samples)
    evaluation = store.evaluation(run.id, layer)
    assert evaluation is not None, "only scored candidates are ranked"
    candidate = store.candidate(run.id, layer)
    row = result_row(run, candidate, evaluation)
    start = candidate.origin.kind is OriginKind.SEED
    return Ranked(row.id, row.expression, row.name, row.mean, samples, start)


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A reported layer compared with a reference, over the seeds that both were trained with.

    Attributes:
        stage: the stage whose trainings are compared.
        layer, reference: the ids of the two layers.
        paired: the difference, layer minus reference; None if the two have no seed in common.
        corrected: the p-value with Holm's correction for all comparisons of the stage; None if there is none.
        dropped: the number of seeds left out because a training of either layer failed.
        of_accuracy: whether accuracies are compared, and not what a training loop of the user's own returned.
    """

    stage: RetrainingStage
    layer: str
    reference: str
    paired: Paired | None
    corrected: float | None
    dropped: int
    of_accuracy: bool = True

    @property
    def told_apart(self) -> int | None:
        """1 if the layer is better beyond chance, -1 if it is worse, 0 if chance may be all; None if not compared."""
        if self.paired is None:
            return None
        if self.corrected is None or self.corrected >= SIGNIFICANT:
            return 0
        return 1 if self.paired.difference > 0 else -1

    def as_dict(self) -> dict[str, Any]:
        """The comparison as a dictionary for JSON."""
        found = asdict(self.paired) if self.paired else dict.fromkeys(("difference", "interval", "p"), None)
        found |= {"interval": _as_list(self.paired.interval) if self.paired else None}
        known = {"stage": self.stage.value, "layer": self.layer, "reference": self.reference}
        return known | found | {"p_corrected": self.corrected, "dropped": self.dropped}


@dataclass(frozen=True)
class Ranking:
    """The result of `evonas.rerank`.

    Attributes:
        run_id: the run's number.
        anchors: the networks that layers are verified on (`RunConfig.verified_on`).
        transfer: the unseen anchor; None if there was none.
        held_out: the share of the training split that was held out.
        steps, seeds: the steps and seeds of the trainings that layers are ranked by.
        test_steps, test_seeds: the steps and seeds of the trainings that were scored on the test split. They are those
            of the first reranking of the run, because the test split is used only once.
        layers: the candidates, best mean on the held-out images first.
        reported: how many of them are reported, and were scored on the test split.
        references: the published layers, trained in the same way, best first.
    """

    run_id: int
    anchors: Sequence[str]
    transfer: str | None
    held_out: float
    steps: int
    seeds: Sequence[int]
    test_steps: int
    test_seeds: Sequence[int]
    layers: Sequence[Ranked]
    reported: int
    references: Sequence[Ranked]

    @property
    def stages(self) -> list[RetrainingStage]:
        """The stages of this ranking; there are three if there is an unseen anchor, else two."""
        return [stage for stage in RERUNS if stage is not RetrainingStage.TRANSFER or self.transfer is not None]

    def comparisons(self, stage: RetrainingStage) -> list[PairedComparison]:
        """Compares each reported layer with each reference at a stage, with Holm's correction over all comparisons."""
        seeds = self.seeds if stage is RetrainingStage.HELD_OUT else self.test_seeds
        return compare(stage, self.layers[: self.reported], self.references, seeds)

    def as_dict(self) -> dict[str, Any]:
        """The ranking as a dictionary for JSON, with every score and comparison."""
        return {
            "run": self.run_id,
            "anchors": list(self.anchors),
            "transfer": self.transfer,
            "held_out": self.held_out,
            "steps": self.steps,
            "seeds": list(self.seeds),
            "test_steps": self.test_steps,
            "test_seeds": list(self.test_seeds),
            "reported": [layer.id for layer in self.layers[: self.reported]],
            "layers": [layer.as_dict() for layer in self.layers],
            "references": [reference.as_dict() for reference in self.references],
            "comparisons": [one.as_dict() for stage in self.stages for one in self.comparisons(stage)],
        }

    def __str__(self) -> str:
        lines = [f"run {self.run_id}, {len(self.seeds)} seeds of {self.steps} steps, accuracy held out and on test"]
        for one in (*self.layers[: self.reported], *self.references):
            means = "  ".join(f"{found.mean:.3f}" for found in one.samples.values())
            lines.append(f"  {means}  {one.id:>10}  {one.expression}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The layers and their means at each stage, best first, as a notebook shows them."""
        from evonas.notebook import block, code, paragraph, table

        about = f"run {self.run_id}: mean accuracy ± half the width of its 95% interval after {self.steps} steps; "
        about += f"{len(self.seeds)} seeds held out, {len(self.test_seeds)} on the test split"
        about += f"; transfer: {self.transfer}" if self.transfer else ""
        ranked = (*self.layers, *self.references)
        rows = [
            (code(one.id), code(one.expression), one.name, one.searched, *(_mean(one, stage) for stage in self.stages))
            for one in ranked
        ]
        headings = ("id", "expression", "name", "search", *(stage.value for stage in self.stages))
        failures = [f"{one.id}: {why}" for one in ranked for found in one.samples.values() for why in found.failures]
        return block(paragraph(about), table(headings, rows), *map(paragraph, failures))


def _mean(one: Ranked, stage: RetrainingStage) -> str:
    found = one.samples.get(stage)
    if found is None:
        return ""
    within = found.interval
    half = "" if within is None else f" ± {(within.high - within.low) / 2:.3f}"
    return "failed" if isnan(found.mean) else f"{found.mean:.3f}{half}"


def compare(
    stage: RetrainingStage, layers: Sequence[Ranked], references: Sequence[Ranked], seeds: Sequence[int]
) -> list[PairedComparison]:
    """Compares each layer with each reference at a stage over these seeds, with Holm's correction over all of them."""
    pairs = [(layer, reference) for layer in layers for reference in references]
    found: list[tuple[Paired | None, int]] = []
    for layer, reference in pairs:
        first, second = layer.samples[stage].by_seed, reference.samples[stage].by_seed
        both = [seed for seed in seeds if seed in first and seed in second]
        found.append((paired([first[s] for s in both], [second[s] for s in both]), len(seeds) - len(both)))
    corrected = holm([each.p if each else None for each, _ in found])
    return [
        PairedComparison(stage, layer.id, reference.id, each, p, dropped, OWN_SCORE not in layer.samples[stage].scores)
        for (layer, reference), (each, dropped), p in zip(pairs, found, corrected, strict=True)
    ]


def by_mean(ranked: Iterable[Ranked]) -> list[Ranked]:
    """Sorts layers by their mean on the held-out images, best first; the sort is stable, and NaN comes last."""

    def key(one: Ranked) -> tuple[bool, float]:
        mean = one.samples[RetrainingStage.HELD_OUT].mean
        return isnan(mean), 0.0 if isnan(mean) else -mean

    return sorted(ranked, key=key)


def _as_list(found: Interval | None) -> list[float] | None:
    return None if found is None else [found.low, found.high]
