"""Diffusion transformers (Peebles and Xie 2023): they find the noise that was added to images.

Their norms have no scale and shift of their own: the time of the diffusion sets both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.errors import UsageError
from evonas.workers.anchors.goals import Prediction
from evonas.workers.anchors.layers import Modulation, Patches, Projection, TokenLayerBuilder
from evonas.workers.anchors.own_draws import OwnDraws
from evonas.workers.anchors.transformer import Attention, BlocksConfig, Placement, TokenMap, waves
from evonas.workers.anchors.vit import grid_waves

TIMES = 1000
"""Steps of the diffusion, with variances that rise linearly from 0.0001 to 0.02 (Ho et al. 2020)."""
_WAVES = 256
"""Sines and cosines of a time."""


@dataclass(frozen=True)
class DiTConfig:
    """The configuration of a diffusion transformer.

    Attributes:
        blocks: that of its blocks, which have their norms before each sub-layer.
        patch: height and width of a patch.
    """

    blocks: BlocksConfig
    patch: int


DIT_SMALL_2 = DiTConfig(BlocksConfig(384, 12, 6), 2)
"""DiT-S/2 (33 M parameters), which denoises latent images of 32×32 with 4 channels."""
DIT_SMALL = DiTConfig(BlocksConfig(48, 3, 4, 2), 4)


class ModulatedBlock(nn.Module):
    """Attention and a map, each of a norm whose scale, shift and weight follow from the condition (adaLN)."""

    def __init__(self, config: BlocksConfig, layer: TokenLayerBuilder) -> None:
        super().__init__()
        width = config.channels
        self.inner = nn.ModuleList([Attention(config, layer, causal=False), TokenMap(config)])
        self.norms = nn.ModuleList([without_affine(layer.tokens(width)) for _ in self.inner])
        self.modulation = Modulation(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map tokens (b, t, channels) and conditions (b, channels) to tokens of the same shape."""
        parts = self.modulation(F.silu(condition)).unsqueeze(1).chunk(6, 2)
        for number, (norm, inner) in enumerate(zip(self.norms, self.inner, strict=True)):
            shift, scale, gate = parts[3 * number : 3 * number + 3]
            x = x + gate * inner(norm(x) * (1 + scale) + shift)
        return x


class DiT(nn.Module):
    """A diffusion transformer that is not told the class of an image.

    It has neither the published table of classes, nor outputs for a learned variance. Modulations start close to 0 and
    not at it, so that the filters of a search see through the blocks.

    Raises:
        UsageError: norms are placed where the network has none.
    """

    goal = "noise"
    shares: Tensor

    def __init__(self, config: DiTConfig, layer: TokenLayerBuilder, *, in_channels: int, classes: int) -> None:
        super().__init__()
        if config.blocks.placement is not Placement.PRE:
            raise UsageError("a diffusion transformer has its norms where its modulation is: leave out the placement")
        width, self.patch = config.blocks.channels, config.patch
        self.patches = Patches(in_channels, width, config.patch)
        self.time = nn.Sequential(Projection(_WAVES, width), nn.SiLU(), Projection(width, width))
        self.blocks = nn.ModuleList([ModulatedBlock(config.blocks, layer) for _ in range(config.blocks.depth)])
        self.norm, self.modulation = without_affine(layer.tokens(width)), Modulation(width, 2 * width)
        self.output = Modulation(width, config.patch**2 * in_channels)
        self.draws = OwnDraws()
        kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, TIMES, dtype=torch.float64), 0)
        self.register_buffer("shares", kept.float(), persistent=False)

    def forward(self, x: Tensor) -> Prediction:
        """Map images (b, in_channels, h, w) to the noise in them, of whole patches: (b, in_channels, h', w')."""
        generator = self.draws()
        side = [size // self.patch * self.patch for size in x.shape[2:]]
        clean = x[..., : side[0], : side[1]]
        noise = torch.randn(clean.shape, generator=generator).to(x)
        times = torch.randint(TIMES, (len(x),), generator=generator).to(x.device)
        share = self.shares[times].view(-1, 1, 1, 1).to(x.dtype)
        return Prediction(self.noise_in(share.sqrt() * clean + (1 - share).sqrt() * noise, times), noise)

    def noise_in(self, noisy: Tensor, times: Tensor) -> Tensor:
        """Return the noise that the network finds in images (b, in_channels, h, w) at times, int64 (b,)."""
        features = self.patches(noisy)
        b, width, h, w = features.shape
        tokens = features.flatten(2).transpose(1, 2)
        tokens = tokens + grid_waves(h, w, width, tokens)
        condition = self.time(waves(times.float(), _WAVES).to(tokens.dtype))
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.modulation(F.silu(condition)).unsqueeze(1).chunk(2, 2)
        found: Tensor = self.output(self.norm(tokens) * (1 + scale) + shift)
        patches = found.view(b, h, w, self.patch, self.patch, noisy.shape[1]).permute(0, 5, 1, 3, 2, 4)
        return patches.reshape(b, noisy.shape[1], h * self.patch, w * self.patch)


def without_affine(layer: nn.Module) -> nn.Module:
    """Have a layer's scale and shift stay at 1 and 0, as they start; the parameters of its graph are trained."""
    for name in ("weight", "bias"):
        parameter = getattr(layer, name, None)
        if isinstance(parameter, nn.Parameter):
            parameter.requires_grad_(False)
    return layer
