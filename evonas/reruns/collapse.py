"""When a training counts as collapsed, which no layer that is recommended may do."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from evonas.records.run_info import RunInfo
from evonas.reruns.ranking import Sample

CHANCE = "chance"
"""The key in a run's recorded environment for the accuracy of a network that always names the most frequent class."""
_WAY = 0.5
"""Share of the way from chance to a usable accuracy below which a training collapsed."""
_KNOWN_CHANCE = {"digits": 0.1, "cifar10": 0.1, "cifar100": 0.01}
"""Accuracies at chance of data sets by name, for runs that were recorded without it."""


def chance_of(run: RunInfo) -> float:
    """The accuracy at chance on a run's images, in 0..1.

    Runs of earlier versions on own data did not record it. 0 is assumed for those, which notices deeper falls only.
    """
    recorded = run.environment.get(CHANCE)
    return _KNOWN_CHANCE.get(run.config.protocol.data, 0.0) if recorded is None else float(recorded)


def collapsed(found: Sample, chance: float, usable: Mapping[str, float] | None = None) -> list[str]:
    """The trainings of a layer at one stage that collapsed.

    A training collapsed if it diverged, or if its accuracy is below half of the way from chance to the median of the
    layer's trainings on the same network. Seeds of a sound layer differ by a few points, and a network that has lost
    its signal stays near chance, so that hardly any training is between the two; whoever trains a network once gets
    that training and not the mean, which can still be good.

    Args:
        found: the trainings, which are scored.
        chance: the accuracy at chance.
        usable: for some networks, an accuracy that a usable layer reaches there. If the layer's own median is below
            half of the way to it, it takes the place of that median, which does not show that most trainings failed.

    Returns:
        One phrase for each: its network, seed and accuracy.
    """
    phrases = []
    for anchor, by_seed in found.scores.items():
        if not by_seed:
            continue
        usual = median(by_seed.values())
        level = (usable or {}).get(anchor, usual)
        bar = _half_way(chance, level if usual < _half_way(chance, level) else usual)
        for seed, score in by_seed.items():
            if score == 0.0:  # which is how a training that diverged is recorded
                phrases.append(f"diverged on {anchor} with seed {seed}")
            elif score < bar:
                phrases.append(f"{score:.3f} on {anchor} with seed {seed}")
    return phrases


def _half_way(chance: float, level: float) -> float:
    return chance + _WAY * (level - chance)
