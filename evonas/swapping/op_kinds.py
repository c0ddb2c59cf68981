"""Which modules and functions `swap` regards as normalisations, activations or gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    """Return the activation in a normalisation's attribute `act`, as in timm's norm-act layers, or its identity."""
    act, drop = getattr(norm, "act", None), getattr(norm, "drop", None)
    if not isinstance(act, nn.Module) or not (drop is None or isinstance(drop, nn.Identity)):
        return None
    return act if isinstance(act, nn.Identity) or is_activation(act) else None


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
