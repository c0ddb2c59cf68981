"""Writes values of a plan as lines of a kernel, in Triton or in C++.

A kernel works on tiles of R planes by BLOCK positions. A value is a tile, a row of R numbers that are constant on
their planes, or a scalar. Rows that tiles need are computed before the loop over positions. A short value that is used
once is written where it is used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from enum import IntEnum
from typing import NamedTuple, Protocol

from evonas.kernels.plan.plan import Statistic
from evonas.kernels.plan.walk import in_order
from evonas.kernels.printing.dialects import Dialect
from evonas.language.expression import Written
from evonas.language.graph import FIRST, INPUTS, ZERO, Node, X
from evonas.language.leaf import leaf_named
from evonas.language.node import ONE, is_at_least_root_eps
from evonas.language.primitive_table import ATOM, OPERATIONS, PRODUCT, SUM, Moment

_LONGEST = 70
"""The most characters of an expression that is written inside another one."""


class SweptPlan(Protocol):
    """What a plan tells about its nodes: one for planes (`plan.py`) or for rows (`rows.py`)."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes; `nodes[i]` is node i + 4."""

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """The statistics whose raw moments are nodes of their own."""

    def varies_in_sweep(self, number: int) -> bool:
        """Whether a node has a value for each element that a sweep goes over, rather than one for all of them."""

    def arguments(self, number: int) -> tuple[int, ...]:
        """The nodes that a node is computed from; none for leaves, and for what sweeps find."""


class Level(IntEnum):
    """What a value is inside a kernel."""

    SCALAR = 0
    ROW = 1
    TILE = 2


class Value(NamedTuple):
    """A value as it is written, how tightly its text binds, and what it is inside the kernel."""

    text: str
    binds: int
    level: Level


class Body:
    """The lines of one kernel, and the values that have names in them.

    Args:
        plan: the plan whose nodes are written.
        dialect: the language in which they are written.
    """

    def __init__(self, plan: SweptPlan, dialect: Dialect) -> None:
        self.plan, self.dialect = plan, dialect
        self.statistics = {s.node: s for s in plan.statistics}
        self.known: dict[int, Value] = {ZERO: Value(dialect.zero, ATOM, Level.SCALAR)}
        for number, (op, args) in enumerate(plan.nodes, FIRST):
            leaf = None if args else leaf_named(op)
            if leaf is not None and leaf.value is not None:
                self.known[number] = Value(dialect.number.format(leaf.name), ATOM, Level.SCALAR)
        self.lines: list[str] = []
        self.indent = "    "
        self.in_tiles = False
        self._inverses: dict[int, str] = {}  # the names of the inverses of rows, by node
        self._used_names: Counter[str] = Counter()

    def inner(self) -> Body:
        """A body for lines inside a loop, which knows the values of this one and uses none of its names again."""
        inner = Body(self.plan, self.dialect)
        inner.known |= self.known
        inner.indent = self.indent + "    "
        inner.in_tiles = self.in_tiles
        inner._inverses |= self._inverses
        inner._used_names = Counter(self._used_names)
        return inner

    def line(self, text: str = "") -> None:
        """Adds a line as it is, with the current indentation."""
        self.lines.append(self.indent + text if text else "")

    def name(self, number: int, text: str, level: Level) -> None:
        """Records that `text` stands for a node from here on."""
        self.known[number] = Value(text, ATOM, level)

    def fresh(self, noun: str) -> str:
        """A name that no other variable has."""
        self._used_names[noun] += 1
        clashes = self._used_names[noun] > 1 or noun in self.dialect.reserved
        return f"{noun}_{self._used_names[noun]}" if clashes else noun

    def reached(self, wanted: Iterable[int]) -> list[int]:
        """The leaves that some nodes depend on: inputs, results of sweeps, means across planes, and running values."""
        return [n for n in self._order(wanted) if self._is_leaf(n)]

    def rows(self, wanted: Iterable[int]) -> None:
        """Writes those of some nodes that are constant on planes, and the rows that tiles among them need."""
        order = self._order(wanted)
        used = {a for n in order if self.plan.varies_in_sweep(n) for a in self._arguments(n)}
        # A tile plus a negated row is written as a difference, so the row itself is written.
        outer = {self._arguments(n)[0] if self._is_negation(n) else n for n in used} | set(wanted)
        by_rows = {a for n in order if not self.plan.varies_in_sweep(n) for a in self._arguments(n)}
        late = {n for n in used if self._is_negation(n)} - outer - by_rows
        self._write([n for n in order if not self.plan.varies_in_sweep(n) and n not in late], outer)
        for number in order:
            if self.dialect.inverse is not None and self.plan.varies_in_sweep(number):
                self._invert(number, self.dialect.inverse)

    def values(self, wanted: Collection[int]) -> list[str]:
        """Writes some nodes and everything they need; returns how each of them is then referred to, as a tile."""
        self._write(self._order(wanted), set(wanted))
        return [self.tile(n) for n in wanted]

    def tile(self, number: int) -> str:
        """A known node as it is written in an expression with tiles."""
        return self._beside(number, Level.TILE).text

    def row(self, number: int) -> str:
        """A known node that is constant on planes, as it is written in an expression with rows."""
        return self.known[number].text

    def _invert(self, number: int, inverse: str) -> None:
        """Writes the inverse of the row that a tile is divided by, as a division takes as long as eight products."""
        if self._is_leaf(number) or self.plan.nodes[number - FIRST].op != "div":
            return
        divisor = self._arguments(number)[1]
        if divisor in self._inverses or self.plan.varies_in_sweep(divisor):
            return
        if not is_at_least_root_eps(self.plan.nodes, divisor):
            return
        self._inverses[divisor] = self.fresh("inverse")
        text = inverse.format(self._beside(divisor, Level.ROW).within(PRODUCT + 1))
        self.line(self.dialect.definition.format(self._inverses[divisor], text))

    def _is_negation(self, number: int) -> bool:
        constant = number >= FIRST and not self.plan.varies_in_sweep(number)
        return constant and not self._is_leaf(number) and self.plan.nodes[number - FIRST].op == "neg"

    def _is_leaf(self, number: int) -> bool:
        if number < FIRST:
            return number != ZERO
        return not self.plan.arguments(number) or OPERATIONS[self.plan.nodes[number - FIRST].op].of_planes

    def _arguments(self, number: int) -> tuple[int, ...]:
        return () if self._is_leaf(number) else self.plan.arguments(number)

    def _order(self, wanted: Iterable[int]) -> list[int]:
        """The nodes without a name that some nodes depend on, including these themselves, arguments first."""
        return in_order(wanted, self._arguments, self.known)

    def _write(self, order: list[int], named: Collection[int]) -> None:
        uses = Counter(a for n in order for a in self._arguments(n))
        for number in order:
            value = self._expression(number)
            if value.binds == ATOM and value.text in {self.dialect.one, *(v.text for v in self.known.values())}:
                self.known[number] = value  # a constant, or a second name for a value that has one
            elif number in named or len(value.text) > _LONGEST or (uses[number] > 1 and not self._is_negation(number)):
                variable = self.fresh(self._noun(number))
                definition = self.dialect.tile_definition if self.in_tiles else self.dialect.definition
                self.line(definition.format(variable, value.text))
                self.known[number] = Value(variable, ATOM, value.level)
            else:
                self.known[number] = value

    def _noun(self, number: int) -> str:
        return INPUTS[X] if number == X else OPERATIONS[self.plan.nodes[number - FIRST].op].noun

    def _expression(self, number: int) -> Value:
        statistic = self.statistics.get(number)
        if statistic is not None:
            raw = self.known[statistic.raw if statistic.raw is not None else number]
            if statistic.moment is Moment.MEAN:
                return raw
            return Value(self.dialect.of(OPERATIONS["root"]).format(raw.text), ATOM, raw.level)
        name, args = self.plan.nodes[number - FIRST]
        if (name, args) == ONE:
            return Value(self.dialect.one, ATOM, Level.SCALAR)
        level = max(self.known[a].level for a in args)
        written = [self._beside(a, level) for a in args]
        op = OPERATIONS[name]
        match name:
            case "add":
                return self._sum(written, level)
            case "mul":
                left, right = written
                return Value(f"{left.within(PRODUCT)} * {right.within(PRODUCT + 1)}", PRODUCT, level)
            case "div" if args[1] in self._inverses and level is Level.TILE:
                text = self._inverses[args[1]]
                inverse = text if self.known[args[1]].level is Level.SCALAR else self.dialect.beside_tiles.format(text)
                return Value(f"{written[0].within(PRODUCT)} * {inverse}", PRODUCT, level)
            case "div" if is_at_least_root_eps(self.plan.nodes, args[1]):
                return Value(f"{written[0].within(PRODUCT)} / {written[1].within(PRODUCT + 1)}", PRODUCT, level)
            case "div":
                return Value(f"{written[0].within(PRODUCT)} / away_from_zero({written[1].text}, eps)", PRODUCT, level)
            case "neg":
                text = written[0].within(PRODUCT)
                # Two minus signs in a row would be the decrement operator in C++.
                return Value(text[1:] if text.startswith("-") else f"-{text}", PRODUCT, level)
        return Value(self.dialect.of(op).format(*(w.within(SUM) for w in written)), ATOM, level)

    def _sum(self, written: list[Written], level: Level) -> Value:
        """A sum, or a difference if exactly one term begins with a minus sign: that of a negation or of its product."""
        negative = [w.text.startswith("-") and w.binds == PRODUCT for w in written]
        if negative.count(True) == 1:
            minus, plus = written[negative.index(True)], written[negative.index(False)]
            return Value(f"{plus.within(SUM)} - {minus.text[1:]}", SUM, level)
        return Value(f"{written[0].within(SUM)} + {written[1].within(SUM + 1)}", SUM, level)

    def _beside(self, number: int, level: Level) -> Written:
        text, binds, own = self.known[number]
        if level is not Level.TILE or own is not Level.ROW or self.dialect.beside_tiles == "{}":
            return Written(text, binds)
        if binds == ATOM or re.fullmatch(r"-\w+", text):
            return Written(self.dialect.beside_tiles.format(text), binds)
        # An earlier part of the kernel needed it once, and so wrote it where it was needed.
        return Written(self.dialect.beside_tiles.format(f"({text})"), ATOM)
