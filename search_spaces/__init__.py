"""The search spaces that come with evonas, by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from evonas.search_spaces.evonorm import evonorm
from evonas.search_spaces.evonorm_s import evonorm_s
from evonas.search_spaces.tokens import tokens, tokens_b, tokens_pointwise
from evonas.settings.plugins import Registry
from evonas.settings.search_space import SearchSpace

if TYPE_CHECKING:
    from collections.abc import Mapping


SPACES: Mapping[str, SearchSpace] = MappingProxyType(
    {space.name: space for space in (evonorm, evonorm_s, tokens, tokens_pointwise, tokens_b)}
)


def _own(_: str, found: object) -> SearchSpace | None:
    return found if isinstance(found, SearchSpace) else None


SPACE_REGISTRY = Registry("search space", SPACES, _own, "a SearchSpace")


def space_named(name: str) -> SearchSpace:
    """The space called `name`, of evonas, of a loaded file (`evonas.settings.plugins`) or of an installed package.

    Raises:
        UsageError: when no space has this name.
    """
    return SPACE_REGISTRY.find(name)
