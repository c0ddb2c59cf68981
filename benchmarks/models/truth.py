"""The true pairs of a model: each normalisation whose output only an activation reads, found by running the model.

This is what a person would name, and it shares no code with `swap`: calls of PyTorch's functions are watched while the
model runs, and whoever reads what a normalisation returned is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

NORMS = "batch_norm", "group_norm", "instance_norm"
"""Functions that normalise channels."""
ACTIVATIONS = (
    "relu",
    "relu6",
    "leaky_relu",
    "prelu",
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
_LOOKS = "__get__", "size", "dim", "numel", "stride", "is_contiguous", "is_floating_point", "type", "element_size"
"""Calls that read what a tensor is like and not its values."""
_SWISH = ["mul", "sigmoid"]


class _Readers(TorchFunctionMode):
    """Notes who reads the outputs of normalisations."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.calls: list[tuple[str, str, list[str]]] = []  # the module, its function, and who reads the output
        self._made: dict[int, tuple[Tensor, list[str]]] = {}  # the tensors are kept, so that no other has their number

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function, and note it as a reader of its arguments."""
        name = func.__name__.strip("_") or func.__name__
        read = [self._made[id(one)] for one in _tensors((args, kwargs)) if id(one) in self._made]
        found = func(*args, **(kwargs or {}))
        if func.__name__ in _LOOKS:
            return found
        drops_nothing = name in ("dropout", "alpha_dropout", "feature_dropout") and _rate(args, kwargs) == 0.0
        for _, readers in read:
            if not drops_nothing:
                readers.append("relu6" if name == "hardtanh" and _limits(args, kwargs) == (0.0, 6.0) else name)
        if isinstance(found, Tensor):
            self._made.pop(id(found), None)  # in place: from now on it is what the function made of it
            if name in NORMS and self.running:
                read_by: list[str] = []
                self.calls.append((self.running[-1], name, read_by))
                self._made[id(found)] = found, read_by
            elif drops_nothing and read:
                self._made[id(found)] = found, read[0][1]
        return found


def pairs(model: nn.Module, *inputs: Tensor) -> dict[str, tuple[str, str] | None]:
    """The pairs of a model, which is run once in training mode.

    Args:
        model: the model.
        inputs: what it is called with.

    Returns:
        By the name of each normalisation that runs: the function that it calls, and its activation; None if there is
        none that it is a pair with.
    """
    readers = _Readers()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm):
                stack.enter_context(_running(module, name, readers))
        with readers:
            model(*inputs)
    found: dict[str, set[tuple[str, str] | None]] = {}
    for module, norm, read_by in readers.calls:
        found.setdefault(module, set()).add(_pair(norm, read_by))
    return {name: next(iter(of)) if len(of) == 1 else None for name, of in found.items()}


def _pair(norm: str, readers: list[str]) -> tuple[str, str] | None:
    if len(set(readers)) == 1 and readers[0] in ACTIVATIONS:  # of several branches that all begin with it, too
        return norm, readers[0]
    return (norm, "silu") if sorted(readers) == _SWISH else None


def _running(module: nn.Module, name: str, readers: _Readers) -> ExitStack:
    stack = ExitStack()
    before = module.register_forward_pre_hook(lambda *_: readers.running.append(name))
    after = module.register_forward_hook(lambda *_: readers.running.pop() and None)
    stack.callback(before.remove)
    stack.callback(after.remove)
    return stack


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _rate(args: Sequence[Any], kwargs: dict[str, Any] | None) -> float:
    return float((kwargs or {}).get("p", args[1] if len(args) > 1 else 0.5))


def _limits(args: Sequence[Any], kwargs: dict[str, Any] | None) -> tuple[float, float]:
    given = kwargs or {}
    low, high = (*args[1:3], -1.0, 1.0)[:2] if len(args) > 1 else (-1.0, 1.0)
    return float(given.get("min_val", low)), float(given.get("max_val", high))
