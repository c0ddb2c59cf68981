"""`DataSet`: what networks are trained on; and how validation and test images are split off from training images."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from evonas.errors import UsageError
from evonas.workers.data.augmentation import Augmentation
from evonas.workers.data.batches import Batches
from evonas.workers.data.pixels import Standardisation
from evonas.workers.data.seeding import seeded_generator
from evonas.workers.data.splits import Split, split_off, stratified_order

_HELD_OUT = 0.1
"""Share of the training images that replaces each split a data set lacks."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images with labels, or windows of text.

    Attributes:
        name: the name that users write.
        classes: number of classes; labels are 0 … classes − 1. Of text, the number of different tokens; a window is an
            image (1, 1, t) of them, and its label is 0.
        channels: channels of an image.
        train: images without augmentation, and labels, from which batches are drawn.
        validation: images that candidates are scored on; augmented if training images are.
        test: likewise, from images that are used for nothing but a final report.
        augmentation: the augmentation of training images, which also sets their size; None for none.
        standardisation: the standardisation of pixels on their way into a network; None if they are stored
            as networks see them.
        copies: augmented copies of each validation and test image.
        kind: "images" or "text".
        other: the data set of the other kind that comes with it, for networks that read that.
    """

    name: str
    classes: int
    channels: int
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    test: Split = field(repr=False)
    augmentation: Augmentation | None = None
    standardisation: Standardisation | None = None
    copies: int = 1
    kind: Literal["images", "text"] = "images"
    other: DataSet | None = field(default=None, repr=False)

    def read_by(self, reads: str) -> DataSet:
        """Return the data set of the kind that a network reads, "images" or "text"; this one if it does not say.

        Raises:
            UsageError: there is none.
        """
        if reads in ("", self.kind):
            return self
        if self.other is None:
            together = f"{self.name}+text" if reads == "text" else f"crops+{self.name}"
            raise UsageError(
                f"the network reads {reads}, and the data set {self.name} has {self.kind}: "
                f"use another, or {together} for networks of both kinds"
            )
        return self.other

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a training image before padding and cropping."""
        if self.augmentation is not None:
            return self.augmentation.size, self.augmentation.size
        height, width = self.train.images.shape[-2:]
        return height, width

    @functools.cached_property
    def digest(self) -> str:
        """A digest of all images and labels, 16 hexadecimal digits: equal for equal data, whatever file it is in."""
        found = hashlib.blake2b(f"{self.classes} {self.channels} {self.copies}".encode(), digest_size=8)
        for split in (self.train, self.validation, self.test):
            for tensor in (split.images, split.labels):
                found.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
                found.update(tensor.contiguous().numpy().data)
        if self.other is not None:
            found.update(self.other.digest.encode())
        return found.hexdigest()

    def standardised(self, images: Tensor) -> Tensor:
        """Return images of one of the splits, float32 (n, c, h, w), as networks see them."""
        return images if self.standardisation is None else self.standardisation(images)

    def batches(
        self,
        seed: int,
        batch: int,
        pad: int = 0,
        crop: int | None = None,
        flip: bool = False,
        device: torch.device | str = "cpu",
    ) -> Batches:
        """Return the training batches of a seed. The latest are cached, because all candidates of a run share them.

        Arguments and errors are those of `Batches`.
        """
        return _batches(self, seed, batch, pad, crop, flip, torch.device(device))

    def held_out(self, share: float, seed: int) -> DataSet:
        """Return this task with a stratified share of the training images in place of the validation images.

        The remaining images are left for training. If the old validation images are fixed augmented copies,
        so are the new ones. The test images and the standardisation stay the same, so that a network sees an
        image of either task alike.

        Args:
            share: the share of the training images to hold out, above 0 and below 1.
            seed: selects the images, which depend on the data set, the share and this seed alone.

        Raises:
            UsageError: The share leaves no image on one side.
        """
        return _held_out(self, share, seed)


@functools.lru_cache(maxsize=1)
def _batches(
    data: DataSet, seed: int, batch: int, pad: int, crop: int | None, flip: bool, device: torch.device
) -> Batches:
    return Batches(data, seed, batch, pad, crop, flip, device)


@functools.lru_cache(maxsize=1)  # every task of a reranking asks for the same one, and then for its batches
def _held_out(data: DataSet, share: float, seed: int) -> DataSet:
    count = round(share * len(data.train)) if 0.0 < share < 1.0 else 0
    if not 0 < count < len(data.train):
        raise UsageError(
            f"a share of {share:g} of {len(data.train)} training images cannot be held out: one side would be empty"
        )
    held, rest = split_off(data.train, count, f"{data.name} held out {seed}")
    if data.augmentation is not None:
        held = augmented(held, data.augmentation, data.copies, (data.name, "held out", seed))
    other = None if data.other is None else _held_out.__wrapped__(data.other, share, seed)
    return replace(data, train=rest, validation=held, other=other)


def augmented(split: Split, augmentation: Augmentation, copies: int, key: tuple[object, ...]) -> Split:
    """Return several fixed augmented copies of each image of a split, drawn from a generator seeded with ``key``.

    The score of a layer then depends less on chance. The copies of the whole split follow one another, so the
    classes of a prefix still alternate.
    """
    repeated = Split(split.images.repeat(copies, 1, 1, 1), split.labels.repeat(copies))
    return Split(augmentation(repeated.images, seeded_generator(*key)), repeated.labels)


def from_splits(
    name: str, classes: int, train: Split, validation: Split | None, test: Split | None, held: int | None = None
) -> DataSet:
    """Make a data set of images without augmentation, in any order, standardised by its training images.

    Args:
        name: the name that users write.
        classes: number of classes.
        train: training images.
        validation, test: images of these splits; None to split off a stratified part of the training images,
            test images first.
        held: number of training images in each such part; a tenth of them by default.

    Raises:
        UsageError: There are too few training images to split.
    """
    parts: dict[str, Split] = {}
    count = round(_HELD_OUT * len(train)) if held is None else held
    for part, given in (("test", test), ("validation", validation)):
        if given is not None:
            parts[part] = given.take(stratified_order(given.labels, f"{name} {part}"))
            continue
        if not 0 < count < len(train):
            raise UsageError(f"{len(train)} training images are too few to split off {part} images; add more")
        parts[part], train = split_off(train, count, f"{name} {part}")
    return DataSet(
        name=name,
        classes=classes,
        channels=train.images.shape[1],
        train=train,
        validation=parts["validation"],
        test=parts["test"],
        standardisation=Standardisation.of(train.images),
    )
