"""The verdict on a run: whether the best of its verified layers is better than published ones, from records alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from evonas.records.retraining import RetrainingStage
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.reruns.collapse import chance_of, collapsed
from evonas.reruns.ranking import PairedComparison, Ranked, by_mean, compare
from evonas.reruns.verdict_records import ComparableTrainings
from evonas.reruns.verdict_words import brief, sentences, word
from evonas.settings.run_config import REFERENCES

HELD_OUT = RetrainingStage.HELD_OUT


@dataclass(frozen=True, slots=True)
class Finalist:
    """A layer that was trained again on held-out images.

    Attributes:
        layer: the layer, with its trainings on held-out images.
        collapsed: those of its trainings that collapsed, one phrase each; then it is not tested.
    """

    layer: Ranked
    collapsed: Sequence[str]

    @property
    def index(self) -> int:
        """The candidate's index."""
        return self.layer.index

    @property
    def sound(self) -> bool:
        """Whether it has trainings on every network and none of them collapsed."""
        return not self.collapsed and bool(self.layer.samples[HELD_OUT].by_seed)

    def as_dict(self) -> dict[str, Any]:
        """The finalist as a dictionary for JSON."""
        return self.layer.as_dict() | {"collapsed": list(self.collapsed)}


@dataclass(frozen=True)
class Verdict:
    """What the trainings after a search say about its best layer.

    Attributes:
        run_id: the run's number.
        finalists: the layers that were trained again, best mean on the held-out images first.
        layer: the one of them that was scored on the test split; None if all collapsed or failed before.
        references: the published layers beside it.
        unseen: the network that no search trains on; None if there is none.
        collapsed: the trainings of `layer` that collapsed on test images or on the unseen network, one phrase each, or
            earlier, if it was tested nevertheless.
        missing: the number of trainings that are not recorded yet. Before all are, nothing is verified.
        command: the command that carries those out, and failed ones again.
        test: `layer` compared with each reference on the test split, over the networks that layers are verified on.
        transfer: the same on the unseen network; empty without one.
        target: the networks that all of this is about, if they are others than the search trained every candidate on.
        baseline: the published layer that a layer has to be better than to be verified.
    """

    run_id: int
    finalists: Sequence[Finalist]
    layer: Ranked | None
    references: Sequence[Ranked]
    unseen: str | None
    collapsed: Sequence[str]
    missing: int
    command: str
    test: Sequence[PairedComparison]
    transfer: Sequence[PairedComparison]
    target: Sequence[str] = ()
    baseline: str = REFERENCES[0]

    @property
    def sound(self) -> bool:
        """Whether everything was measured, the layer has scores on the test split, and no training of it collapsed."""
        measured = self.layer is not None and bool(self.layer.samples[RetrainingStage.TEST].by_seed)
        return measured and not self.missing and not self.collapsed

    @property
    def better_than(self) -> list[str]:
        """The references than which the layer is better on the test split, beyond chance."""
        return [one.reference for one in self.test if one.told_apart == 1]

    @property
    def worse_than(self) -> list[str]:
        """The references than which the layer is worse on the test split, beyond chance."""
        return [one.reference for one in self.test if one.told_apart == -1]

    @property
    def not_told_apart(self) -> list[str]:
        """The references whose difference from the layer may be chance."""
        return [one.reference for one in self.test if one.told_apart == 0]

    @property
    def better(self) -> bool:
        """Whether the layer is verified: it never collapsed, and is better than the baseline beyond chance."""
        return self.sound and self.baseline in self.better_than

    @property
    def better_than_all(self) -> bool:
        """Whether the layer is verified, and better than every reference beyond chance."""
        return self.better and len(self.better_than) == len(self.references)

    @property
    def word(self) -> str:
        """The verdict in a word, for a column of a table."""
        return word(self)

    @property
    def brief(self) -> str:
        """The verdict in a few words."""
        return brief(self)

    def __str__(self) -> str:
        return sentences(self)

    def _repr_html_(self) -> str:
        """The verdict in words, and the finalists, as a notebook shows them."""
        from evonas.notebook import block, code, paragraph, table

        rows = [
            (code(one.layer.id), code(one.layer.expression), one.layer.samples[HELD_OUT].mean, "; ".join(one.collapsed))
            for one in self.finalists
        ]
        return block(paragraph(str(self)), table(("id", "expression", HELD_OUT.value, "collapsed"), rows))

    def as_dict(self) -> dict[str, Any]:
        """The verdict as a dictionary for JSON, with every score and comparison."""
        return {
            "layer": None if self.layer is None else self.layer.as_dict(),
            "verified": self.sound,
            "better": self.better,
            "better_than_all": self.better_than_all,
            "better_than": self.better_than,
            "worse_than": self.worse_than,
            "not_told_apart": self.not_told_apart,
            "target": list(self.target),
            "unseen": self.unseen,
            "collapsed": list(self.collapsed),
            "missing": self.missing,
            "finalists": [one.as_dict() for one in self.finalists],
            "references": [one.as_dict() for one in self.references],
            "comparisons": [one.as_dict() for one in (*self.test, *self.transfer)],
            "text": str(self),
        }


def verdict_of(store: Store, run_id: int) -> Verdict | None:
    """The verdict on a run, from its recorded trainings after the search; nothing is trained.

    The layer in question is chosen by the held-out images alone: of the layers that were scored on the test split, the
    best whose trainings never collapsed there.

    Args:
        store: the store that holds the run.
        run_id: the run's number.

    Returns:
        The verdict; None if no layer has been scored on the test split, unless that is because all finalists collapsed
        or failed.

    Raises:
        UsageError: if the store has no such run.
    """
    retrainings = store.retrainings(run_id)
    if not any(isinstance(one.layer, int) for one in retrainings):
        return None
    run = store.run(run_id)
    trainings = ComparableTrainings(store, run, retrainings)
    found = judged(by_mean(trainings.ranked(index, [HELD_OUT]) for index in trainings.candidates), run)
    chosen = best_sound([one for one in found if one.index in trainings.tested])
    if chosen is None:
        if trainings.lacks_held_out() or any(one.sound for one in found):
            return None
        last = run.config.target_anchors, run.config.references[0]
        return Verdict(run_id, found, None, (), None, (), 0, trainings.command, (), (), *last)
    stages, names = trainings.stages, trainings.references
    layer = trainings.ranked(chosen.index, [HELD_OUT, *stages])
    references = [trainings.ranked(name, stages) for name in names]
    compared = {stage: compare(stage, [layer], references, trainings.test_seeds) for stage in stages}
    return Verdict(
        run_id=run_id,
        finalists=found,
        layer=layer,
        references=references,
        unseen=trainings.unseen,
        collapsed=[*chosen.collapsed, *_collapsed_later(layer, references, chance_of(run), run.config.references[0])],
        missing=trainings.lacks_later([chosen.index, *names]),
        command=trainings.command,
        test=compared[RetrainingStage.TEST],
        transfer=compared.get(RetrainingStage.TRANSFER, ()),
        target=run.config.target_anchors,
        baseline=run.config.references[0],
    )


def judged(ranked: Iterable[Ranked], run: RunInfo) -> list[Finalist]:
    """Layers that were trained on held-out images, each with its trainings there that collapsed."""
    chance = chance_of(run)
    return [Finalist(one, collapsed(one.samples[HELD_OUT], chance)) for one in ranked]


def best_sound(finalists: Sequence[Finalist]) -> Finalist | None:
    """The first of these finalists that is sound, else the first of all; None if there is none."""
    return next((one for one in finalists if one.sound), finalists[0] if finalists else None)


def _collapsed_later(layer: Ranked, references: Sequence[Ranked], chance: float, baseline: str) -> list[str]:
    phrases = collapsed(layer.samples[RetrainingStage.TEST], chance)
    unseen = layer.samples.get(RetrainingStage.TRANSFER)
    if unseen is None:
        return phrases
    beside = [one.samples[RetrainingStage.TRANSFER].scores for one in references if one.id == baseline]
    # Chosen by other networks, a layer can fail on this one with every seed alike.
    usable = {anchor: median(of.values()) for scores in beside for anchor, of in scores.items() if of}
    return phrases + collapsed(unseen, chance, usable)
