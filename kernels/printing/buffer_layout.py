"""Where a buffer holds the numbers of planes and cells: one contiguous run for every value, without gaps.

A value for each sample and channel takes B · C numbers, one for each sample and group B · G, one for each channel C,
and so on. Runs of one kind follow one another, so that every address is a sum of few products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from evonas.language.varying_axes import Extent

KINDS: Mapping[Extent, tuple[str, str]] = {
    Extent.BATCH | Extent.CHANNEL: ("planes", "plane"),
    Extent.BATCH | Extent.GROUP: ("B * G", "b * G + c // (C // G)"),
    Extent.CHANNEL: ("C", "c"),
    Extent.BATCH: ("B", "b + c * 0"),
    Extent.GROUP: ("G", "c // (C // G)"),
    Extent.NONE: ("1", "c * 0"),
}
"""For each extent without the plane: the count of numbers, and the index of the one for channels `c` of samples `b`."""


def cell_index(extent: Extent) -> str:
    """The index of a mean across planes among those of all cells, in code for one cell of sample `b` or group `g`."""
    at = {Extent.BATCH | Extent.GROUP: "b * G + g", Extent.BATCH: "b", Extent.GROUP: "g"}
    return at.get(extent, "0")


class BufferLayout:
    """The layout of one buffer.

    Args:
        name: the name of the pointer to it.
        values: the nodes that it holds, each with the axes that it varies over.
    """

    def __init__(self, name: str, values: Iterable[tuple[int, Extent]]) -> None:
        self._name = name
        self._count = dict.fromkeys(KINDS, 0)
        self._place: dict[int, tuple[Extent, int]] = {}
        for node, extent in values:
            self._place[node] = (extent, self._count[extent])
            self._count[extent] += 1

    def __contains__(self, node: int) -> bool:
        return node in self._place

    @property
    def nodes(self) -> tuple[int, ...]:
        """The nodes that the buffer holds."""
        return tuple(self._place)

    def address(self, node: int, buffer: str | None = None) -> str:
        """The pointer to the first number of a value, in this buffer or in a named one of the same layout."""
        extent, place = self._place[node]
        terms = []
        for kind, (size, _) in KINDS.items():
            count = place if kind == extent else self._count[kind]
            if count:
                terms.append(str(count) if size == "1" else f"{count} * {size}" if count > 1 else size)
            if kind == extent:
                break
        return " + ".join([buffer or self._name, *terms])

    def index(self, node: int) -> str:
        """The index of a value's number for channels `c` of samples `b`."""
        return KINDS[self._place[node][0]][1]

    def size(self, b: int, c: int, groups: int) -> int:
        """How many numbers the buffer holds."""
        sizes = {"planes": b * c, "B * G": b * groups, "C": c, "B": b, "G": groups, "1": 1}
        return sum(count * sizes[kind] for kind, count in self.counts().items())

    def counts(self) -> Mapping[str, int]:
        """The number of values of each kind that occurs, by the first entry of `KINDS`."""
        return {KINDS[kind][0]: count for kind, count in self._count.items() if count}
