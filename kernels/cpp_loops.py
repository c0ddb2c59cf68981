"""Loops over the planes of one sample, as C++: one function where planes are contiguous, one where channels are.

A kernel is a row of sections: what is computed once for each plane, and loops over the positions of a plane that add
up or store, W at a time. Contiguous planes are gone over one by one, and positions make the vectors; where channels
lie side by side, those do, and what the sections hand on for each plane stands in arrays of R numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

WIDTH = 64
"""R: channels that are gone over together where they are contiguous; 256 bytes of float32, four lines of cache."""


@dataclass(frozen=True)
class Rows:
    """What is computed once for each plane: lines that may name `b`, `c` and `plane`."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Tiles:
    """A loop over the positions of a plane.

    Attributes:
        lines: what is computed at each.
        reads: variables that are loaded, and the pointers that they are loaded from.
        sums: variables that are added to, each by what.
        stores: what is stored, and the pointers.
    """

    lines: Sequence[str]
    reads: Mapping[str, str]
    sums: Mapping[str, str] = field(default_factory=dict)
    stores: Mapping[str, str] = field(default_factory=dict)


Section = Rows | Tiles


def loops(name: str, sections: Sequence[Section], channels_last: bool) -> str:
    """The function for one sample `b`."""
    return _channels(name, sections) if channels_last else _planes(name, sections)


def _planes(name: str, sections: Sequence[Section]) -> str:
    """Contiguous planes."""
    lines = ["for (i64 c = 0; c < C; ++c) {", "    const i64 plane = b * C + c;"]
    for section in sections:
        if isinstance(section, Rows):
            lines += _indented(section.lines, 1)
            continue
        lines += [f"    V {total}_lanes = {{}};" for total in section.sums]
        lines += ["    for (i64 p = 0; p < HW; p += W) {", "        const i64 at = plane * HW + p, left = HW - p;"]
        sums = [f"{total}_lanes += first({value}, left);" for total, value in section.sums.items()]
        lines += _indented([*_loads(section), *section.lines, *sums, *_stores(section)], 2)
        lines.append("    }")
        lines += [f"    const T {total} = sum_of({total}_lanes);" for total in section.sums]
    return function(name, [*lines, "}"])


def _channels(name: str, sections: Sequence[Section]) -> str:
    """Contiguous channels."""
    handed = _handed_on(sections)
    sums = {total for section in sections if isinstance(section, Tiles) for total in section.sums}
    lines = ["for (i64 first = 0; first < C; first += R) {", "    const i64 n = C - first < R ? C - first : R;"]
    lines += [f"    T {name}_row[R]{' = {}' if name in sums else ''};" for name in handed]
    known: set[str] = set()
    for section in sections:
        used = [name for name in handed if name in _words(section) & known]
        if isinstance(section, Rows) and section.lines:
            own = [name for name in handed if name in _defined(section)]
            lines += ["    for (i64 j = 0; j < n; ++j) {", "        const i64 c = first + j, plane = b * C + c;"]
            lines += _indented([f"const T {name} = {name}_row[j];" for name in used], 2)
            lines += _indented([*section.lines, *(f"{name}_row[j] = {name};" for name in own)], 2)
            lines.append("    }")
        elif isinstance(section, Tiles):
            lines += ["    for (i64 p = 0; p < HW; ++p) {", "        for (i64 j = 0; j < n; j += W) {"]
            lines.append("            const i64 at = (b * HW + p) * C + first + j, left = n - j;")
            lines += _indented([f"const V {name} = load({name}_row + j, W);" for name in used], 3)
            # Lanes beyond the last channel hold what nobody reads.
            sums_here = [f"add({total}_row + j, {value});" for total, value in section.sums.items()]
            lines += _indented([*_loads(section), *section.lines, *sums_here, *_stores(section)], 3)
            lines += ["        }", "    }"]
        known |= _defined(section)
    return function(name, [*lines, "}"])


def function(name: str, lines: Sequence[str], of: str = "const Call& call, const i64 b") -> str:
    """A function that unpacks from `call` what its lines name."""
    text = "\n".join(_indented(lines, 1))
    pointers = list(dict.fromkeys(re.findall(r"\b\w+_ptr\b", text)))
    unpacked = [f"    T* const __restrict {w} = call.{w};" for w in pointers]
    unpacked += [f"    const i64 {w} = call.{w};" for w in ("B", "C", "HW", "G") if re.search(rf"\b{w}\b", text)]
    if re.search(r"\bplanes\b", text):
        unpacked.append("    const i64 planes = call.B * call.C;")
    unpacked += [f"    const T {w} = call.{w};" for w in ("eps", "momentum", "unbias") if re.search(rf"\b{w}\b", text)]
    return "\n".join([f"void {name}({of}) {{", *unpacked, text, "}\n"])


def _loads(section: Tiles) -> list[str]:
    return [f"const V {name} = load({pointer} + at, left);" for name, pointer in section.reads.items()]


def _stores(section: Tiles) -> list[str]:
    return [f"store({pointer} + at, {value}, left);" for pointer, value in section.stores.items()]


def _handed_on(sections: Sequence[Section]) -> list[str]:
    """Names that one section defines and a later one uses."""
    handed: dict[str, None] = {}
    for place, section in enumerate(sections):
        later = {word for other in sections[place + 1 :] for word in _words(other)}
        handed |= dict.fromkeys(sorted(_defined(section) & later))
    return list(handed)


def _defined(section: Section) -> set[str]:
    if isinstance(section, Tiles):
        return set(section.sums)
    return {match[1] for line in section.lines if (match := re.match(r"const T (\w+) =", line))}


def _words(section: Section) -> set[str]:
    text = list(section.lines)
    if isinstance(section, Tiles):
        text += [*section.sums.values(), *section.stores.values()]
    return set(re.findall(r"\w+", " ".join(text)))


def _indented(lines: Sequence[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]
