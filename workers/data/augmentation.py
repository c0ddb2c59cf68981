"""Random augmentation of images, reproducible from a generator and independent of PyTorch's global random state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """A random rotation, scale and shift, a resampling to ``size`` × ``size``, and pixel noise.

    Attributes:
        size: height and width of the result, in pixels.
        rotation: largest angle, in radians.
        scale: largest relative change of size; 0.2 draws the visible part between 0.8 and 1.2 of the image.
        shift: largest movement along each axis, as a fraction of half the image.
        noise: standard deviation of the Gaussian noise, in units of the pixel values.
    """

    size: int
    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    noise: float = 0.0

    def __call__(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Augment every image on its own: float32 (n, c, h, w) to (n, c, size, size).

        Pixels that fall outside an image are 0. All images are resampled bilinearly in one call.
        """
        count, channels = images.shape[:2]
        angle, zoom, dx, dy = (torch.rand(4, count, generator=random) * 2 - 1).unbind()
        angle, zoom = angle * self.rotation, 1 + zoom * self.scale
        cos, sin = zoom * angle.cos(), zoom * angle.sin()
        rows = [torch.stack((cos, -sin, dx * self.shift), 1), torch.stack((sin, cos, dy * self.shift), 1)]
        shape = [count, channels, self.size, self.size]
        grid = F.affine_grid(torch.stack(rows, 1), shape, align_corners=False)
        result = F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
        if not math.isclose(self.noise, 0.0):
            result += self.noise * torch.randn(shape, generator=random)
        return result
