"""What a published layer has where a filter would judge it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckpointValue:
    """What one filter measures on a published layer, which it does not reject.

    Attributes:
        checkpoint: the name of the filter, such as "early-20".
        value: what the filter measured, an accuracy in 0..1 where `chance` is given; None if it measured nothing, as
            on a training that diverged.
        reason: why the filter would reject the layer whatever the floors; empty if it would not.
        chance: the accuracy in 0..1 of always answering the most frequent class; None for a filter without a floor.
        images: how many independent images the accuracy is taken over; None for a filter without a floor.
    """

    checkpoint: str
    value: float | None
    reason: str = ""
    chance: float | None = None
    images: int | None = None
