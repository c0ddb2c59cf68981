"""Which modules of a library compute a known activation, such as a Swish of its own, by what they compute."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.swapping.op_kinds import GATES, NORMS, OTHER_NORMS, may_be_activation

_KNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "leaky_relu(0.1)": lambda x: F.leaky_relu(x, 0.1),
    "leaky_relu(0.2)": lambda x: F.leaky_relu(x, 0.2),
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu(tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "gelu(sigmoid)": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "softplus": F.softplus,
}
_SAME = 1e-5
"""float32 of values up to 8, computed in another order."""


def known_activations(model: nn.Module) -> dict[nn.Module, str]:
    """The modules of a model that compute a known activation but are not one of PyTorch's, with its name.

    A module is tried on a copy of it, so that it stays as it is, if it has no parameters, no children, and no hooks.
    """
    found = {}
    for module in model.modules():
        plain = may_be_activation(module) and not isinstance(module, (*NORMS, *OTHER_NORMS, *GATES))
        if plain and not module._forward_hooks and not module._forward_pre_hooks and not list(module.buffers()):
            name = _name(module)
            if name is not None:
                found[module] = name
    return found


def _name(module: nn.Module) -> str | None:
    x = torch.linspace(-8.0, 8.0, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5).flip(1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            values = [copy.deepcopy(module).train(training)(x.clone()) for training in (True, False)]
        except Exception:  # a module of any kind, which may want other inputs
            return None
        for value in values:
            if not isinstance(value, Tensor) or value.shape != x.shape or value.dtype != x.dtype:
                return None
        for name, function in _KNOWN.items():
            if all((value - function(x)).abs().max() < _SAME for value in values):
                return name
    return None
