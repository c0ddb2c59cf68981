"""Has the reference read "a, b: what both are" in the attributes of a docstring as two names, not as a name and a type.

Griffe, which reads docstrings for MkDocs, takes what follows the first space of an attribute for its type. So the
spaces between names become spaces that do not break.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Class, Extension, Module

_SEVERAL = re.compile(r"^( +\w+(?:, \w+)+):", re.M)


class SeveralNames(Extension):
    """Joins the names of an entry."""

    def on_class(self, *, cls: Class, **of: Any) -> None:
        """Change the docstring of a class."""
        _join(cls)

    def on_module(self, *, mod: Module, **of: Any) -> None:
        """Change the docstring of a module."""
        _join(mod)


def _join(documented: Class | Module) -> None:
    if documented.docstring is not None:
        before, attributes, after = documented.docstring.value.partition("Attributes:\n")
        joined = _SEVERAL.sub(lambda names: names[0].replace(", ", ",\N{NO-BREAK SPACE}"), after)
        documented.docstring.value = before + attributes + joined
