"""Which modules of a model compute the LayerNorm or RMSNorm of transformers, told by what they compute.

Libraries write these anew: LlamaRMSNorm, T5LayerNorm, ConvNeXt's LayerNorm2d for channels first. Such a module has one
or two vectors as parameters, and no children. A copy of it is tried on random tokens, (b, t, c), and then on images
(b, c, h, w). From a value for x and one for -x follow its weight and bias, whatever their names, and that Gemma adds 1
to its weight. Its eps follows from tokens that are as small as eps.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evonas.layers.norm_act import NormAct

_SAME = 1e-4
"""The relative difference below which a module computes a norm: many compute in float32, and cast on the way."""
_LARGE, _SMALL = 1e3, 1e-3
"""Scales of the tokens: one at which no eps matters, and one at which the usual ones do."""
_KINDS = {"LayerNorm": True, "RMSNorm": False}
"""The norms by name, with whether the mean is subtracted."""
_EPS_NAMES = ("eps", "variance_epsilon", "epsilon", "norm_eps", "layer_norm_eps")


@dataclass(frozen=True, slots=True)
class TokenNorm:
    """What a module computes: `weight · normalised + bias`.

    Attributes:
        kind: "LayerNorm" or "RMSNorm".
        channels: c.
        dim: the axis of the channels, -1 or 1.
        eps: what is added to the variance or the mean square.
        weight, bias: (c,); None where it has none.
    """

    kind: str
    channels: int
    dim: int
    eps: float
    weight: Tensor | None
    bias: Tensor | None


def token_norm(module: nn.Module) -> TokenNorm | None:
    """The norm of tokens that a module computes of its one input; None if it computes something else.

    The module stays as it is. It is not tried if it has children, buffers, hooks on its way, parameters of other
    shapes than (c,), or a forward with further arguments, such as a gate or a residual.
    """
    channels = _channels(module)
    if channels is None or not _takes_one(module):
        return None
    trial = copy.deepcopy(module).to("cpu", torch.float64).eval()
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trial.parameters():
            parameter.copy_(torch.randn(channels, generator=source, dtype=torch.float64) * 0.5 + 0.25)
        for dim, shape in ((-1, (3, 5, channels)), (1, (3, channels, 4, 5))):
            x = torch.randn(shape, generator=source, dtype=torch.float64) * 2 + 0.5
            for kind, centred in _KINDS.items():
                found = _measured(trial, _LARGE * x, dim, centred)
                if found is not None:
                    eps = _eps(module, trial, x, dim, centred, found)
                    return None if eps is None else TokenNorm(kind, channels, dim, eps, *_affine(module, trial, found))
    return None


def _channels(module: nn.Module) -> int | None:
    """The length of a module's vectors; None if it is none that could be a norm of tokens."""
    if isinstance(module, NormAct) or any(True for _ in module.children()) or list(module.buffers()):
        return None
    if module._forward_hooks or module._forward_pre_hooks:  # a trial would call them
        return None
    shapes = {tuple(parameter.shape) for parameter in module.parameters()}
    if not shapes and isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        shapes = {tuple(module.normalized_shape)}
    if len(shapes) != 1 or len(list(module.parameters())) > 2:
        return None
    (shape,) = shapes
    return shape[0] if len(shape) == 1 and shape[0] > 1 else None


def _takes_one(module: nn.Module) -> bool:
    try:
        return len(inspect.signature(module.forward).parameters) == 1
    except (TypeError, ValueError):  # a forward of any kind
        return False


def _normalised(x: Tensor, dim: int, centred: bool, eps: float) -> Tensor:
    if centred:
        x = x - x.mean(dim, keepdim=True)
    return x * torch.rsqrt(x.square().mean(dim, keepdim=True) + eps)


def _along(dim: int, vector: Tensor, x: Tensor) -> Tensor:
    """A vector as it is multiplied with x, one value for each index of an axis."""
    return vector.view([-1 if axis == dim % x.dim() else 1 for axis in range(x.dim())])


def _value(trial: nn.Module, x: Tensor) -> Tensor | None:
    try:
        y = trial(x.clone())
    except Exception:  # a module of any kind, which may want other inputs
        return None
    fits = isinstance(y, Tensor) and y.shape == x.shape and y.is_floating_point() and bool(y.isfinite().all())
    return y.double() if fits else None


def _measured(trial: nn.Module, x: Tensor, dim: int, centred: bool) -> tuple[Tensor, Tensor] | None:
    """The weight and bias with which a module computes a norm; None if it does not compute it."""
    one, other = _value(trial, x), _value(trial, -x)
    if one is None or other is None:
        return None
    z = _normalised(x, dim, centred, 0.0)
    over = [axis for axis in range(x.dim()) if axis != dim % x.dim()]
    odd, even = (one - other) / 2, (one + other) / 2
    weight, bias = (odd * z).sum(over) / (z * z).sum(over), even.mean(over)
    again = z * _along(dim, weight, x) + _along(dim, bias, x)
    scale = 1.0 + float(one.abs().max())
    return (weight, bias) if float((again - one).abs().max()) < _SAME * scale else None


def _eps(
    module: nn.Module, trial: nn.Module, x: Tensor, dim: int, centred: bool, affine: tuple[Tensor, Tensor]
) -> float | None:
    """The eps of a norm: that of its attribute if it computes with it, or else what it seems to compute with."""
    weight, bias = (_along(dim, vector, x) for vector in affine)
    small = _SMALL * x
    y = _value(trial, small)
    if y is None:
        return None

    def agrees(eps: float) -> bool:
        right = _normalised(small, dim, centred, eps) * weight + bias
        return float((right - y).abs().max()) < _SAME * (1.0 + float(y.abs().max()))

    for name in _EPS_NAMES:
        given = getattr(module, name, None)
        if isinstance(given, float) and 0.0 < given < 1.0 and agrees(given):
            return given
    centre = small - small.mean(dim, keepdim=True) if centred else small
    scaled = centre * weight
    # Of each token, y - bias is `scaled` over the root of its mean square and eps.
    inverse = ((y - bias) * scaled).sum(dim) / scaled.square().sum(dim)
    measured = float((1 / inverse.square() - centre.square().mean(dim)).median().clamp(1e-12, 0.1))
    return measured if agrees(measured) else None


def _affine(
    module: nn.Module, trial: nn.Module, measured: tuple[Tensor, Tensor]
) -> tuple[Tensor | None, Tensor | None]:
    """The weight and bias of a module: its own tensors where they are what was measured with those of the trial."""
    found: list[Tensor | None] = []
    own = dict(module.named_parameters())
    for what in measured:
        match: Tensor | None = None
        for name, tried in trial.named_parameters():
            for plus in (0.0, 1.0):
                if float((tried + plus - what).abs().max()) < _SAME:
                    match = own[name].detach() + plus if plus else own[name].detach()
        found.append(match)
    return found[0], found[1]
