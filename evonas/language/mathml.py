"""Formulas as MathML, which browsers typeset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evonas.errors import GraphError

if TYPE_CHECKING:
    from markupsafe import Markup

    from evonas.language.graph import Graph

_MAX_LENGTH = 2000  # characters of LaTeX; nobody reads a formula that fills pages


def mathml(graph: Graph) -> Markup | None:
    """The layer's formula as a `math` element; None if the formula is too long."""
    from latex2mathml.converter import convert
    from markupsafe import Markup

    try:
        latex = graph.latex()
    except GraphError:
        return None
    # The LaTeX comes from the table of primitives alone, and the converter escapes its output.
    return Markup(convert(latex, display="block")) if len(latex) <= _MAX_LENGTH else None
