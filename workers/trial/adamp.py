"""AdamP (Heo et al. 2021, "AdamP: Slowing Down the Slowdown for Momentum Optimizers", arXiv 2006.08217).

Momentum lengthens weights before a normalisation, whose length makes no difference to the network, and long weights
turn slowly. AdamP takes from a step what only lengthens such weights. These are found by their gradient, which is at
right angles to them: channel by channel, or else over the whole weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class AdamP(torch.optim.Optimizer):
    """AdamP with decoupled weight decay (algorithm 2 of the paper).

    Args:
        parameters: what to train, or groups of it as dictionaries.
        lr: learning rate.
        betas: of the running means of the gradient and of its square.
        eps: is added to the root of the latter.
        weight_decay: a step takes lr · weight_decay of a weight off, and `decay_share` of that from one whose step was
            shortened.
        delta: a weight of n values counts as at right angles to its gradient if the cosine of their angle is below
            delta / √n.
        decay_share: as said.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        delta: float = 0.1,
        decay_share: float = 0.1,
    ) -> None:
        super().__init__(
            parameters,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "delta": delta,
                "decay_share": decay_share,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step; ``closure``, if given, computes the loss again and its value is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        return loss

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        (first, second), step = group["betas"], state["step"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (state["square"] / (1 - second**step)).sqrt_().add_(group["eps"])
        move, share = state["mean"] / root, 1.0
        if weight.dim() > 1:
            move, is_projected = _projected(weight, gradient, move, group["delta"], group["eps"])
            share = group["decay_share"] if is_projected else 1.0
        weight.mul_(1 - group["lr"] * group["weight_decay"] * share)
        weight.add_(move, alpha=-group["lr"] / (1 - first**step))


def _projected(weight: Tensor, gradient: Tensor, move: Tensor, delta: float, eps: float) -> tuple[Tensor, bool]:
    """A step without its part along the weight, and True; or the step as it is, if its length is not without effect."""
    for rows in (len(weight), 1):
        w, g, m = (part.reshape(rows, -1) for part in (weight, gradient, move))
        lengths = w.norm(dim=1, keepdim=True)
        cosine = (w * g).sum(1, keepdim=True).abs() / (lengths * g.norm(dim=1, keepdim=True) + eps)
        if float(cosine.max()) < delta / math.sqrt(w.shape[1]):
            unit = w / (lengths + eps)
            return (m - unit * (unit * m).sum(1, keepdim=True)).view_as(weight), True
    return move, False
