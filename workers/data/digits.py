"""The handwritten digits of scikit-learn, 8×8: as they are, and augmented until they tell layers apart."""

from __future__ import annotations

import functools
from typing import Literal

import torch

from evonas.workers.data.augmentation import Augmentation
from evonas.workers.data.dataset import DataSet, augmented
from evonas.workers.data.splits import Split, stratified_order

_COPIES = 4
_PARTS = {"train": slice(1000), "validation": slice(1000, 1400), "test": slice(1400, None)}


@functools.cache
def clean_digits(part: Literal["train", "validation", "test"]) -> Split:
    """Return one part of the digits without augmentation.

    Images are float32 (n, 1, 8, 8) between 0 and 1, with n = 1,000 for training, 400 for validation and 397 for
    the test. Every task that uses digits splits them in this way, so that no image a search was scored on is a
    test image elsewhere.
    """
    from sklearn.datasets import load_digits as load_scikit_digits  # slow to import, and needed here only

    bunch = load_scikit_digits()
    images = torch.from_numpy(bunch.images).float().div_(16.0).unsqueeze(1)
    everything = Split(images, torch.from_numpy(bunch.target).long())
    return everything.take(stratified_order(everything.labels, "digits")[_PARTS[part]])


def load_digits(image_size: int | None = None) -> DataSet:
    """Load the digits, which their augmentation resamples to ``image_size``, 12 by default.

    Each split uses its own images only. Validation and test images are augmented once, and are the same for
    every run; training images are augmented anew for every batch.
    """
    # Pixels stay in 0 … 1 and are not standardised: with centred inputs, a shallow network learns without
    # normalisation, and the task would not separate the layers that need none from those that help.
    augmentation = Augmentation(size=image_size or 12, rotation=0.35, scale=0.1, shift=0.05, noise=0.25)
    return DataSet(
        name="digits",
        classes=10,
        channels=1,
        train=clean_digits("train"),
        validation=augmented(clean_digits("validation"), augmentation, _COPIES, ("digits", "validation")),
        test=augmented(clean_digits("test"), augmentation, _COPIES, ("digits", "test")),
        augmentation=augmentation,
        copies=_COPIES,
    )
