"""Images with labels: splits that are fixed and stratified, and the scale of their pixels."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE = 1000  # images whose pixels are turned into larger numbers at a time


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 or float32 (n, c, h, w), and labels, int64 (n,). Nothing writes into either.

    The classes alternate, so that the first so many samples hold about equally many of each.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, limit: int | None) -> Split:
        """The first ``limit`` samples; all where it is None or more than there are."""
        return self if limit is None else Split(self.images[:limit], self.labels[:limit])

    def take(self, chosen: Tensor) -> Split:
        """The samples of these indices, int64 (k,), in their order."""
        return Split(self.images[chosen], self.labels[chosen])

    def to(self, device: torch.device) -> Split:
        """The same samples on a device; no copy where they are there already."""
        return Split(self.images.to(device), self.labels.to(device))

    def __reduce__(self) -> tuple[Callable[..., Split], tuple[Any, ...]]:
        # As arrays, which Ray's workers read from shared memory; a tensor would be copied into each of them.
        return _from_arrays, (self.images.numpy(), self.labels.numpy())


def _from_arrays(images: Any, labels: Any) -> Split:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes into a split
        return Split(torch.from_numpy(images), torch.from_numpy(labels))


def stratified_order(labels: Tensor, name: str) -> Tensor:
    """A fixed shuffled order in which the classes alternate in proportion to their sizes.

    Any run of consecutive samples is then stratified, so that splits are plain slices of it. The order
    within a class comes from a hash of the index and not from a random generator, whose numbers may change
    with the version of a library: a changed split would let old test images into training.

    Args:
        labels: int64 (n,).
        name: of the data set; different names are shuffled differently.

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
    """A stratified part of ``count`` samples, the same for every caller with this ``name``, and the rest."""
    order = stratified_order(split.labels, name)
    return split.take(order[:count]), split.take(order[count:])


@dataclass(frozen=True)
class Standardisation:
    """Shifts and scales each channel; made so that the images it was measured on have mean 0 and deviation 1.

    Attributes:
        mean, deviation: one a channel, in units of the stored pixels.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @staticmethod
    def of(images: Tensor) -> Standardisation:
        """The mean and deviation of images, uint8 or float32 (n, c, h, w); 1 for a deviation of 0."""
        pixels = images[:, 0].numel()
        parts = images.split(_AT_ONCE)
        # In two passes: the mean of squares less the square of the mean cancels where the mean is large.
        mean = torch.stack([part.double().sum((0, 2, 3)) for part in parts]).sum(0) / pixels
        apart = [(part.double() - mean.view(1, -1, 1, 1)).square_().sum((0, 2, 3)) for part in parts]
        deviation = (torch.stack(apart).sum(0) / pixels).sqrt()
        return Standardisation(
            tuple(mean.tolist()), tuple(value if value > 0.0 else 1.0 for value in deviation.tolist())
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Images, uint8 or float32 (n, c, h, w), standardised, float32, on the device where they are."""
        mean, deviation = (
            torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (self.mean, self.deviation)
        )
        return torch.sub(images, mean).div_(deviation)


def resampled(images: Tensor, size: int | None) -> Tensor:
    """Images, uint8 or float32 (n, c, h, w), with the short side made ``size`` and cropped to its middle square.

    None leaves them as they are. Shrinking averages (antialiased bilinear interpolation).
    """
    height, width = images.shape[-2:]
    if size is None or height == width == size:
        return images
    short = min(height, width)
    shape = (max(size, round(height * size / short)), max(size, round(width * size / short)))
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    parts = [
        F.interpolate(part, shape, mode="bilinear", antialias=True)[..., top : top + size, left : left + size]
        for part in images.split(_AT_ONCE)
    ]
    return torch.cat(parts)
