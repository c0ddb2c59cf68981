"""The operator that calls C++ kernels for PyTorch, itself in C++ and built once for each PyTorch.

`torch_function.py` does the same in Python, where this is not at hand. The results have the same bits, and a call takes
a third of the time: see `python -m benchmarks.call_cost`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from evonas.kernels.cache import alone, cache_folder
from evonas.kernels.compiled_layer import NO_SECOND_DERIVATIVE
from evonas.kernels.cpp.build import BuildError, Options, built, loaded
from evonas.kernels.cpp.source import COUNTS, POINTERS, REALS
from evonas.layers.build_clock import building

_ROOT = Path(torch.__file__).parent
_FOLDER = "calls"


class Calls(NamedTuple):
    """What `calls.h` registers.

    Attributes:
        norm_act: from x, weight, bias, v0, v1, running values and a form's number to y; autograd knows it.
        make_form: see `Form` there; its number.
        forget_form: what was made of a form stays usable for the backward passes that need it.
    """

    norm_act: Callable[..., Tensor]
    make_form: Callable[[str, bool, Sequence[int], Sequence[float], Sequence[int]], int]
    forget_form: Callable[[int], None]


_state: list[Calls | None] = []
"""Empty before the first look."""


def calls() -> Calls | None:
    """The operator, where it was built before; None where it was not."""
    if not _state:
        _state.append(_loaded(built(_source(), _options())))
    return _state[0]


@cache
def build_calls() -> str | None:
    """Builds the operator where it is missing: ten seconds, once for each machine and PyTorch.

    Of processes that ask at once, one builds and the others wait.

    Returns:
        None when there is one, else what went wrong, in words. Layers are then called from Python.
    """
    if calls() is not None:
        return None
    try:
        with building(), alone(cache_folder() / _FOLDER / "lock"):
            _state[:] = [loaded(_source(), _registered, _options())]
    except (BuildError, OSError) as error:
        return str(error).strip().splitlines()[0]
    return None


def _loaded(path: Path | None) -> Calls | None:
    if path is None:
        return None
    try:
        return _registered(path)
    except (OSError, RuntimeError):  # cut short, or of a PyTorch that was replaced since
        path.unlink(missing_ok=True)
        return None


def _registered(path: Path) -> Calls:
    torch.ops.load_library(path)
    return Calls(*(getattr(torch.ops.evonas_calls, name).default for name in Calls._fields))


@cache
def _source() -> str:
    """`calls.h`, after the order of a `Call`'s fields."""
    fields = ", ".join(f"at_{name}" for name in POINTERS)
    sizes = f"N_POINTERS, N_COUNTS = {len(COUNTS)}, N_REALS = {len(REALS)}"
    said = f'#define NO_SECOND_DERIVATIVE "{NO_SECOND_DERIVATIVE}"'
    text = (Path(__file__).parent / "calls.h").read_text()
    return f"// For PyTorch {torch.__version__}\nenum {{ {fields}, {sizes} }};\n{said}\n\n{text}"


@cache
def _options() -> Options:
    include = _ROOT / "include"
    places = (f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}")
    flags = ("-std=c++20", "-shared", "-fPIC", "-O2", "-w", *places)
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    return Options((*flags, abi), (f"-L{_ROOT / 'lib'}", "-ltorch_cpu", "-lc10"), _FOLDER)
