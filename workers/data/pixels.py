"""How pixels reach a network: standardisation and resampling of whole splits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK_IMAGES = 1000
"""Images that are converted to a larger data type at a time."""


@dataclass(frozen=True)
class Standardisation:
    """A shift and scale of each channel, after which the images it was measured on have mean 0 and deviation 1.

    Attributes:
        mean, deviation: one number per channel, in units of the stored pixels.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @staticmethod
    def of(images: Tensor) -> Standardisation:
        """Measure images, uint8 or float32 (n, c, h, w). A deviation of 0 becomes 1."""
        pixels = images[:, 0].numel()
        parts = images.split(_CHUNK_IMAGES)
        # In two passes: the mean of squares minus the square of the mean cancels where the mean is large.
        mean = torch.stack([part.double().sum((0, 2, 3)) for part in parts]).sum(0) / pixels
        apart = [(part.double() - mean.view(1, -1, 1, 1)).square_().sum((0, 2, 3)) for part in parts]
        deviation = (torch.stack(apart).sum(0) / pixels).sqrt()
        return Standardisation(
            tuple(mean.tolist()), tuple(value if value > 0.0 else 1.0 for value in deviation.tolist())
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Standardise images, uint8 or float32 (n, c, h, w), to float32 on their device."""
        mean, deviation = (
            torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (self.mean, self.deviation)
        )
        return torch.sub(images, mean).div_(deviation)


def resampled(images: Tensor, size: int | None) -> Tensor:
    """Resample images, uint8 or float32 (n, c, h, w), to a short side of ``size``, and crop to the centre square.

    With None, the images are returned unchanged. The interpolation is bilinear with antialiasing, so shrinking
    averages.
    """
    height, width = images.shape[-2:]
    if size is None or height == width == size:
        return images
    short = min(height, width)
    shape = (max(size, round(height * size / short)), max(size, round(width * size / short)))
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    parts = [
        F.interpolate(part, shape, mode="bilinear", antialias=True)[..., top : top + size, left : left + size]
        for part in images.split(_CHUNK_IMAGES)
    ]
    return torch.cat(parts)
