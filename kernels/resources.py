"""What a layer's kernels need of a GPU, found by compiling them for it; no GPU is needed for that.

python -m evonas.kernels.resources evonorm-s0 --arch 90
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from evonas.kernels.steps import ON_CHIP, TILE
from evonas.kernels.triton_run import TritonLayer
from evonas.published import as_graph

_BLOCK, _CHANNELS, _DEEP = 1024, 16, 64
_OF_X = ("x_ptr", "y_ptr", "dy_ptr", "dx_ptr")
_FLOATS = ("eps", "momentum", "unbias")


@dataclass(frozen=True, slots=True)
class Resources:
    """Of one kernel.

    Attributes:
        layer, kernel: which.
        arch: the compute capability, such as 90.
        registers: of a thread.
        spilled: bytes of a thread's local memory, where what finds no register goes.
        shared: bytes of a program's shared memory.
    """

    layer: str
    kernel: str
    arch: int
    registers: int
    spilled: int
    shared: int


def resources(layer: str, arch: int, dtype: str = "bf16", training: bool = True) -> Iterator[Resources]:
    """Compiles the kernels of a layer to machine code, and reads what they need.

    Args:
        layer: a name in the zoo or an expression.
        arch: 80 for an A100, 90 for an H100 or H200.
        dtype: Triton's name of the type of x: fp32, fp16 or bf16.
        training: whether in training.

    Raises:
        RuntimeError: when the compiler's report cannot be read.
    """
    kernels = TritonLayer(as_graph(layer), training)
    for name in kernels.names:
        compiled = _compiled(getattr(kernels.module, name), arch, dtype)
        with tempfile.TemporaryDirectory() as folder:
            cubin = Path(folder) / "kernel.cubin"
            cubin.write_bytes(compiled.asm["cubin"])
            tool = triton.knobs.nvidia.cuobjdump.path
            report = subprocess.run([tool, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True)
        found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", report.stdout)}
        if not {"REG", "STACK", "LOCAL", "SHARED"} <= set(found):
            raise RuntimeError(f"no resource usage of {name} in: {report.stdout}")
        spilled = found["STACK"] + found["LOCAL"]
        yield Resources(layer, name, arch, found["REG"], spilled, found["SHARED"])


def _compiled(kernel: Any, arch: int, dtype: str) -> Any:
    warps = 4
    if "BLOCK" in kernel.arg_names:
        on_chip = kernel.__name__.endswith("_on_chip")  # the largest cell that is held
        values, warps = (ON_CHIP, 8) if on_chip else (TILE, 4)
        constants = {"R": values["dy_ptr" in kernel.arg_names] // _BLOCK, "BLOCK": _BLOCK}
    else:
        constants = {"R": _CHANNELS, **({"DEEP": _DEEP} if "DEEP" in kernel.arg_names else {})}
    signature = {a: "constexpr" if a in constants else _type(a, dtype) for a in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options={"num_warps": warps})


def _type(argument: str, dtype: str) -> str:
    if argument in _OF_X:
        return f"*{dtype}"
    if argument.endswith("_ptr"):
        return "*fp32"
    return "fp32" if argument in _FLOATS else "i32"


def main() -> None:
    """Prints the resources of some layers as lines of JSON."""
    parser = argparse.ArgumentParser(prog="python -m evonas.kernels.resources", description=__doc__)
    parser.add_argument("layer", nargs="+", help="a name in the zoo or an expression")
    parser.add_argument("--arch", type=int, nargs="+", default=[80, 90])
    parser.add_argument("--dtype", default="bf16", choices=["fp32", "fp16", "bf16"])
    arguments = parser.parse_args()
    for layer in arguments.layer:
        for arch in arguments.arch:
            for one in resources(layer, arch, arguments.dtype):
                print(json.dumps(asdict(one)), flush=True)


if __name__ == "__main__":
    main()
