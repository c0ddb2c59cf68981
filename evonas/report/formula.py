"""Formulas as MathML, which browsers typeset by themselves."""

from __future__ import annotations

from latex2mathml.converter import convert
from markupsafe import Markup

from evonas.errors import GraphError
from evonas.language.graph import Graph

_LONGEST = 2000  # characters of LaTeX; a formula that fills pages tells nobody anything


def mathml(graph: Graph) -> Markup | None:
    """The layer's formula as an element `math`; None where it is too long to be one."""
    try:
        latex = graph.latex()
    except GraphError:
        return None
    # What is converted is made of the table's own LaTeX alone, and the converter escapes what it writes.
    return Markup(convert(latex, display="block")) if len(latex) <= _LONGEST else None
