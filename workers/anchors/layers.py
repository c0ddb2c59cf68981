"""The parts that all anchor families share: `LayerBuilder`, convolutions, classifier, and initial weights."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn


class LayerBuilder(Protocol):
    """Builds the layer under search at each of its positions in a network.

    Both methods return a module that keeps the shape (b, channels, h, w) of its input.
    `evonas.LayerFactory` is the implementation that a search passes to anchors.
    """

    def norm_act(self, channels: int) -> nn.Module:
        """Build the layer for a position with normalisation and activation."""
        ...

    def norm(self, channels: int) -> nn.Module:
        """Build the layer for a position with normalisation but no activation, as after a linear bottleneck."""
        ...


class TokenLayerBuilder(Protocol):
    """Builds the layer under search for the norms of a transformer, as `evonas.LayerFactory` does."""

    def tokens(self, channels: int) -> nn.Module:
        """Build a layer that keeps the shape (b, ..., channels) of its input."""
        ...


class Conv(nn.Conv2d):
    """A square convolution without bias that keeps h and w at stride 1 (odd kernels only)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class Dense(nn.Linear):
    """A linear map of averaged channels, (b, inputs) to (b, outputs), as in squeeze-and-excitation."""


class Projection(nn.Linear):
    """A linear map of tokens (b, t, inputs) to (b, t, outputs)."""


class Patches(nn.Conv2d):
    """A linear map of the patches of an image, (b, inputs, h, w) to (b, outputs, ⌊h / size⌋, ⌊w / size⌋)."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, size, stride=size)


class LearnedTokens(nn.Module):
    """Learned tokens (1, count, channels), such as a class token and positions."""

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, count, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens for each sample of x, (b, ...)."""
        return self.weight.expand(x.shape[0], -1, -1)


class TokenEmbedding(nn.Embedding):
    """A learned table of tokens, int64 (b, t) to (b, t, channels)."""


class TokenTable(nn.Embedding):
    """The same for a network whose output has its weights, too."""


class Modulation(nn.Linear):
    """A linear map that starts close to 0: of a condition to scales, shifts and gates, or of tokens to an output."""


class TokenClassifier(nn.Linear):
    """A linear map of features (b, channels) to logits (b, classes)."""


class TokenOutput(nn.Linear):
    """A linear map of features (b, t, channels) to the logits of tokens, (b, t, tokens)."""


class Classifier(nn.Module):
    """Average over h and w, then a linear map: (b, channels, h, w) to (b, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (b, channels, h, w) to logits (b, classes)."""
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the published initial weights of the modules that this file defines.

    Convolutions and dense maps are normal with variance 2 / fan-out (He et al. 2015). As in EfficientNet's code, the
    fan-out counts the outputs that one input reaches: without the division by the groups, a depthwise convolution
    would start near zero. The classifier is normal with a standard deviation of 0.01, as in MobileNetV2, and so is
    that of tokens. Maps of tokens and of patches are normal with the variance of Glorot and Bengio 2010, 2 / (inputs
    + outputs), as in the released code of ViT; learned tokens and tables of tokens are normal with 0.02, as in those of
    DeiT and GPT-2, and so are modulations; maps to tokens are normal with 0.05, since smaller ones slow networks with a
    norm at the end. Embeddings of tokens have variance 1, as what comes out of those of Vaswani et al. 2017 has, so
    that layers without statistics see more than 0. Biases start at 0. Modules made by a layer builder are left as they
    are.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, TokenTable)}
    for module in model.modules():
        if isinstance(module, Conv):
            fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out), generator=generator)
        elif isinstance(module, Dense):
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / module.out_features), generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Projection | Patches):
            nn.init.xavier_normal_(module.weight.flatten(1), generator=generator)
            _zero(module.bias)
        elif isinstance(module, TokenEmbedding):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, LearnedTokens | TokenTable):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
        elif isinstance(module, TokenOutput):
            if id(module.weight) not in tables:
                nn.init.normal_(module.weight, 0.0, 0.05, generator=generator)
            _zero(module.bias)
        elif isinstance(module, Modulation):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
            _zero(module.bias)
        elif isinstance(module, Classifier | TokenClassifier):
            linear = module if isinstance(module, TokenClassifier) else module.linear
            nn.init.normal_(linear.weight, 0.0, 0.01, generator=generator)
            _zero(linear.bias)


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)


def scaled_width(channels: int, multiplier: float, divisor: int = 8) -> int:
    """Return ``channels`` times ``multiplier``, rounded to a multiple of ``divisor``.

    This is the rule of the published MobileNet and EfficientNet code: the result is at least one divisor, and
    never more than 10% below the exact product.
    """
    exact = channels * multiplier
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded
