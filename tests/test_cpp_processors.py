"""C++ kernels built for processors with narrower vectors, compared with the reference in float64."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evonas.kernels.cpp import build as cpp_build
from evonas.kernels.cpp.build import Options, compiler
from evonas.kernels.cpp.run import CppLayer
from evonas.language.graph import Graph
from tests.compiled_layers import compare

pytestmark = [
    pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="processors of another family"),
]
# Planes smaller than a vector, so that several are gathered and scattered, and planes that end between vectors.
SHAPES = [(2, 6, 3, 1), (2, 3, 5, 7)]


def understood(processor: str) -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return processor == "x86-64" or (cpuinfo.exists() and " avx2 " in cpuinfo.read_text())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("processor", ["x86-64", "haswell"])
def test_narrower_vectors(processor: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With 128 and 256 bits, for which the header replaces missing instructions by plain C++."""
    if not understood(processor):
        pytest.skip("needs AVX2")
    whole = cpp_build._compile

    def narrower(source: str, library: Path, options: Options) -> None:
        flags = [f"-march={processor}" if flag == "-march=native" else flag for flag in options.flags]
        whole(source, library, replace(options, flags=tuple(flags)))

    monkeypatch.setattr(cpp_build, "_compile", narrower)
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    graph = Graph.parse("tanh(x) / std_whcg(x) + v1 * x")
    for shape in SHAPES:
        compare(graph, shape, CppLayer, dtype=dtype)
        compare(graph, shape, CppLayer, dtype=dtype, channels_last=True)
