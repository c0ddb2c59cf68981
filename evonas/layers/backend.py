"""The backends that compute a layer: the reference in PyTorch, and kernels made for it.

Layers do not import the package with the kernels, `evonas.kernels`; it registers its functions here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from evonas.errors import UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evonas.language.graph import Graph

BACKENDS = ("auto", "reference", "triton", "cpp")
"""The backends that `evonas.NormAct` accepts: the best for the input, the reference, Triton or C++ kernels."""

Call = Callable[..., "Tensor"]
"""A layer's kernels: `call(x, parameters, running)` returns its value. `parameters` are weight, bias and the trained
leaves of the graph, (c,) each, and `running` is a tuple of running values, which training updates in place."""

AddingCall = Callable[..., "tuple[Tensor, Tensor]"]
"""Row kernels that add a residual: `call(x, residual, parameters)` returns the layer's value for r = x + residual, and
r. x and residual are (b, c, h, w) with channels last in memory."""


@dataclass(frozen=True, slots=True)
class KernelProvider:
    """The functions that make and call kernels.

    Attributes:
        bind: `bind(backend, graph, training, groups, eps, momentum)` returns the `Call` of a layer; `graph` is JSON.
        bind_adding: `bind_adding(backend, graph, groups, eps)` returns the `AddingCall` of a layer.
        backends: the backends that have kernels for a graph.
        rows: the backends that have kernels of rows for a graph, which can add a residual.
        takes_rows: whether the kernels of a graph need channels last in memory.
        cpp_trouble: returns the reason why C++ kernels cannot be built on this machine, or None where they can.
        compiler: returns the command of the C++ compiler that builds them, or None where there is none.
        build_calls: builds the operator that calls C++ kernels, unless it is there already.
        scriptable: makes a layer, in place, one whose methods TorchScript compiles, until its next call.
    """

    bind: Callable[[str, str, bool, int, float, float], Call]
    bind_adding: Callable[[str, str, int, float], AddingCall]
    backends: Callable[[Graph], frozenset[str]]
    rows: Callable[[Graph], frozenset[str]]
    takes_rows: Callable[[Graph], bool]
    cpp_trouble: Callable[[], str | None]
    compiler: Callable[[], str | None]
    build_calls: Callable[[], object]
    scriptable: Callable[[nn.Module], nn.Module]


_registered: list[KernelProvider] = []


def register(provider: KernelProvider) -> None:
    """Has all layers use `provider`; `evonas.kernels.registration` calls this when it is imported."""
    _registered[:] = [provider]


def kernel_provider() -> KernelProvider:
    """The registered functions, after importing the package that registers them."""
    if not _registered:
        import_module("evonas.kernels.registration")
    return _registered[0]


def check_backend(name: str) -> None:
    """Checks the name of a backend.

    Raises:
        UsageError: for a name that is not in `BACKENDS`, or a backend that cannot run on this machine.
    """
    if name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    if name == "triton" and not has_triton():
        raise UsageError("backend 'triton' needs the package triton: install it, or use backend 'auto'")
    if name == "cpp" and not has_cpp():
        raise UsageError("backend 'cpp' needs a C++ compiler: install g++ or clang++, or use backend 'auto'")


@cache
def has_triton() -> bool:
    """Whether the package triton is installed."""
    return find_spec("triton") is not None


@cache
def has_cpp() -> bool:
    """Whether there is a working C++ compiler."""
    return kernel_provider().cpp_trouble() is None
