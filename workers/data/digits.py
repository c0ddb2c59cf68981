"""Handwritten digits, 8×8, that scikit-learn carries, made hard enough to tell layers apart."""

from __future__ import annotations

import torch

from evonas.workers.data.dataset import DataSet, distorted
from evonas.workers.data.distortion import Distortion
from evonas.workers.data.splits import Split, stratified_order

_COPIES = 4


def load(image_size: int | None = None) -> DataSet:
    """The digits, resampled by their distortion to ``image_size``, 12 by default.

    Each split uses its own images only. Validation and test images are distorted once, the same way for
    everyone; training images are distorted anew for every batch.
    """
    from sklearn.datasets import load_digits  # slow to import, and needed here only

    # Pixels stay in 0 … 1 and are not standardised: with inputs centred for it, a shallow network learns
    # without normalisation, and the task would not tell the layers that need none from those that help.
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().div_(16.0).unsqueeze(1)
    everything = Split(images, torch.from_numpy(bunch.target).long())
    order = stratified_order(everything.labels, "digits")
    distortion = Distortion(size=image_size or 12, rotation=0.35, scale=0.1, shift=0.05, noise=0.25)
    return DataSet(
        name="digits",
        classes=10,
        channels=1,
        train=everything.take(order[:1000]),
        validation=distorted(everything.take(order[1000:1400]), distortion, _COPIES, ("digits", "validation")),
        test=distorted(everything.take(order[1400:]), distortion, _COPIES, ("digits", "test")),
        distortion=distortion,
        copies=_COPIES,
    )
