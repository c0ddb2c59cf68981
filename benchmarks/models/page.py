"""The table as Markdown, for the page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.markdown import markdown_table
from benchmarks.models.judging import Outcome


def table(found: Sequence[Outcome]) -> list[str]:
    """Return the lines of the table of all models."""
    header = ["library", "model", "pairs", "replaced", "wrong", "BN-ReLU for BN and ReLU", "two steps of training"]
    return markdown_table(header, [_cells(one) for one in found])


def _cells(one: Outcome) -> list[str]:
    if one.error:
        return [one.library, one.model, "", "", "", f"not judged: {one.error}", ""]
    same = {True: "same", False: "differs", None: "no such pair"}[one.same]
    return [
        one.library,
        one.model,
        str(one.expected),
        str(one.found),
        str(len(one.wrong)),
        same,
        "yes" if one.trains else "no",
    ]
