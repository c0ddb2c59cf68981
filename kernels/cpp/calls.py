"""The operator that calls C++ kernels from PyTorch, which is written in C++ and built once for each PyTorch.

`torch_function.py` does the same in Python if this operator has not been built. The results have the same bits, and a
call takes a third of the time, as `python -m benchmarks.call_cost` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from evonas.cache import cache_folder, locked
from evonas.kernels.cpp.build import BuildError, Options, build_and_load, cached_library
from evonas.kernels.cpp.source import COUNTS, POINTERS, REALS
from evonas.layers.build_clock import building

_ROOT = Path(torch.__file__).parent
_FOLDER = "calls"


class Calls(NamedTuple):
    """The operators that `calls.h` registers.

    Attributes:
        norm_act: computes y from x, the parameters, the running values and the number of a form; it is differentiable.
        make_form: makes a `Form` of `calls.h`, and returns its number.
        forget_form: releases a form, which stays usable for the backward passes that need it.
    """

    norm_act: Callable[..., Tensor]
    make_form: Callable[[str, str, bool, Sequence[int], Sequence[float], Sequence[int], Sequence[int]], int]
    forget_form: Callable[[int], None]


_state: list[Calls | None] = []
"""Empty until `calls` is called for the first time."""


def calls() -> Calls | None:
    """The operators if they have been built before; None otherwise."""
    if not _state:
        built = (_loaded(cached_library(_source(), _options(openmp))) for openmp in (True, False))
        _state.append(next((found for found in built if found is not None), None))
    return _state[0]


@cache
def build_calls() -> str | None:
    """Builds the operators if they are missing, which takes ten seconds once for each machine and PyTorch.

    If several processes ask at the same time, one builds and the others wait.

    Returns:
        None if the operators are there, otherwise a sentence on what went wrong. Layers are then called from Python.
    """
    if calls() is not None:
        return None
    try:
        with building(), locked(cache_folder() / _FOLDER / "lock"):
            try:
                _state[:] = [build_and_load(_source(), _registered, _options(openmp=True))]
            except BuildError:  # as with Apple's clang, which has no OpenMP
                _state[:] = [build_and_load(_source(), _registered, _options(openmp=False))]
    except (BuildError, OSError) as error:
        return str(error).strip().splitlines()[0]
    return None


def _loaded(path: Path | None) -> Calls | None:
    if path is None:
        return None
    try:
        return _registered(path)
    except (OSError, RuntimeError):  # the file is incomplete, or PyTorch has been replaced since
        path.unlink(missing_ok=True)
        return None


def _registered(path: Path) -> Calls:
    torch.ops.load_library(path)
    return Calls(*(getattr(torch.ops.evonas_calls, name).default for name in Calls._fields))


@cache
def _source() -> str:
    """The text of `calls.h`, preceded by the order of the fields of a `Call` and of the settings among them."""
    fields = ", ".join(f"at_{name}" for name in POINTERS)
    sizes = f"N_POINTERS, N_COUNTS = {len(COUNTS)}, N_REALS = {len(REALS)}"
    places = f"at_groups = {COUNTS.index('G')}, at_eps = {REALS.index('eps')}, at_momentum = {REALS.index('momentum')}"
    text = (Path(__file__).parent / "calls.h").read_text()
    return f"// For PyTorch {torch.__version__}\nenum {{ {fields}, {sizes} }};\nenum {{ {places} }};\n\n{text}"


@cache
def _options(openmp: bool) -> Options:
    """With OpenMP, kernels run in the threads of PyTorch; without it, in threads of their own."""
    include = _ROOT / "include"
    places = (f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}")
    flags = ("-std=c++20", "-shared", "-fPIC", "-O2", "-w", *(("-fopenmp",) if openmp else ()), *places)
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    return Options((*flags, abi), (f"-L{_ROOT / 'lib'}", "-ltorch_cpu", "-lc10"), _FOLDER)
