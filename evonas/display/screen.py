"""Where something is shown that changes: a live display on a terminal, an output that is replaced in a notebook."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.live import Live

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDTH = 100  # characters in a notebook
_FORMAT = '<pre style="white-space: pre; overflow-x: auto; line-height: normal">{code}</pre>'


class Screen(Protocol):
    """What shows one thing at a time, from `start` to `stop`."""

    def start(self) -> None:
        """Begins to show."""

    def update(self, renderable: RenderableType, *, refresh: bool = False) -> None:
        """Shows something else; at once with `refresh`."""

    def stop(self) -> None:
        """Shows nothing any more."""


def screen_of(console: Console) -> Screen | None:
    """The screen of a console; None where nothing that was printed can be replaced, as in a pipe."""
    if console.is_jupyter:
        return NotebookScreen()
    return Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None


class NotebookScreen:
    """An output of a notebook's cell that is replaced, for which rich alone would need ipywidgets."""

    def __init__(self) -> None:
        self._output: Any = None

    def start(self) -> None:
        """Adds an empty output to the cell."""
        from IPython.display import display

        self._output = display({"text/html": "", "text/plain": ""}, raw=True, display_id=True)

    def update(self, renderable: RenderableType, *, refresh: bool = False) -> None:
        """Replaces the output."""
        if self._output is not None:
            self._output.update({"text/html": as_html(renderable), "text/plain": ""}, raw=True)

    def stop(self) -> None:
        """Empties the output."""
        if self._output is not None:
            self._output.update({"text/html": "", "text/plain": ""}, raw=True)


def as_html(renderable: RenderableType) -> str:
    """What a terminal would show, in its colours, as HTML in which all text is escaped."""
    console = Console(file=io.StringIO(), record=True, width=_WIDTH, force_jupyter=False, color_system="truecolor")
    console.print(renderable)
    return console.export_html(inline_styles=True, code_format=_FORMAT)
