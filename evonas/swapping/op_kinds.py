"""What counts as a normalisation, as an activation, and as neither, when a model is searched for pairs of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx, nn
from torch.nn import functional as F

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.InstanceNorm2d)
LAZY = (nn.LazyBatchNorm2d, nn.LazyInstanceNorm2d)
"""They become what they stand for when they first see an input."""
OTHER_NORMS = (
    *LAZY,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.BatchNorm1d,
    nn.BatchNorm3d,
    nn.InstanceNorm1d,
    nn.InstanceNorm3d,
)
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
"""Their bounded range is what they are for, so that a layer in their place would be another network."""

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


def own_forward(norm: nn.Module) -> bool:
    """Whether a class derived from a normalisation does something else than that."""
    base = next(cls for cls in NORMS if isinstance(norm, cls))
    return type(norm).forward is not base.forward


def activation_inside(norm: nn.Module, activations: tuple[type, ...]) -> nn.Module | None:
    """The activation that a normalisation carries in its attribute `act`, as the norm-act layers of timm do."""
    act, drop = getattr(norm, "act", None), getattr(norm, "drop", None)
    plain = isinstance(act, (*activations, nn.Identity)) and (drop is None or isinstance(drop, nn.Identity))
    return act if plain else None


def activation_of(node: fx.Node, called: nn.Module | None, extra: Sequence[type] = ()) -> str | None:
    """The name of the activation that a node is a call of; None for anything else."""
    if called is not None:
        return type(called).__name__ if isinstance(called, (*ACTIVATIONS, *extra)) else None
    if node.op == "call_function":
        return node.target.__name__ if node.target in _FUNCTIONS else None  # type: ignore[union-attr]  # a function
    return str(node.target) if node.op == "call_method" and str(node.target).removesuffix("_") in _NAMES else None


def gate_of(node: fx.Node, called: nn.Module | None) -> str | None:
    """The name of the gate that a node is a call of; None for anything else."""
    if called is not None:
        return type(called).__name__ if isinstance(called, GATES) else None
    if node.op == "call_function":
        return node.target.__name__ if node.target in _GATE_FUNCTIONS else None  # type: ignore[union-attr]  # likewise
    return str(node.target) if node.op == "call_method" and str(node.target).removesuffix("_") in _GATES else None


def unknown_function(called: nn.Module | None) -> bool:
    """Whether a module may be an activation that we do not know: somebody's own, with nothing in it."""
    if called is None or type(called).__module__.startswith("torch.nn."):
        return False
    return not any(True for _ in called.parameters()) and not any(True for _ in called.children())


def in_words(node: fx.Node, called: nn.Module | None) -> str:
    """What a node does, for a person."""
    if called is not None:
        return type(called).__name__
    return getattr(node.target, "__name__", str(node.target))
