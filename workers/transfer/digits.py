"""The digits themselves, split as the search splits them: what a search was scored on is no test image here."""

from __future__ import annotations

import functools
from typing import Literal

import torch

from evonas.workers.data.splits import Split, stratified_order


@functools.cache
def digits(part: Literal["train", "test"]) -> Split:
    """Images, float32 (n, 1, 8, 8) between 0 and 1, with labels: 1,000 for training or 397 for the test."""
    from sklearn.datasets import load_digits  # slow to import, and needed here only

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().div_(16.0).unsqueeze(1)
    everything = Split(images, torch.from_numpy(bunch.target).long())
    order = stratified_order(everything.labels, "digits")
    return everything.take(order[:1000] if part == "train" else order[1400:])
