"""Finds the registers and memory that a layer's kernels use on a GPU, by compiling them for it; it needs no GPU.

python -m evonas.kernels.triton.gpu_resources evonorm-s0 --arch 90
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.kernels.triton.launches import Launch
from evonas.kernels.triton.run import TritonLayer
from evonas.kernels.triton.run_rows import TritonRowLayer
from evonas.kernels.triton.tiles import Shape
from evonas.language.graph import Graph
from evonas.language.zoo import as_graph

_SIZES = ((128, 64, 112), (128, 1024, 14), (128, 2048, 7), (128, 512, 28), (32, 256, 56), (64, 16, 12))
SHAPES = tuple(
    Shape(b, c, size * size, 16 if c == 16 else 32, number % 2 == odd)
    for odd in (0, 1)
    for number, (b, c, size) in enumerate(_SIZES)
)
"""Shapes of ResNet-50 at a batch that fills a GPU and at one that does not, and shapes of a search, in both memory
formats. The most telling ones come first."""
ROW_SHAPES = tuple(Shape(8, c, 1024, 8, True) for c in (4096, 768, 256, 1024, 2048, 8192, 5000, 64))
"""Shapes of transformers, for layers that are computed row by row."""
OF_X = ("x_ptr", "y_ptr", "dy_ptr", "dx_ptr", "residual_ptr", "r_ptr", "dr_ptr")
"""The arguments that are as large as x, and of its type."""
_FLOATS = ("eps", "momentum", "unbias")


@dataclass(frozen=True, slots=True)
class GPUResources:
    """The resources that one kernel uses.

    Attributes:
        layer, kernel, shape: the kernel, and the shape of the input for which it is launched.
        arch: the compute capability, such as 90.
        registers: the registers of each thread.
        spilled: the bytes of each thread's local memory, which holds values that do not fit into registers.
        shared: the bytes of each program's shared memory.
    """

    layer: str
    kernel: str
    shape: Shape
    arch: int
    registers: int
    spilled: int
    shared: int


def resources(
    layer: str, arch: int, dtype: str = "bf16", training: bool = True, shapes: Sequence[Shape] | None = None
) -> Iterator[GPUResources]:
    """Compiles the kernels of a layer as they are launched for some shapes, and yields the resources of each.

    Args:
        layer: a name from the zoo or an expression.
        arch: the compute capability: 80 for an A100, 90 for an H100 or H200.
        dtype: Triton's name for the type of x: fp32, fp16 or bf16.
        training: whether to compile the kernels for training, rather than evaluation.
        shapes: the shapes of x; `SHAPES` by default, or `ROW_SHAPES` for a layer that is computed row by row.

    Raises:
        RuntimeError: if the report of the compiler cannot be read.
    """
    for shape, launch in launches_of(as_graph(layer), training, shapes):
        compiled = compile_for(launch, arch, dtype)
        found = usage(compiled)
        yield GPUResources(layer, launch.kernel.__name__, shape, arch, **found)


def usage(compiled: Any) -> dict[str, int]:
    """The registers, spilled and shared bytes of a compiled kernel, by the names that `GPUResources` has for them.

    Raises:
        RuntimeError: if the report of the compiler cannot be read.
    """
    report = read_by(triton.knobs.nvidia.cuobjdump.path, ["--dump-resource-usage"], compiled)
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", report)}
    if not {"REG", "STACK", "LOCAL", "SHARED"} <= set(found):
        raise RuntimeError(f"cuobjdump reported no resource usage of kernel {compiled.metadata.name}: {report}")
    return {"registers": found["REG"], "spilled": found["STACK"] + found["LOCAL"], "shared": found["SHARED"]}


def read_by(tool: str, options: Sequence[str], compiled: Any) -> str:
    """What one of CUDA's tools says of a compiled kernel."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        return subprocess.run([tool, *options, cubin], capture_output=True, text=True, check=True).stdout


def launches_of(
    graph: Graph, training: bool = True, shapes: Sequence[Shape] | None = None
) -> Iterator[tuple[Shape, Launch]]:
    """The launches of a layer's kernels for each shape; the arguments are those of `resources`."""
    if PlanKind.PLANES in kinds_of(graph):
        kernels = TritonLayer(graph, training)
        for shape in SHAPES if shapes is None else shapes:
            work = kernels.work(shape)
            yield from ((shape, launch) for launch in (*work.forward, *work.backward))
        return
    rows = TritonRowLayer(graph)
    for shape in ROW_SHAPES if shapes is None else shapes:
        both = (*rows.launches(shape)[:2], *rows.launches(shape, adds=True)[:2])
        yield from ((shape, launch) for launch in both)


def compile_for(launch: Launch, arch: int, dtype: str) -> Any:
    """A launch's kernel, compiled as Triton would: it knows which sizes are multiples of 16, and 1 is a constant.

    Args:
        launch: the launch, whose kernel must not be Triton's interpreter's.
        arch: the compute capability.
        dtype: Triton's name for the type of x: fp32, fp16 or bf16.
    """
    kernel, constants = launch.kernel, dict(launch.constants)
    options = {"num_warps": constants.pop("num_warps", 4)}
    known = dict(zip(kernel.arg_names, launch.values, strict=False)) | constants
    constant = {p.name: known[p.name] for p in kernel.params if p.is_constexpr or known[p.name] == 1}
    signature = {a: "constexpr" if a in constant else _type(a, dtype) for a in kernel.arg_names}
    aligned = [
        number
        for number, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or (kind == "i32" and known[name] % 16 == 0)
    ]
    attributes = {(number,): [["tt.divisibility", 16]] for number in aligned}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constant, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def _type(argument: str, dtype: str) -> str:
    if argument in OF_X:
        return f"*{dtype}"
    if argument.endswith("_ptr"):
        return "*fp32"
    return "fp32" if argument in _FLOATS else "i32"


def main() -> None:
    """Prints the resources of some layers as lines of JSON."""
    parser = argparse.ArgumentParser(prog="python -m evonas.kernels.triton.gpu_resources", description=__doc__)
    parser.add_argument("layer", nargs="+", help="a name from the zoo or an expression")
    parser.add_argument("--arch", type=int, nargs="+", default=[80, 90])
    parser.add_argument("--dtype", default="bf16", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the shapes to compile for")
    arguments = parser.parse_args()
    for layer in arguments.layer:
        for arch in arguments.arch:
            of = SHAPES if PlanKind.PLANES in kinds_of(as_graph(layer)) else ROW_SHAPES
            for one in resources(layer, arch, arguments.dtype, shapes=of[: arguments.shapes]):
                print(json.dumps(asdict(one)), flush=True)


if __name__ == "__main__":
    main()
