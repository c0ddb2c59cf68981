"""A small class-conditional GAN with the layer in its generator, as in the BigGAN of the EvoNorm paper."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from evonas.workers.anchors.layers import Conv, LayerBuilder

NOISE, CLASSES = 16, 10
_WIDTH = 32


class Generator(nn.Module):
    """Maps noise and a class to an 8×8 image, by a transposed convolution and convolutions with the layer between them.

    Args:
        layer: builds the layer at each position.
    """

    def __init__(self, layer: LayerBuilder) -> None:
        super().__init__()
        self.start = nn.Linear(NOISE + CLASSES, 2 * _WIDTH * 16)
        self.body = nn.Sequential(
            layer.norm_act(2 * _WIDTH),
            nn.ConvTranspose2d(2 * _WIDTH, _WIDTH, 4, stride=2, padding=1, bias=False),
            layer.norm_act(_WIDTH),
            Conv(_WIDTH, _WIDTH, 3),
            layer.norm_act(_WIDTH),
            nn.Conv2d(_WIDTH, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Map noise (b, 16) and labels, int64 (b,), to images (b, 1, 8, 8) between 0 and 1."""
        given = torch.cat([noise, F.one_hot(labels, CLASSES).to(noise.dtype)], 1)
        images: Tensor = self.body(self.start(given).view(len(noise), 2 * _WIDTH, 4, 4))
        return images


class Discriminator(nn.Module):
    """Convolutions with spectral normalisation, and a projection of the class (Miyato and Koyama 2018)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, _WIDTH, 2 * _WIDTH, 2 * _WIDTH)
        pairs = pairwise(widths)
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv2d(i, o, 3, stride=1 if place == 0 else 2, padding=1))
            for place, (i, o) in enumerate(pairs)
        )
        self.score = spectral_norm(nn.Linear(widths[-1], 1))
        self.classes = spectral_norm(nn.Embedding(CLASSES, widths[-1]))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Map images (b, 1, 8, 8) and labels, int64 (b,), to scores (b,), which are high for images that look real."""
        y = images
        for convolution in self.convolutions:
            y = F.leaky_relu(convolution(y), 0.1)
        y = y.sum((2, 3))
        scores: Tensor = self.score(y).squeeze(1) + (self.classes(labels) * y).sum(1)
        return scores
