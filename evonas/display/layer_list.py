"""Layers with their numbers: one line of numbers, and the expression on a line of its own below it.

A table would give the expression a column, which is too narrow for it in most terminals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.text import Text

_GAP = 2
_INDENT = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One layer.

    Attributes:
        label: what the line begins with.
        cells: the numbers, one for each heading, the first of them in bold.
        below: lines of text below them, the first in full colour and the others dimmed.
    """

    label: str
    cells: Sequence[str]
    below: Sequence[str] = ()


@dataclass(frozen=True)
class LayerList:
    """A list of layers that fits into any width: the last columns are left out where there is no room for them.

    Attributes:
        headings: of the numbers; a line break is kept.
        lines: the layers.
        others: further lines, after an empty one.
        title, caption: text above and below; None for none.
        what: the heading of the labels.
    """

    headings: Sequence[str]
    lines: Sequence[Line]
    others: Sequence[Line] = ()
    title: str | None = None
    caption: str | None = None
    what: str = "id"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of the list."""
        widths = self._widths()
        shown = self._shown(widths, options.max_width)
        if self.title:
            yield Text(self.title, "italic")
        yield Text()
        heads = [heading.split("\n") for heading in self.headings[:shown]]
        height = max(map(len, heads), default=1)
        for place in range(height):  # as in a table, headings stand on the rule below them
            words = [head[place - height + len(head)] if place >= height - len(head) else "" for head in heads]
            yield self._row(self.what if place == height - 1 else "", words, widths, "bold", "bold")
        yield Text("─" * min(options.max_width, sum(widths[: shown + 1]) + _GAP * (shown + 1)), "dim")
        for line in self.lines:
            yield from self._written(line, widths, shown, "")
        if self.others:
            yield Text()
        for line in self.others:
            yield from self._written(line, widths, shown, "cyan")
        hidden = [heading.replace("\n", "") for heading in self.headings[shown:]]
        if hidden:
            yield Text(f"no room for {', '.join(hidden)}: widen the terminal, or use -f json", "dim")
        if self.caption:
            yield Text(self.caption, "dim")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """It takes the width that there is."""
        return Measurement(options.min_width, options.max_width)

    def _widths(self) -> list[int]:
        lines = [*self.lines, *self.others]
        cells = [[line.cells[place] for line in lines] for place in range(len(self.headings))]
        numbers = [
            max(map(len, [*heading.split("\n"), *column])) for heading, column in zip(self.headings, cells, strict=True)
        ]
        return [max(map(len, [self.what, *(line.label for line in lines)])), *numbers]

    def _shown(self, widths: Sequence[int], room: int) -> int:
        """How many of the columns of numbers fit."""
        for shown in range(len(self.headings), 1, -1):
            if sum(widths[: shown + 1]) + _GAP * (shown + 1) <= room:
                return shown
        return min(1, len(self.headings))  # the first is always there

    def _written(self, line: Line, widths: Sequence[int], shown: int, style: str) -> RenderResult:
        yield self._row(line.label, line.cells[:shown], widths, style, "" if style else "bold")
        for place, text in enumerate(line.below):
            yield Padding(Text(text, "dim" if place else ""), (0, 0, 0, _INDENT), expand=False)

    @staticmethod
    def _row(label: str, cells: Sequence[str], widths: Sequence[int], style: str, first: str = "") -> Text:
        text = Text(f" {label:{widths[0]}}", style, no_wrap=True, overflow="ellipsis")
        for place, (cell, width) in enumerate(zip(cells, widths[1:], strict=False)):
            text.append(" " * _GAP + f"{cell:>{width}}", ("" if place else first) or "default")
        return text
