"""The weights of a network that the filters look at."""

from __future__ import annotations

from torch import Tensor, nn

from evonas.workers.anchors.layers import LearnedTokens
from evonas.workers.anchors.reparametrised import trained_weight


def judged_weights(network: nn.Module) -> list[Tensor]:
    """The weights whose gradients tell how a signal comes through a network, in their order.

    Those of the convolutions, as Liu et al. 2020 have it, where these are at least half of the weights by their number.
    Otherwise, as in transformers, every trained parameter of rank two and more but those of the classifier, which is
    the last `nn.Linear`, and embeddings, through which no signal comes.

    Args:
        network: a network with an `nn.Linear`.
    """
    convolutions = [trained_weight(m) for m in network.modules() if isinstance(m, nn.Conv2d)]
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    embeddings = [m for m in network.modules() if isinstance(m, LearnedTokens | nn.Embedding)]
    without = {id(p) for m in (*linear[-1:], *embeddings) for p in m.parameters()}
    every: list[Tensor] = [p for p in network.parameters() if p.requires_grad and p.dim() >= 2 and id(p) not in without]
    if convolutions and 2 * len(convolutions) >= len(every):
        return convolutions
    return every or [trained_weight(m) for m in linear]  # of a network that is its classifier alone
