"""`DataSet`: a classification task, and the parts of one that are split off its training images."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from evonas.errors import UsageError
from evonas.workers.data.batches import Batches
from evonas.workers.data.distortion import Distortion, generator
from evonas.workers.data.splits import Split, Standardisation, split_off, stratified_order

_HELD_OUT = 0.1  # of the training images, for each split that a data set comes without


@dataclass(frozen=True, eq=False)
class DataSet:
    """A classification task.

    Attributes:
        name: what users write.
        classes: number of classes; labels are 0 … classes − 1.
        channels: channels of an image.
        train: undistorted images, and labels, from which batches are drawn.
        validation: what candidates are scored on; distorted where training images are.
        test: the same from images that nothing else uses; for a final report, once.
        distortion: of training images, which also sets their size; None for images as they are.
        standardisation: of pixels, on their way into a network; None where they are stored as networks see
            them.
        copies: distorted copies of each validation and test image.
    """

    name: str
    classes: int
    channels: int
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    test: Split = field(repr=False)
    distortion: Distortion | None = None
    standardisation: Standardisation | None = None
    copies: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a training image before it is padded and cropped."""
        if self.distortion is not None:
            return self.distortion.size, self.distortion.size
        height, width = self.train.images.shape[-2:]
        return height, width

    def standardised(self, images: Tensor) -> Tensor:
        """Images of one of the splits as networks see them, float32."""
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
        """The training batches of a seed; the last ones asked for are kept, for all candidates of a run.

        Arguments and errors are those of `Batches`.
        """
        return _batches(self, seed, batch, pad, crop, flip, torch.device(device))

    def held_out(self, share: float, seed: int) -> DataSet:
        """This task with a stratified share of the training images in the place of the validation images.

        Training is left with the rest. The new validation images are distorted in fixed copies where the
        old ones are. The test images stay, and so does the standardisation, so that both tasks show the
        same image in the same way.

        Args:
            share: of the training images, above 0 and below 1.
            seed: which images; each is a function of the data set, share and seed alone.

        Raises:
            UsageError: the share leaves no image on one side.
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
    if data.distortion is not None:
        held = distorted(held, data.distortion, data.copies, (data.name, "held out", seed))
    return replace(data, train=rest, validation=held)


def distorted(split: Split, distortion: Distortion, copies: int, key: tuple[object, ...]) -> Split:
    """Several fixed distorted copies of each image of a split, drawn from ``key``.

    The score of a layer then depends less on the luck of one distortion. Whole copies follow one another,
    so that a prefix still alternates the classes.
    """
    repeated = Split(split.images.repeat(copies, 1, 1, 1), split.labels.repeat(copies))
    return Split(distortion(repeated.images, generator(*key)), repeated.labels)


def from_splits(
    name: str, classes: int, train: Split, validation: Split | None, test: Split | None, held: int | None = None
) -> DataSet:
    """A data set of undistorted images in any order, standardised by its training part.

    Args:
        name: what users write.
        classes: number of classes.
        train: training images.
        validation, test: None for a stratified part of the training images, the test images first.
        held: how many training images each such part takes; a tenth by default.

    Raises:
        UsageError: there are too few training images to split.
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
