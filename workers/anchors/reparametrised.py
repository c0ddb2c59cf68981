"""Weights that are normalised themselves, as an option of any anchor: ``resnet-small+ws``.

Layers that normalise activations are often compared with, or helped by, weights that are normalised before they are
used. Each class computes the weight that a convolution or a linear map uses from the one that is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class WeightStandardisation(nn.Module):
    """Weight standardisation (Qiao et al. 2019, arXiv 1903.10520, equation 5): mean 0 and deviation 1 for each output.

    The weight (outputs, inputs, …) is w = (v − mean(v)) / (std(v) + 1e-5), with the unbiased deviation of the released
    code; an output with a single weight has the biased one, which is 0.
    """

    def forward(self, v: Tensor) -> Tensor:
        """Return the weight that is used."""
        rows = v.flatten(1)
        deviation = rows.std(1, correction=min(1, rows.shape[1] - 1), keepdim=True)
        return ((rows - rows.mean(1, keepdim=True)) / (deviation + 1e-5)).view_as(v)


class ScaledWeightStandardisation(nn.Module):
    """Scaled weight standardisation (Brock, De and Smith 2021, arXiv 2101.08692, equation 1), with a trained gain.

    The weight (outputs, inputs, …) is w = g (v − mean(v)) / √max(n var(v), 1e-4) for the n weights of each output, as
    in the released code of NFNets, so that activations of variance 1 keep it. The gain g, (outputs,), starts at 1. The
    paper's constant for the activation is left out: the layer under search has a gain of its own.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(outputs))

    def forward(self, v: Tensor) -> Tensor:
        """Return the weight that is used."""
        rows = v.flatten(1)
        variance, mean = torch.var_mean(rows, 1, correction=0, keepdim=True)
        scale = self.gain[:, None] * (variance * rows.shape[1]).clamp_min(1e-4).rsqrt()
        return ((rows - mean) * scale).view_as(v)


class SigmaReparametrisation(nn.Module):
    """σReparam (Zhai et al. 2023, arXiv 2303.06296, equation 5): the weight divided by its spectral norm.

    The weight (outputs, inputs, …), as a matrix of its outputs by all the rest, is w = γ v / σ(v). γ is trained and
    starts at 1. σ is uᵀ v z with the singular vectors u and z, which one step of power iteration follows at each use in
    training; they start after fifteen steps.
    """

    u: Tensor
    z: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones((), dtype=weight.dtype))
        rows = weight.detach().flatten(1)
        self.register_buffer("u", nn.functional.normalize(rows.sum(1) + 1e-3, dim=0))  # drawn from no random state
        self.register_buffer("z", nn.functional.normalize(rows.T @ self.u, dim=0))
        for _ in range(15):
            self._follow(rows)

    def forward(self, v: Tensor) -> Tensor:
        """Return the weight that is used."""
        rows = v.flatten(1)
        if self.training:
            self._follow(rows.detach())
        sigma = self.u.clone() @ (rows @ self.z.clone())  # copies, because the next use changes them
        return v * (self.gamma / sigma)

    def _follow(self, rows: Tensor) -> None:
        """Do a step of power iteration."""
        with torch.no_grad():
            self.u.copy_(nn.functional.normalize(rows @ self.z, dim=0))
            self.z.copy_(nn.functional.normalize(rows.T @ self.u, dim=0))


OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "ws": "weight standardisation of convolutions",
        "sws": "scaled weight standardisation of convolutions",
        "sigma": "σReparam of convolutions and linear maps",
    }
)
"""What may follow the name of an anchor after a +."""


def reparametrise(network: nn.Module, option: str) -> None:
    """Have a network's weights computed as an option says, in place; its initial weights are those that are trained.

    Args:
        network: any network.
        option: a key of :data:`OPTIONS`.
    """
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    for module in list(network.modules()):
        is_table = id(getattr(module, "weight", None)) in tables  # shared, so it stays what the embedding has
        if option == "sigma" and isinstance(module, (*convolutions, nn.Linear)) and not is_table:
            parametrize.register_parametrization(module, "weight", SigmaReparametrisation(module.weight), unsafe=True)
        elif option == "ws" and isinstance(module, convolutions):
            parametrize.register_parametrization(module, "weight", WeightStandardisation())
        elif option == "sws" and isinstance(module, convolutions):
            own = ScaledWeightStandardisation(module.out_channels).to(module.weight)
            parametrize.register_parametrization(module, "weight", own)


def trained_weight(module: nn.Module) -> Tensor:
    """The parameter behind the weight of a convolution or a linear map, whether it is computed from it or is it.

    If it is computed from several, as by PyTorch's own `weight_norm`, it is the largest.
    """
    if parametrize.is_parametrized(module, "weight"):
        parametrization: nn.Module = module.parametrizations.weight  # type: ignore[union-attr,assignment]  # torch types it so
        return max(parametrization.parameters(recurse=False), key=Tensor.numel)
    weight: Tensor = module.weight  # type: ignore[assignment]  # likewise
    return weight
