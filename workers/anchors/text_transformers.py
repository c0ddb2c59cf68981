"""Transformers that read text: they foretell the next token, or tokens that are masked.

Text comes as images do, (b, 1, 1, t + 1): a window of t tokens and the one after it, as float32 whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evonas.errors import UsageError
from evonas.layers.norm_act import NormAct
from evonas.workers.anchors.goals import IGNORED, Prediction
from evonas.workers.anchors.layers import (
    LearnedTokens,
    TokenEmbedding,
    TokenLayerBuilder,
    TokenOutput,
    TokenTable,
)
from evonas.workers.anchors.own_draws import OwnDraws
from evonas.workers.anchors.transformer import Blocks, BlocksConfig, Placement

MASKED = 0.15
"""Share of the tokens that an encoder is asked for."""


@dataclass(frozen=True)
class TextConfig:
    """The configuration of a transformer that reads text.

    Attributes:
        blocks: that of its blocks.
        learned: the largest number of tokens, whose positions are learned, with one table for embeddings and output, as
            published. None for blocks with rotary positions, which fit windows of any length, and an output of its own.
    """

    blocks: BlocksConfig
    learned: int | None = None


GPT2_SMALL = TextConfig(BlocksConfig(768, 12, 12), 1024)
"""GPT-2's smallest (Radford et al. 2019; 124 M parameters with 50,257 tokens)."""
GPT_SMALL = TextConfig(BlocksConfig(48, 2, 3, 2, rotary=True))
GPT_DEEP = TextConfig(BlocksConfig(48, 12, 3, 2, rotary=True))
ENCODER_SMALL = TextConfig(BlocksConfig(48, 2, 3, 2, Placement.POST, rotary=True))
ENCODER_DEEP = TextConfig(BlocksConfig(48, 12, 3, 2, Placement.POST, rotary=True))


class TextTransformer(nn.Module):
    """Embeddings of tokens, and of their positions if these are learned, blocks, and the likelihood of each token.

    Args:
        config: the configuration.
        layer: builds the norms.
        tokens: how many different ones there are.
        causal: whether a token sees itself and earlier ones alone.
    """

    reads = "text"
    goal = "tokens"

    def __init__(self, config: TextConfig, layer: TokenLayerBuilder, tokens: int, *, causal: bool) -> None:
        super().__init__()
        width = config.blocks.channels
        self.embedding: nn.Embedding
        if config.learned is None:
            self.embedding, self.places = TokenEmbedding(tokens, width), None
        else:
            self.embedding, self.places = TokenTable(tokens, width), LearnedTokens(config.learned, width)
        self.blocks = Blocks(config.blocks, layer, causal=causal)
        self.output = TokenOutput(width, tokens, bias=False)
        if config.learned is not None:
            self.output.weight = self.embedding.weight

    def logits(self, tokens: Tensor) -> Tensor:
        """Map tokens, int64 (b, t), to logits (b, t, tokens)."""
        embedded = self.embedding(tokens)
        if self.places is not None:
            embedded = embedded + self._places(embedded)
        found: Tensor = self.output(self.blocks(embedded))
        return found

    def _places(self, embedded: Tensor) -> Tensor:
        assert self.places is not None
        places: Tensor = self.places(embedded)
        if places.shape[1] < embedded.shape[1]:
            raise UsageError(f"windows of {embedded.shape[1]} tokens are longer than this network's {places.shape[1]}")
        return places[:, : embedded.shape[1]]


class GPT(TextTransformer):
    """A causal language model (Radford et al. 2019).

    Raises:
        UsageError: the layer mixes positions, so that a token would see later ones.
    """

    causal = True

    def __init__(self, config: TextConfig, layer: TokenLayerBuilder, *, in_channels: int, classes: int) -> None:
        super().__init__(config, layer, classes, causal=True)
        for module in self.modules():
            graph = module.graph if isinstance(module, NormAct) else None
            if graph.mixes_positions if graph is not None else getattr(module, "mixes_positions", False):
                name = type(module).__name__ if graph is None else graph.expression()
                raise UsageError(
                    f"a causal network cannot have the layer {name}: its statistics over positions would show a token "
                    "the later ones"
                )

    def forward(self, x: Tensor) -> Prediction:
        """Map windows (b, 1, 1, t + 1) to the logits of each next token."""
        tokens = x.flatten(1).long()
        return Prediction(self.logits(tokens[:, :-1]), tokens[:, 1:])


class Encoder(TextTransformer):
    """A model of masked tokens (Devlin et al. 2019): `MASKED` of each window, and others at every call in training."""

    def __init__(self, config: TextConfig, layer: TokenLayerBuilder, *, in_channels: int, classes: int) -> None:
        super().__init__(config, layer, classes + 1, causal=False)  # the last one is the mask
        self.draws = OwnDraws()

    def forward(self, x: Tensor) -> Prediction:
        """Map windows (b, 1, 1, t + 1) to the logits of the tokens that were masked."""
        tokens = x.flatten(1)[:, :-1].long()
        count = max(1, round(MASKED * tokens.shape[1]))
        chosen = torch.rand(tokens.shape, generator=self.draws()).topk(count, 1).indices.to(tokens.device)
        masked = torch.zeros_like(tokens, dtype=torch.bool).scatter_(1, chosen, True)
        logits = self.logits(tokens.masked_fill(masked, self.embedding.num_embeddings - 1))
        return Prediction(logits, tokens.masked_fill(~masked, IGNORED))
