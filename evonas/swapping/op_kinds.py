"""Which modules and functions `swap` regards as normalisations, activations or gates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
LAZY = (
    nn.LazyBatchNorm1d,
    nn.LazyBatchNorm2d,
    nn.LazyBatchNorm3d,
    nn.LazyInstanceNorm1d,
    nn.LazyInstanceNorm2d,
    nn.LazyInstanceNorm3d,
)
"""Normalisations that are initialised by their first input."""
OTHER_NORMS = (*LAZY, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)
ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
)
GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardtanh, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.GLU)
"""Modules that bound their output on purpose, so a layer must not replace them."""

_NAMES = (
    "relu",
    "relu6",
    "leaky_relu",
    "rrelu",
    "elu",
    "celu",
    "selu",
    "gelu",
    "silu",
    "mish",
    "hardswish",
    "softplus",
)
_GATES = ("sigmoid", "hardsigmoid", "tanh", "hardtanh", "softmax", "log_softmax", "glu")


def _functions(names: tuple[str, ...]) -> set[object]:
    return {
        getattr(place, n + end) for place in (F, torch) for n in names for end in ("", "_") if hasattr(place, n + end)
    }


_FUNCTIONS, _GATE_FUNCTIONS = _functions(_NAMES), _functions(_GATES)


def looks_like_norm(module: nn.Module) -> bool:
    """Return whether a module without children is a normalisation by the name of its class, such as LlamaRMSNorm."""
    named = "norm" in type(module).__name__.lower() and not type(module).__module__.startswith("torch.nn.utils")
    return named and not any(True for _ in module.children())


def has_own_forward(norm: nn.Module) -> bool:
    """Return whether the class of a normalisation overrides the forward of its PyTorch class."""
    base = next(cls for cls in NORMS if isinstance(norm, cls))
    return type(norm).forward is not base.forward


def activation_inside(norm: nn.Module, is_activation: Callable[[nn.Module], bool]) -> nn.Module | None:
    """Return the activation that a normalisation with a forward of its own applies at its end, or an identity.

    It is in the attribute `act`, as in timm's norm-act layers, or the only child, if that is what the module computes.
    """
    act, drop = getattr(norm, "act", None), getattr(norm, "drop", None)
    if isinstance(act, nn.Module):
        known = isinstance(act, nn.Identity) or is_activation(act)
        return act if known and (drop is None or isinstance(drop, nn.Identity)) else None
    children = list(norm.children())
    if len(children) == 1 and is_activation(children[0]) and _ends_with(norm, children[0]):
        return children[0]
    return None


def _ends_with(norm: nn.Module, act: nn.Module) -> bool:
    """Whether a normalisation computes what its PyTorch class does, and an activation of that."""
    base: Any = next(cls for cls in NORMS if isinstance(norm, cls))
    channels = getattr(norm, "num_features", None) or getattr(norm, "num_channels", None)
    rank = next((rank for rank in (1, 2, 3) if f"{rank}d" in base.__name__), 2)
    weight = next(norm.parameters(), torch.empty(0))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        x = torch.randn(3, int(channels or 1), *[4] * rank).to(weight)
        try:
            for training in (True, False):
                one, other = copy.deepcopy(norm).train(training), copy.deepcopy(norm).train(training)
                # Both compute the same operations on the same values.
                if not torch.allclose(one(x), copy.deepcopy(act)(base.forward(other, x)), rtol=1e-5, atol=1e-6):
                    return False
        except Exception:  # a forward of any kind, which may want other inputs
            return False
    return True


def activation_of(node: fx.Node, called: nn.Module | None, extra: Sequence[type] = ()) -> str | None:
    """Return the name of the activation that a node calls; None if it calls anything else."""
    if called is not None:
        return type(called).__name__ if isinstance(called, (*ACTIVATIONS, *extra)) else None
    if node.op == "call_function":
        return node.target.__name__ if node.target in _FUNCTIONS else None  # type: ignore[union-attr]  # a function
    return str(node.target) if node.op == "call_method" and str(node.target).removesuffix("_") in _NAMES else None


def gate_of(node: fx.Node, called: nn.Module | None) -> str | None:
    """Return the name of the gate that a node calls; None if it calls anything else."""
    if called is not None:
        return type(called).__name__ if isinstance(called, GATES) else None
    if node.op == "call_function":
        return node.target.__name__ if node.target in _GATE_FUNCTIONS else None  # type: ignore[union-attr]  # a function
    return str(node.target) if node.op == "call_method" and str(node.target).removesuffix("_") in _GATES else None


def may_be_activation(called: nn.Module | None) -> bool:
    """Return whether a module may be an unknown activation, without parameters or children."""
    if called is None or type(called).__module__.startswith("torch.nn."):
        return False
    return not any(True for _ in called.parameters()) and not any(True for _ in called.children())


def describe(node: fx.Node, called: nn.Module | None) -> str:
    """Return the name of the module, function or method that a node calls."""
    if called is not None:
        return type(called).__name__
    return getattr(node.target, "__name__", str(node.target))
