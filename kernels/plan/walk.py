"""The walk over the nodes that other nodes depend on, which planning, scheduling and printing share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence


def in_order(
    wanted: Iterable[int], arguments: Callable[[int], Sequence[int]], known: Collection[int] = ()
) -> list[int]:
    """The nodes that some nodes depend on, including these themselves, each once and after its arguments.

    Args:
        wanted: the numbers of the nodes to start from.
        arguments: gives the nodes that a node is computed from; an empty sequence ends the walk there.
        known: nodes to leave out, together with everything that only they depend on.
    """
    order: list[int] = []
    seen: set[int] = set()
    stack = [(number, False) for number in reversed(list(wanted))]
    while stack:
        number, arguments_are_done = stack.pop()
        if arguments_are_done:
            order.append(number)
        elif number not in seen and number not in known:
            seen.add(number)
            stack.append((number, True))
            stack += [(argument, False) for argument in reversed(arguments(number))]
    return order
