"""Random numbers one at a time: those of a NumPy generator, without the price of asking it.

`Generator.integers` checks types and shapes for 2 µs before it draws, and a graph takes thirteen. `Draws` asks the bit
generator beneath through its C interface and gives the same numbers; the generator goes on where `Draws` left off, so
that both may be used in turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_WORD = 2**32


class Draws:
    """The next numbers of a generator.

    Args:
        rng: whose numbers they are, and whose state moves on.
    """

    __slots__ = ("_double", "_half_word", "_rng", "_state")

    def __init__(self, rng: np.random.Generator) -> None:
        interface = rng.bit_generator.ctypes
        self._rng = rng  # owns the memory that `_state` is the address of
        self._double, self._half_word, self._state = interface.next_double, interface.next_uint32, interface.state

    def uniform(self) -> float:
        """What `rng.random()` would have given: a number in [0, 1)."""
        number: float = self._double(self._state)
        return number

    def below(self, bound: int) -> int:
        """What `rng.integers(bound)` would have given, for a bound of 2 to 2³² − 1.

        Of the product of a random word and the bound the upper half is uniform, once words whose lower half falls into
        the part that does not divide evenly are drawn again. Lemire, "Fast random integer generation in an interval",
        ACM Transactions on Modeling and Computer Simulation 29, 2019.
        """
        product: int = self._half_word(self._state) * bound
        if product % _WORD < bound:
            uneven = (_WORD - bound) % bound
            while product % _WORD < uneven:
                product = self._half_word(self._state) * bound
        return product >> 32
