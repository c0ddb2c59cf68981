"""Single random numbers from a NumPy generator without its overhead per call.

`Generator.integers` checks types and shapes for 2 µs before it draws, and a graph takes thirteen numbers. `Draws` calls
the underlying bit generator through its C interface and returns the same numbers. Both advance the same state, so they
may be used in turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_WORD = 2**32


class Draws:
    """Draws single numbers from a generator.

    Args:
        rng: the generator, whose state advances with each number.
    """

    __slots__ = ("_double", "_half_word", "_rng", "_state")

    def __init__(self, rng: np.random.Generator) -> None:
        interface = rng.bit_generator.ctypes
        self._rng = rng  # owns the memory that `_state` points to
        self._double, self._half_word, self._state = interface.next_double, interface.next_uint32, interface.state

    def uniform(self) -> float:
        """The number in [0, 1) that `rng.random()` would return."""
        number: float = self._double(self._state)
        return number

    def below(self, bound: int) -> int:
        """The integer that `rng.integers(bound)` would return, for a bound from 2 to 2³² − 1.

        The upper half of the product of a random 32-bit word and the bound is uniform if words whose lower half falls
        into the uneven remainder are rejected. Lemire, "Fast random integer generation in an interval", ACM
        Transactions on Modeling and Computer Simulation 29, 2019.
        """
        product: int = self._half_word(self._state) * bound
        if product % _WORD < bound:
            uneven = (_WORD - bound) % bound
            while product % _WORD < uneven:
                product = self._half_word(self._state) * bound
        return product >> 32
