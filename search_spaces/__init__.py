"""The search spaces that come with evonas, by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from evonas.errors import unknown
from evonas.search_spaces.evonorm import evonorm
from evonas.search_spaces.evonorm_s import evonorm_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evonas.space import SearchSpace

SPACES: Mapping[str, SearchSpace] = MappingProxyType({space.name: space for space in (evonorm, evonorm_s)})


def space_named(name: str) -> SearchSpace:
    """The space called `name`.

    Raises:
        UsageError: when there is none.
    """
    if name not in SPACES:
        raise unknown("search space", name, SPACES)
    return SPACES[name]
