"""Blocks of transformers (Vaswani et al. 2017), with every usual place for their norms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.workers.anchors.layers import Projection, TokenLayerBuilder


class Placement(Enum):
    """Where the norms of a block stand; f is attention or the two-layer map, and x the residual.

    PRE: x + f(norm(x)), and a norm at the end of the network (Xiong et al. 2020).
    POST: norm(x + f(x)) (Vaswani et al. 2017).
    MEGATRON: as PRE, with a norm of the embeddings as BERT has one (Shoeybi et al. 2019).
    PERI: x + norm(f(norm(x))), with norms of the embeddings and at the end (Kim et al. 2025).
    MIX: POST in the first quarter of the blocks, and PRE in the others (Li et al. 2024).
    SCALED: PRE, with what a norm returns divided by the square root of the number of its block (Sun et al. 2025).
    """

    PRE = "pre"
    POST = "post"
    MEGATRON = "megatron"
    PERI = "peri"
    MIX = "mix"
    SCALED = "scaled"


@dataclass(frozen=True)
class BlocksConfig:
    """The configuration of a stack of blocks.

    Attributes:
        width: channels of a token, before the width multiplier.
        depth: number of blocks.
        heads: number of attention heads; it divides the width.
        expansion: the width of the hidden layer of a block's map, in widths.
        placement: where norms stand.
        qk_norm: whether queries and keys are normalised too, head by head (Henry et al. 2020).
        rotary: whether queries and keys are turned by angles that follow from their positions (Su et al. 2021), for
            networks whose tokens say nothing of these; each head then has an even number of channels.
        width_multiplier: scales the width, rounded to a multiple of the heads, or of twice as many if `rotary`.
    """

    width: int
    depth: int
    heads: int
    expansion: int = 4
    placement: Placement = Placement.PRE
    qk_norm: bool = False
    rotary: bool = False
    width_multiplier: float = 1.0

    @property
    def channels(self) -> int:
        """The channels of a token."""
        unit = self.heads * (2 if self.rotary else 1)
        return max(1, round(self.width * self.width_multiplier / unit)) * unit


class Attention(nn.Module):
    """Self-attention over tokens (b, t, channels).

    Args:
        config: of the block.
        layer: builds the norms of queries and keys.
        causal: whether a token sees itself and earlier ones alone.
    """

    def __init__(self, config: BlocksConfig, layer: TokenLayerBuilder, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal, self.rotary = config.heads, causal, config.rotary
        each = config.channels // config.heads
        self.inputs = Projection(config.channels, 3 * config.channels)
        self.norms = nn.ModuleList([layer.tokens(each), layer.tokens(each)] if config.qk_norm else [])
        self.output = Projection(config.channels, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens to tokens of the same shape."""
        b, t, c = x.shape
        q, k, v = self.inputs(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        if len(self.norms):
            q, k = (norm(part) for norm, part in zip(self.norms, (q, k), strict=True))
        if self.rotary:
            q, k = turned(q), turned(k)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        found: Tensor = self.output(seen.transpose(1, 2).reshape(b, t, c))
        return found


class TokenMap(nn.Module):
    """Two linear maps with GELU between, of each token by itself."""

    def __init__(self, config: BlocksConfig) -> None:
        super().__init__()
        hidden = config.expansion * config.channels
        self.inputs, self.output = Projection(config.channels, hidden), Projection(hidden, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (b, t, channels) to tokens of the same shape."""
        found: Tensor = self.output(F.gelu(self.inputs(x)))
        return found


class Residual(nn.Module):
    """A sub-layer with its residual and norms.

    Args:
        inner: attention or a map.
        number: that of its block, counted from 1.
        config: of the block.
        layer: builds the norms.
    """

    def __init__(self, inner: nn.Module, number: int, config: BlocksConfig, layer: TokenLayerBuilder) -> None:
        super().__init__()
        placement = config.placement
        if placement is Placement.MIX:
            placement = Placement.POST if 4 * number <= config.depth else Placement.PRE
        self.is_post = placement is Placement.POST
        self.share = 1 / math.sqrt(number) if placement is Placement.SCALED else 1.0
        self.norm, self.inner = layer.tokens(config.channels), inner
        self.after = layer.tokens(config.channels) if placement is Placement.PERI else None

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (b, t, channels) to tokens of the same shape."""
        if self.is_post:
            found: Tensor = self.norm(x + self.inner(x))
            return found
        read = self.norm(x)
        inner: Tensor = self.inner(read if self.share == 1.0 else read * self.share)
        return x + (inner if self.after is None else self.after(inner))


class Blocks(nn.Module):
    """A stack of blocks, with a norm of what comes in and of what goes out where the placement has one."""

    def __init__(self, config: BlocksConfig, layer: TokenLayerBuilder, *, causal: bool) -> None:
        super().__init__()
        width, placement = config.channels, config.placement
        has_first = placement in (Placement.MEGATRON, Placement.PERI)
        parts: list[nn.Module] = [layer.tokens(width)] if has_first else []
        for number in range(1, config.depth + 1):
            for inner in (Attention(config, layer, causal), TokenMap(config)):
                parts.append(Residual(inner, number, config, layer))
        self.parts = nn.Sequential(*parts)
        self.last = nn.Identity() if placement is Placement.POST else layer.tokens(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (b, t, channels) to tokens of the same shape."""
        found: Tensor = self.last(self.parts(x))
        return found


def waves(positions: Tensor, channels: int) -> Tensor:
    """Sines and cosines of positions in wavelengths from 2π to 2π · 10,000 (Vaswani et al. 2017).

    Args:
        positions: float32 (t,).
        channels: an even number.

    Returns:
        float32 (t, channels).
    """
    rates = torch.exp(torch.arange(channels // 2, device=positions.device) * (-2 * math.log(1e4) / channels))
    angles = positions[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def turned(x: Tensor) -> Tensor:
    """Turn channels in pairs by angles that follow from the position of a token (Su et al. 2021).

    The products of queries and keys then depend on how far apart they are. The pairs are channels i and i + c / 2, and
    the angles those of `waves`.

    Args:
        x: (..., t, c), c even.
    """
    t, c = x.shape[-2:]
    sines, cosines = waves(torch.arange(t, device=x.device, dtype=torch.float32), c).to(x.dtype).chunk(2, 1)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], -1)
