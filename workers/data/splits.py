"""Images with labels, and splits of them that are fixed and stratified."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 or float32 (n, c, h, w), and labels, int64 (n,). Neither is ever written to.

    The classes alternate, so that any prefix holds about equally many samples of each.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def chance(self) -> float:
        """The accuracy of always answering the most frequent label."""
        return int(self.labels.bincount().max()) / len(self)

    def first(self, limit: int | None) -> Split:
        """Return the first ``limit`` samples, or all of them if ``limit`` is None or exceeds their number."""
        return self if limit is None else Split(self.images[:limit], self.labels[:limit])

    def take(self, chosen: Tensor) -> Split:
        """Return the samples at these indices, int64 (k,), in the order of the indices."""
        return Split(self.images[chosen], self.labels[chosen])

    def to(self, device: torch.device) -> Split:
        """Return the same samples on a device, without a copy if they are there already."""
        return Split(self.images.to(device), self.labels.to(device))

    def __reduce__(self) -> tuple[Callable[..., Split], tuple[Any, ...]]:
        # Arrays, because Ray's workers read them from shared memory; a tensor would be copied into each worker.
        return _from_arrays, (self.images.numpy(), self.labels.numpy())


def _from_arrays(images: Any, labels: Any) -> Split:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # splits are never written to
        return Split(torch.from_numpy(images), torch.from_numpy(labels))


def stratified_order(labels: Tensor, name: str) -> Tensor:
    """Return a fixed shuffled order in which the classes alternate in proportion to their sizes.

    Any run of consecutive samples is then stratified, so splits are plain slices of it. The order within a
    class comes from a hash of the index rather than from a random generator, whose numbers may change with
    the version of a library: a changed split would let old test images into training.

    Args:
        labels: int64 (n,).
        name: name of the data set; each name gives a different shuffle.

    Returns:
        A permutation of 0 … n − 1, int64 (n,).
    """

    def shuffled(index: int) -> bytes:
        return hashlib.blake2b(f"{name} {index}".encode(), digest_size=8).digest()

    places: list[tuple[float, int, int]] = []
    for label in sorted(set(labels.tolist())):
        members = sorted(torch.nonzero(labels == label).flatten().tolist(), key=shuffled)
        places += [((rank + 0.5) / len(members), label, index) for rank, index in enumerate(members)]
    return torch.tensor([index for _, _, index in sorted(places)], dtype=torch.int64)


def split_off(split: Split, count: int, name: str) -> tuple[Split, Split]:
    """Return a stratified part of ``count`` samples, which depends only on ``name``, and the remaining samples."""
    order = stratified_order(split.labels, name)
    return split.take(order[:count]), split.take(order[count:])
