"""Vision transformers (Dosovitskiy et al. 2021; Touvron et al. 2021): an image is a sequence of patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evonas.workers.anchors.layers import LearnedTokens, Patches, TokenClassifier, TokenLayerBuilder
from evonas.workers.anchors.transformer import Blocks, BlocksConfig, waves


@dataclass(frozen=True)
class ViTConfig:
    """The configuration of a vision transformer.

    Attributes:
        blocks: that of its blocks.
        patch: height and width of a patch.
        learned: the number of patches whose positions are learned, for a class token that the classifier reads, as
            published. None for positions as sines and cosines, which fit images of any size, and the mean of all
            tokens for the classifier (Beyer et al. 2022).
    """

    blocks: BlocksConfig
    patch: int
    learned: int | None = None


VIT_TINY_16 = ViTConfig(BlocksConfig(192, 12, 3), 16, 196)
VIT_SMALL_16 = ViTConfig(BlocksConfig(384, 12, 6), 16, 196)
"""DeiT-Ti and DeiT-S without distillation, for images of 224×224 (Touvron et al. 2021, table 1)."""
VIT_SMALL = ViTConfig(BlocksConfig(48, 4, 4, 2), 4)


class ViT(nn.Module):
    """Patches, blocks and classifier."""

    def __init__(self, config: ViTConfig, layer: TokenLayerBuilder, *, in_channels: int, classes: int) -> None:
        super().__init__()
        width = config.blocks.channels
        self.patches = Patches(in_channels, width, config.patch)
        self.token = LearnedTokens(1, width) if config.learned is not None else None
        self.places = LearnedTokens(1 + config.learned, width) if config.learned is not None else None
        self.blocks = Blocks(config.blocks, layer, causal=False)
        self.classifier = TokenClassifier(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (b, in_channels, h, w), h and w at least one patch, to logits (b, classes)."""
        features = self.patches(x)
        _, width, h, w = features.shape
        tokens = features.flatten(2).transpose(1, 2)
        if self.token is None or self.places is None:
            tokens = tokens + grid_waves(h, w, width, tokens)
            read = self.blocks(tokens).mean(1)
        else:
            tokens = torch.cat([self.token(tokens), tokens], 1) + self.places(tokens)
            read = self.blocks(tokens)[:, 0]
        logits: Tensor = self.classifier(read)
        return logits


def grid_waves(h: int, w: int, channels: int, like: Tensor) -> Tensor:
    """The positions of a grid's cells as sines and cosines, half of the channels for rows and half for columns.

    Args:
        h, w: of the grid.
        channels: of a token; where they are no multiple of 4, the last ones are 0.
        like: a tensor of the type and on the device that the result is to have.

    Returns:
        (h · w, channels), the cells in the order of their rows.
    """
    half = channels // 4 * 2
    rows = waves(torch.arange(h, device=like.device, dtype=torch.float32), half)
    columns = waves(torch.arange(w, device=like.device, dtype=torch.float32), half)
    both = torch.cat([rows[:, None].expand(h, w, half), columns[None].expand(h, w, half)], 2).flatten(0, 1)
    return nn.functional.pad(both, (0, channels - 2 * half)).to(like.dtype)
