"""What the Triton kernels of a layer have in common: arguments, loads, and what each program owns."""

from __future__ import annotations

import re
import textwrap
from collections import Counter

from evonas.kernels.printing.buffers import Buffers
from evonas.kernels.printing.dialects import TRITON
from evonas.kernels.printing.docstring import WIDTH
from evonas.kernels.printing.value_writer import Body, Level
from evonas.language.differentiate import DY
from evonas.language.graph import FIRST, X
from evonas.language.primitive_table import Moment

ARGUMENTS = (
    *("x_ptr", "dy_ptr", "y_ptr", "dx_ptr", "v0_ptr", "v1_ptr", "weight_ptr", "bias_ptr"),
    *("stats_ptr", "totals_ptr", "densities_ptr", "found_ptr", "parts_ptr"),
    *("B", "C", "HW", "G", "planes", "stride_b", "stride_c", "stride_p", "eps", "momentum", "unbias"),
)
"""Every argument that a kernel may have, in order; then come running values, and what its division is made of."""
SIZES = ("B", "C", "HW", "G", "planes", "stride_b", "stride_c", "stride_p", "span")
"""Those of them, and of a division, that follow from the shape and are no constants of a kernel."""


class Kernels(Buffers):
    """What every writer of Triton kernels for one plan knows; the arguments are those of `Buffers`."""

    def store_densities(self, body: Body, each: str = "planes") -> None:
        """Stores the sums of the parameters' gradients over each plane, or over the part of it that a program owns.

        Args:
            body: where.
            each: how many numbers there are for each parameter.
        """
        body.rows(self.plan.densities.values())
        for row, node in enumerate(self.plan.densities.values()):
            value = f"({body.row(node)} + tl.zeros([R], tl.float32)) * HW"
            body.line(f"tl.store(densities_ptr + {row} * {each} + plane, {value}, mask=inside)")

    def owning_planes(self) -> Body:
        """The head of a kernel whose programs own R channels of a sample."""
        body = Body(self.plan, TRITON)
        body.line("tiles = tl.cdiv(C, R)")
        body.line("b = (tl.program_id(0) // tiles).to(tl.int64)")
        body.line("c = tl.program_id(0) % tiles * R + tl.arange(0, R)")
        body.line("inside = c < C")
        body.line("plane = b * C + c")
        return body

    def locate(self, body: Body) -> None:
        """Where the program's rows start: 64 bits to the sample, and 32 inside of it, which take half the registers."""
        body.line("sample = b * stride_b")
        body.line("rows = c * stride_c")

    def load_tiles(self, body: Body, reads_dy: bool, offset: str = "") -> None:
        """Loads x, and dy, at BLOCK positions from an offset on."""
        body.line(f"p = {offset}tl.arange(0, BLOCK)")
        body.line("here = inside[:, None] & (p < HW)[None, :]")
        body.line("at = rows[:, None] + (p * stride_p)[None, :]")
        body.line("x = tl.load(x_ptr + sample + at, mask=here, other=0.0).to(tl.float32)")
        body.name(X, "x", Level.TILE)
        if reads_dy:
            body.line("dy = tl.load(dy_ptr + sample + at, mask=here, other=0.0).to(tl.float32)")
            leaf = next((n for n, node in enumerate(self.plan.nodes, FIRST) if node.op == DY), None)
            assert leaf is not None  # every plan has one
            body.name(leaf, "dy", Level.TILE)

    def load_rows(self, body: Body, wanted: list[int], without: set[int] | frozenset[int] = frozenset()) -> None:
        """Loads what some nodes depend on that is constant on planes."""
        for number in body.reached(wanted):
            if self.plan.varies(number) or number in without:
                continue
            name = body.fresh(self.leaf(number))
            address = f"{self.address(number)} + {self.index(number)}"
            body.line(f"{name} = tl.load({address}, mask=inside, other=0.0).to(tl.float32)")
            if number in body.statistics and body.statistics[number].moment is not Moment.MEAN:
                body.line(f"{name} = tl.sqrt_rn({name} + eps)")  # a running value
            body.name(number, name, Level.ROW)


def kernel(name: str, body: Body, *constants: str) -> str:
    """The source of a kernel, with those arguments that it uses."""
    text = "\n".join(_used(body.lines))
    used = [a for a in ARGUMENTS if re.search(rf"\b{a}\b", text)]
    used += sorted(set(re.findall(r"\brunning_\w+_ptr\b", text)))
    # A space that lines are not broken at, between a name and its type.
    signature = ", ".join([*used, *(c if c in SIZES else f"{c}:\u00a0tl.constexpr" for c in constants)])
    if len(name) + len(signature) > WIDTH - len("def ():"):
        lines = textwrap.wrap(signature, WIDTH - 1, initial_indent="    ", subsequent_indent="    ")
        signature = "\n".join(["", *lines]) + ",\n"
    signature = signature.replace("\u00a0", " ")
    return f"@triton.jit\ndef {name}({signature}):\n{text}\n"


def tile_of(value: str) -> str:
    """A value as a whole tile, whatever it is; Triton broadcasts no plain numbers."""
    if value in (TRITON.zero, TRITON.one):
        return f"tl.full([R, BLOCK], {value}, tl.float32)"
    return f"tl.broadcast_to({value}, [R, BLOCK])"


def _used(lines: list[str]) -> list[str]:
    """The lines without definitions of variables that no other line names."""
    while True:
        words = Counter(word for line in lines for word in re.findall(r"\w+", line))
        defined = (re.match(r"\s*(\w+) = ", line) for line in lines)
        kept = [line for line, found in zip(lines, defined, strict=True) if not found or words[found[1]] > 1]
        if kept == lines:
            return kept
        lines = kept
