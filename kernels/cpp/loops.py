"""Writes loops over the planes of one sample in C++, for each memory layout of the input.

A kernel is a sequence of sections: lines that are computed once for each plane, and loops over the positions of a plane
that sum or store values. Contiguous planes are processed one by one, and W positions form a vector. Where channels are
adjacent, W channels form a vector, and the numbers of their planes are vectors too. Contiguous planes that are too
small to fill a vector are also processed W at a time, and their values are gathered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum


@dataclass(frozen=True)
class Rows:
    """Lines that are computed once for each plane; they may use `b`, `c` and `plane`."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Tiles:
    """A loop over the positions of a plane.

    Attributes:
        lines: the lines that are computed at each position.
        reads: the variables that are loaded, each with its pointer.
        sums: the variables that are summed, each with the value that is added.
        stores: the pointers that are stored to, each with the value that is stored.
    """

    lines: Sequence[str]
    reads: Mapping[str, str]
    sums: Mapping[str, str] = field(default_factory=dict)
    stores: Mapping[str, str] = field(default_factory=dict)


Section = Rows | Tiles


class MemoryLayout(Enum):
    """How an input is laid out in memory, and which of its values form a vector.

    ROWS is the layout of CHANNELS, computed row by row (`evonas.kernels.cpp.rows`).
    """

    PLANES = "contiguous"
    SMALL_PLANES = "contiguous, of small planes"
    CHANNELS = "channels last"
    ROWS = "rows"

    @property
    def of_channels(self) -> bool:
        """Whether neighbouring channels form a vector, rather than neighbouring positions."""
        return self is not MemoryLayout.PLANES


@dataclass(frozen=True)
class _Form:
    """The loops for one layout: the heads of the loops over planes and positions, and templates of statements.

    A sum has three templates, for the lines before, inside and after the loop over positions, which are filled with its
    name and the value that is added. A load is filled with its pointer, a store with its pointer and value.
    """

    planes: tuple[str, str]
    positions: tuple[str, str]
    before: str
    adds: str
    after: str
    load: str = "load({0} + at, left)"
    store: str = "store({0} + at, {1}, left)"


_PLANES = _Form(
    ("for (i64 c = 0; c < C; ++c) {", "    const i64 plane = b * C + c;"),
    ("    for (i64 p = 0; p < HW; p += W) {", "        const i64 at = plane * HW + p, left = HW - p;"),
    "    V {0}_lanes = {{}};",
    "{0}_lanes += first({1}, left);",
    "    const T {0} = sum_of({0}_lanes);",
)
_CHANNELS = _Form(
    ("for (i64 c = 0; c < C; c += W) {", "    const i64 plane = b * C + c, left = C - c;"),
    ("    for (i64 p = 0; p < HW; ++p) {", "        const i64 at = (b * HW + p) * C + c;"),
    "    V {0} = {{}};",
    "{0} += {1};",  # lanes beyond the last channel hold numbers that nobody reads
    "",
)
_SMALL_PLANES = replace(
    _CHANNELS,
    positions=(_CHANNELS.positions[0], "        const i64 at = plane * HW + p;"),
    load="gather({0} + at, HW, left)",
    store="scatter({0} + at, {1}, HW, left)",
)
_FORMS = {MemoryLayout.PLANES: _PLANES, MemoryLayout.SMALL_PLANES: _SMALL_PLANES, MemoryLayout.CHANNELS: _CHANNELS}


def loops(name: str, sections: Sequence[Section], layout: MemoryLayout) -> str:
    """The function that processes one sample `b`."""
    form = _FORMS[layout]
    lines = list(form.planes)
    for section in sections:
        if isinstance(section, Rows):
            lines += _indented(section.lines, 1)
            continue
        sums = [form.adds.format(total, value) for total, value in section.sums.items()]
        lines += [*(form.before.format(total) for total in section.sums), *form.positions]
        lines += _indented([*_loads(form, section), *section.lines, *sums, *_stores(form, section)], 2)
        lines.append("    }")
        if form.after:
            lines += [form.after.format(total) for total in section.sums]
    return function(name, [*lines, "}"])


def function(name: str, lines: Sequence[str], of: str = "const Call& call, const i64 b") -> str:
    """A function that unpacks the arguments which its lines use from `call`."""
    text = "\n".join(_indented(lines, 1))
    pointers = list(dict.fromkeys(re.findall(r"\b\w+_ptr\b", text)))
    unpacked = [f"    T* const __restrict {w} = call.{w};" for w in pointers]
    unpacked += [f"    const i64 {w} = call.{w};" for w in ("B", "C", "HW", "G") if re.search(rf"\b{w}\b", text)]
    if re.search(r"\bplanes\b", text):
        unpacked.append("    const i64 planes = call.B * call.C;")
    unpacked += [f"    const T {w} = call.{w};" for w in ("eps", "momentum", "unbias") if re.search(rf"\b{w}\b", text)]
    return "\n".join([f"void {name}({of}) {{", *unpacked, text, "}\n"])


def _loads(form: _Form, section: Tiles) -> list[str]:
    return [f"const V {name} = {form.load.format(pointer)};" for name, pointer in section.reads.items()]


def _stores(form: _Form, section: Tiles) -> list[str]:
    return [form.store.format(pointer, value) + ";" for pointer, value in section.stores.items()]


def _indented(lines: Sequence[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]
