"""What the Triton kernels of a layer have in common: arguments, loads, and the planes that each program owns."""

from __future__ import annotations

import re
import textwrap
from collections import Counter

from evonas.kernels.printing.buffers import PARAMETER_POINTERS, Buffers
from evonas.kernels.printing.docstring import WIDTH
from evonas.kernels.printing.value_writer import Body, Level
from evonas.kernels.triton.dialect import TRITON
from evonas.language.graph import X

ARGUMENTS = (
    *("x_ptr", "dy_ptr", "y_ptr", "dx_ptr", *PARAMETER_POINTERS),
    *("stats_ptr", "totals_ptr", "densities_ptr", "found_ptr", "parts_ptr"),
    *("residual_ptr", "r_ptr", "dr_ptr"),
    *("B", "C", "HW", "G", "planes", "stride_b", "stride_c", "stride_p", "eps", "momentum", "unbias"),
    *("row_count", "rows_each"),
)
"""Every argument that a kernel may have, in order; running values and the parts of its division follow."""
SIZES = ("B", "C", "HW", "G", "planes", "stride_b", "stride_c", "stride_p", "span")
"""Those of these arguments and of a division that follow from the shape and are not constants of a kernel."""


class Kernels(Buffers):
    """What every writer of Triton kernels for one plan has in common; the arguments are those of `Buffers`."""

    def store_densities(self, body: Body, each: str = "planes") -> None:
        """Stores the gradients of the parameters, summed over each plane or over the part of it that a program owns.

        Args:
            body: the kernel.
            each: how many numbers the buffer holds for each parameter, as source.
        """
        body.rows(self.plan.densities.values())
        for row, node in enumerate(self.plan.densities.values()):
            value = f"({body.row(node)} + tl.zeros([R], tl.float32)) * HW"
            body.line(f"tl.store(densities_ptr + {row} * {each} + plane, {value}, mask=inside)")

    def owning_planes(self) -> Body:
        """The head of a kernel in which each program owns R channels of a sample."""
        body = Body(self.plan, TRITON)
        body.line("tiles = tl.cdiv(C, R)")
        body.line("b = (tl.program_id(0) // tiles).to(tl.int64)")
        body.line("c = tl.program_id(0) % tiles * R + tl.arange(0, R)")
        body.line("inside = c < C")
        body.line("plane = b * C + c")
        return body

    def locate(self, body: Body) -> None:
        """Finds where the program's rows start: 64 bits for the sample, 32 inside it to save half the registers."""
        body.line("sample = b * stride_b")
        body.line("rows = c * stride_c")

    def load_tiles(self, body: Body, reads_dy: bool, offset: str = "") -> None:
        """Loads x and, with `reads_dy`, dy at the BLOCK positions from an offset on."""
        body.line(f"p = {offset}tl.arange(0, BLOCK)")
        body.line("here = inside[:, None] & (p < HW)[None, :]")
        body.line("at = rows[:, None] + (p * stride_p)[None, :]")
        body.line("x = tl.load(x_ptr + sample + at, mask=here, other=0.0).to(tl.float32)")
        body.name(X, "x", Level.TILE)
        if reads_dy:
            body.line("dy = tl.load(dy_ptr + sample + at, mask=here, other=0.0).to(tl.float32)")
            body.name(self.dy, "dy", Level.TILE)

    def load_rows(self, body: Body, wanted: list[int], without: set[int] | frozenset[int] = frozenset()) -> None:
        """Loads the leaves that are constant on planes and that some nodes depend on, except those of `without`."""
        for number in body.reached(wanted):
            if self.plan.varies_in_sweep(number) or number in without:
                continue
            name = body.fresh(self.leaf(number))
            address = f"{self.address(number)} + {self.index(number)}"
            body.line(f"{name} = tl.load({address}, mask=inside, other=0.0).to(tl.float32)")
            if self.is_rooted_when_loaded(number):
                body.line(f"{name} = tl.sqrt_rn({name} + eps)")
            body.name(number, name, Level.ROW)


def kernel(name: str, body: Body, *constants: str) -> str:
    """The source of a kernel, with the arguments that it uses and some constants."""
    text = "\n".join(_used(body.lines))
    used = [a for a in ARGUMENTS if re.search(rf"\b{a}\b", text)]
    used += sorted(set(re.findall(r"\brunning_\w+_ptr\b", text)))
    # A no-break space between a name and its type, at which lines are not broken.
    signature = ", ".join([*used, *(c if c in SIZES else f"{c}:\u00a0tl.constexpr" for c in constants)])
    if len(name) + len(signature) > WIDTH - len("def ():"):
        lines = textwrap.wrap(signature, WIDTH - 1, initial_indent="    ", subsequent_indent="    ")
        signature = "\n".join(["", *lines]) + ",\n"
    signature = signature.replace("\u00a0", " ")
    return f"@triton.jit\ndef {name}({signature}):\n{text}\n"


def tile_of(value: str) -> str:
    """A value as a whole tile, whatever its shape; Triton does not broadcast plain numbers."""
    if re.fullmatch(r"-?[0-9.]+(e[+-]?[0-9]+)?", value):
        return f"tl.full([R, BLOCK], {value}, tl.float32)"
    return f"tl.broadcast_to({value}, [R, BLOCK])"


def _used(lines: list[str]) -> list[str]:
    """The lines without the definitions of variables that no other line uses."""
    while True:
        words = Counter(word for line in lines for word in re.findall(r"\w+", line))
        defined = (re.match(r"\s*(\w+) = ", line) for line in lines)
        kept = [line for line, found in zip(lines, defined, strict=True) if not found or words[found[1]] > 1]
        if kept == lines:
            return kept
        lines = kept
