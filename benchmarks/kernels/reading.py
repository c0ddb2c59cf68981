"""Reads what launches would run on an H100 or H200 from their machine code; it needs no GPU.

    python -m benchmarks.kernels.reading -o benchmarks/results/reading.json

Compiles the kernels of layers for compute capability 9.0 with the arguments of a launch, in training, and reads from
each that goes over x: its programs, how many of them a multiprocessor can hold, registers, spilled bytes, the widest
loads and stores in the loop over x, and the instructions for each value. From these follows a ceiling: the speed at
which multiprocessors could issue the instructions, relative to the speed at which memory could move the values.
Kernels rarely come to more than three quarters of it, so one under 130% is limited by its instructions rather than by
the memory. FILE.jsonl beside the result has a row for each kernel as it is read, and the command continues it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import triton

from benchmarks.kernels.rows import read, source_digest
from benchmarks.kernels.shapes import MAIN
from benchmarks.markdown import markdown_table
from evonas.errors import UsageError
from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.kernels.triton.gpu_resources import OF_X, ROW_SHAPES, compile_for, launches_of, read_by, usage
from evonas.kernels.triton.launches import Launch
from evonas.kernels.triton.tiles import Shape
from evonas.language.zoo import as_graph, zoo
from evonas.layers.reference import groups_dividing

ARCH = 90
MULTIPROCESSORS, LANES, CLOCK = 132, 128, 1.98e9
"""Of an H100 or H200; lanes of a multiprocessor issue an instruction in each cycle, and the clock is the fastest."""
MEMORY = {"H100": 3.028e12, "H200": 4.3e12}
"""Bytes a second that a copy of 4 GiB read and wrote (kernels_h100.json, kernels_h200.json)."""
THREADS, REGISTERS, SHARED, PROGRAMS = 2048, 65536, 228 * 1024, 32
"""What a multiprocessor of compute capability 9.0 has, and the programs that it holds at most (CUDA C++ Programming
Guide, table of technical specifications)."""
LARGE = 16e6
"""From this number of bytes of x on, the aim is a ceiling of 130%."""
TYPES = {"bf16": 2, "fp16": 2, "fp32": 4}
_WIDTHS = {"128": 16, "64": 8, "U8": 1, "S8": 1, "U16": 2, "S16": 2}

Row = Mapping[str, Any]


def main() -> None:
    """Read what is missing, print the table, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels.reading", description=__doc__)
    parser.add_argument("layer", nargs="*", default=list(zoo), help="names from the zoo or expressions")
    parser.add_argument("--dtype", nargs="*", default=["bf16"], choices=list(TYPES))
    parser.add_argument("--shapes", type=int, default=None, help="how many of the shapes to read, the first ones")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, default=Path("reading.json"))
    given = parser.parse_args()
    for layer in given.layer:
        try:
            as_graph(layer)
        except UsageError as error:
            parser.error(str(error))
    file = given.output.with_suffix(".jsonl")
    who = {"triton": triton.__version__, "sources": source_digest()}
    known = [row for row in (read(file) if file.exists() else ()) if {key: row.get(key) for key in who} == who]
    done = {(row["layer"], row["dtype"], *row["shape"]) for row in known}
    jobs = [
        (layer, dtype, shape)
        for dtype in given.dtype
        for layer in given.layer
        for shape in shapes_of(layer)[: given.shapes]
        if (layer, dtype, *shape) not in done
    ]
    given.output.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and not file.read_text().endswith("\n"):
        file.write_text(file.read_text() + "\n")  # after a line that a kill cut off
    with file.open("a") as rows, ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        for number, found in enumerate(pool.map(_read_job, jobs), 1):
            full = [{**row, **who} for row in found]
            known += full
            rows.write("".join(json.dumps(row) + "\n" for row in full))  # at once: a kill leaves all or none of a job
            rows.flush()
            worst = min((row["ceiling"]["H100"] for row in found), default=math.nan)
            print(
                f"{number}/{len(jobs)} {found[0]['layer']} {found[0]['shape']}: {worst:.0%} of H100's copy", flush=True
            )
    wanted = {(layer, dtype) for layer in given.layer for dtype in given.dtype}
    mine = [row for row in known if (row["layer"], row["dtype"]) in wanted]
    print("\n".join(table(mine)))
    lines = ",\n".join(f"  {json.dumps({k: v for k, v in row.items() if k not in who})}" for row in mine)
    head = json.dumps({**who, "memory": MEMORY})[1:-1]
    given.output.write_text(f'{{{head},\n "rows": [\n{lines}\n ]}}\n')


def shapes_of(layer: str) -> Sequence[Shape]:
    """The shapes that a layer is read for: those of tokens for row kernels, and of ResNet-50 in both memory formats."""
    if PlanKind.PLANES not in kinds_of(as_graph(layer)):
        return [shape._replace(b=32) for shape in ROW_SHAPES]
    return [
        Shape(b, c, h * w, groups_dividing(c, 32), channels_last)
        for channels_last in (True, False)
        for b, c, h, w in MAIN
    ]


def readings(layer: str, dtype: str, shape: Shape) -> Iterator[dict[str, Any]]:
    """Read each kernel of a layer that goes over x.

    Args:
        layer: a name from the zoo or an expression.
        dtype: Triton's name for the type of x.
        shape: of x.
    """
    for _, launch in launches_of(as_graph(layer), shapes=[shape]):
        if "BLOCK" not in launch.constants:
            continue  # it handles a few numbers of each plane
        compiled = compile_for(launch, ARCH, dtype)
        found, warps = usage(compiled), compiled.metadata.num_warps
        code = instructions(read_by(triton.knobs.nvidia.nvdisasm.path, ["-c"], compiled))
        body, repeats = loop_over_x(code)
        passes = sum(name in OF_X for name in launch.kernel.arg_names)
        runs = math.prod(launch.grid) * (iterations(launch, shape) if repeats else 1)
        each = len(body) * 32 * warps * runs / _values(shape)
        ceiling = MULTIPROCESSORS * LANES * CLOCK / each * passes * TYPES[dtype]
        yield {
            "layer": layer,
            "dtype": dtype,
            "shape": list(shape),
            "kernel": launch.kernel.__name__,
            "programs": math.prod(launch.grid),
            "resident": resident(32 * warps, found["registers"], found["shared"]),
            **found,
            "load_bytes": widest(body, "LDG"),
            "store_bytes": widest(body, "STG"),
            "instructions": round(each, 1),
            "shuffles": sum(op.startswith("SHFL") for op in body),
            "barriers": sum(op.startswith("BAR") for op in body),
            "ceiling": {gpu: round(ceiling / rate, 3) for gpu, rate in MEMORY.items()},
        }


def instructions(text: str) -> list[tuple[str, int | None]]:
    """The instructions of a kernel in order, each with the place to which it jumps back, if it does.

    Args:
        text: what nvdisasm prints.
    """
    code: list[tuple[str, str]] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(code)
        elif found := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(\S+)(.*?);", line):
            jump = re.search(r"`\((\.L_x_\d+)\)", found[2])
            code.append((found[1], jump[1] if jump and found[1].startswith("BRA") else ""))
    targets = [labels.get(jump) for _, jump in code]
    return [
        (op, target if target is not None and target < place else None)
        for place, ((op, _), target) in enumerate(zip(code, targets, strict=True))
    ]


def loop_over_x(code: Sequence[tuple[str, int | None]]) -> tuple[list[str], bool]:
    """The operations of the longest innermost loop that reads or writes memory, and that they are those of a loop.

    Where there is none, as where the compiler has written out all iterations, they are those of the whole kernel.
    """
    loops = [(target, place + 1) for place, (_, target) in enumerate(code) if target is not None and place - target > 3]
    inner = [
        (begin, end)
        for begin, end in loops
        if any(op[:3] in ("LDG", "STG") for op, _ in code[begin:end])
        and not any(begin <= b and e <= end and (b, e) != (begin, end) and _touches(code[b:e]) for b, e in loops)
    ]
    begin, end = max(inner, key=lambda loop: loop[1] - loop[0], default=(0, len(code)))
    return [op for op, _ in code[begin:end] if op != "NOP"], bool(inner)


def _touches(code: Sequence[tuple[str, int | None]]) -> bool:
    return any(op[:3] in ("LDG", "STG") for op, _ in code)


def iterations(launch: Launch, shape: Shape) -> int:
    """How often a program runs the body of the loop over x."""
    rows, block = launch.constants["R"], launch.constants["BLOCK"]
    if "WIDTH" in launch.constants:
        each, across = launch.constants.get("rows_each"), launch.grid[1]
        is_one_position = across == 1 and launch.constants["WIDTH"] < launch.constants["CHANNELS"]
        return -(-each // (1 if is_one_position else rows)) if each else 1
    span = launch.constants.get("span")
    return -(-min(span, shape.positions) // block) if span else 1


def _values(shape: Shape) -> int:
    return shape.b * shape.c * shape.positions


def resident(threads: int, registers: int, shared: int) -> int:
    """How many programs a multiprocessor can hold at once."""
    by_registers = REGISTERS // (threads * -(-registers // 8) * 8)
    by_shared = SHARED // (shared + 1024)  # each program takes a kibibyte for the system
    return min(THREADS // threads, by_registers, by_shared, PROGRAMS)


def widest(body: Sequence[str], kind: str) -> int:
    """The bytes of the narrowest access of a kind to global memory that makes up a tenth of them; 0 for none."""
    sizes = [_bytes(op) for op in body if op.startswith(kind)]
    common = [size for size in set(sizes) if sizes.count(size) >= 0.1 * len(sizes)]
    return min(common, default=0)


def _bytes(op: str) -> int:
    return next((_WIDTHS[part] for part in op.split(".") if part in _WIDTHS), 4)


def table(rows: Sequence[Row]) -> list[str]:
    """Return, for each layer and type, what its kernels come to on large inputs."""
    lines = []
    for layer, dtype in dict.fromkeys((row["layer"], row["dtype"]) for row in rows):
        of = [row for row in rows if (row["layer"], row["dtype"]) == (layer, dtype)]
        large = [row for row in of if math.prod(row["shape"][:3]) * TYPES[dtype] >= LARGE]
        under = [row for row in large if row["ceiling"]["H100"] < 1.3]
        worst = min(large, key=lambda row: row["ceiling"]["H100"])
        spilled = sum(row["spilled"] > 0 for row in of)
        lines.append(
            (
                f"`{layer}`",
                dtype,
                str(len(of)),
                str(spilled),
                f"{worst['ceiling']['H100']:.0%}",
                f"{worst['kernel']}, {worst['shape'][1]} channels of {worst['shape'][2]}"
                f"{', channels last' if worst['shape'][4] else ''}",
                f"{len(under)} of {len(large)}",
            )
        )
    header = ["layer", "type", "kernels", "that spill", "lowest ceiling on an H100", "where", "under 130%"]
    return markdown_table(header, lines)


def _read_job(job: tuple[str, str, Shape]) -> list[dict[str, Any]]:
    return list(readings(*job))


if __name__ == "__main__":
    main()
