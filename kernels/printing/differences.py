"""When a sum is written as a difference."""

from __future__ import annotations

from collections.abc import Sequence


def subtracted_term(negated: Sequence[bool]) -> int | None:
    """Which term of a sum is written after a minus sign; None if the sum stays a sum.

    Args:
        negated: for each of the two terms, whether it is a negation. Exactly one has to be.
    """
    return negated.index(True) if list(negated).count(True) == 1 else None
