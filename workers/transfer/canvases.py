"""The data of digit segmentation: digits and clutter on a canvas, and the class of each pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from evonas.workers.data.splits import Split

SIZE = 24
CLASSES = 11
"""Background, then the ten digits."""
# A laptop allows only few steps: with three digits on 32×32, rotated and scaled twice as much, a U-Net with BN-ReLU
# predicted only background after 300 steps.
_DIGITS, _PIECES = 2, 4
"""Digits, and pieces of digits, on a canvas."""
_EXTENT, _SCALED = 12, 0.1
"""Width of a digit in pixels, and the largest relative change of it."""
_TURNED = 0.15
"""Largest rotation, in radians."""
_INK = 0.4
"""Brightness above which a pixel belongs to a digit."""
_NOISE = 0.1
"""Standard deviation of the pixel noise."""


def compose(digits: Split, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw canvases with two digits each, rotated, scaled and placed at random, with pieces of other digits and noise.

    A piece is a quarter of a digit: it looks like a stroke, but is background. If digits overlap, a pixel belongs to
    the brighter one.

    Args:
        digits: images, float32 (n, 1, 8, 8) between 0 and 1, with their labels.
        count: the number b of canvases.
        generator: a random generator on the CPU.

    Returns:
        Images, float32 (b, 1, 24, 24), and classes, int64 (b, 24, 24), 0 for background and 1 + digit for digits.
    """
    chosen = torch.randint(len(digits), (count * (_DIGITS + _PIECES),), generator=generator)
    labels = digits.labels[chosen].view(count, -1)[:, :_DIGITS]
    placed = _placed(digits.images[chosen], generator).view(count, _DIGITS + _PIECES, SIZE, SIZE)
    whole = placed[:, :_DIGITS]
    brightest, which = whole.max(1)
    classes = labels.gather(1, which.flatten(1)).view_as(which) + 1
    classes = torch.where(brightest > _INK, classes, 0)
    images = torch.maximum(brightest, placed[:, _DIGITS:].amax(1) * (brightest <= _INK))
    images = images + _NOISE * torch.randn(images.shape, generator=generator)
    return images.unsqueeze(1), classes


def _placed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Place each image on a canvas of its own; of the third and later images of a canvas, only a quarter."""
    count = len(images)
    piece = torch.arange(count) % (_DIGITS + _PIECES) >= _DIGITS
    corner = torch.randint(4, (count,), generator=generator)
    half = torch.arange(8) // 4
    kept = (half.view(1, 8, 1) == (corner // 2).view(-1, 1, 1)) & (half.view(1, 1, 8) == (corner % 2).view(-1, 1, 1))
    images = torch.where(piece.view(-1, 1, 1, 1), images * kept.unsqueeze(1), images)
    turn, zoom, x, y = (2 * torch.rand(4, count, generator=generator) - 1).unbind()
    zoom = SIZE / (_EXTENT * (1 + _SCALED * zoom))
    reach = 1 - 1 / zoom  # keeps the digit on the canvas
    cos, sin = zoom * torch.cos(_TURNED * turn), zoom * torch.sin(_TURNED * turn)
    # The grid gives the position in the image for each pixel of the canvas.
    x, y = x * reach, y * reach
    rows = [torch.stack((cos, -sin, -cos * x + sin * y), 1), torch.stack((sin, cos, -sin * x - cos * y), 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [count, 1, SIZE, SIZE], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
