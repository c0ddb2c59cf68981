"""The backends that compute a layer: the reference in PyTorch, and kernels made for it.

Kernels are another room's (`evonas.kernels`), which layers do not import: it registers what it offers.
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
    from torch import Tensor

BACKENDS = ("auto", "reference", "triton", "cpp")
"""What `evonas.NormAct` takes: the best for the input, the reference, Triton kernels, or C++ kernels."""

Call = Callable[..., "Tensor"]
"""A layer's kernels: `call(x, weight, bias, v0, v1, running)` is its value; `v0` and `v1` may be None, and `running`
is a tuple of running values, which training updates."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What makes and calls kernels, as layers need it.

    Attributes:
        bind: `bind(backend, graph, training, groups, eps, momentum)` is the `Call` of a layer, `graph` being its JSON.
        cpp_trouble: why C++ kernels cannot be built here; None where they can.
        compiler: the command of the C++ compiler that builds them; None where there is none.
        build_calls: builds the operator that calls C++ kernels, if it is not there yet.
    """

    bind: Callable[[str, str, bool, int, float, float], Call]
    cpp_trouble: Callable[[], str | None]
    compiler: Callable[[], str | None]
    build_calls: Callable[[], object]


_registered: list[Kernels] = []


def register(kernels: Kernels) -> None:
    """Makes `kernels` those of all layers; `evonas.kernels.registration` calls it when it is imported."""
    _registered[:] = [kernels]


def kernels() -> Kernels:
    """What makes and calls kernels."""
    if not _registered:
        import_module("evonas.kernels.registration")
    return _registered[0]


def check_backend(name: str) -> None:
    """Raises UsageError for a name that is not a backend, or one that cannot be had here."""
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
    """Whether there is a C++ compiler that works."""
    return kernels().cpp_trouble() is None
