"""Which codes there are that compute a layer: the reference in PyTorch, and kernels made for it."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from evonas.errors import UsageError, unknown

BACKENDS = ("auto", "reference", "triton", "cpp")
"""What `evonas.NormAct` takes: the best for the input, the reference, Triton kernels, or C++ kernels."""


def check_backend(name: str) -> None:
    """Raises UsageError for a name that is no backend, or one that cannot be had here."""
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
    from evonas.kernels.cpp_build import trouble

    return trouble() is None
