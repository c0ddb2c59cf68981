"""Published spaces must draw the same graphs forever, because runs are resumed by seed alone."""

from hashlib import sha256

import pytest

from evonas.language.graph import Graph
from evonas.search_spaces import SPACES
from evonas.settings.search_space import generator

DRAWN: dict[tuple[str, int], str] = {
    ("evonorm", 0): "b75c0944c4faf154",
    ("evonorm", 2020): "514b02ab6938af69",
    ("evonorm-s", 0): "579f13696cd7cfca",
    ("evonorm-s", 2020): "4968079dee22aa6d",
    ("tokens", 0): "116fb8d343ff2bbd",
    ("tokens", 2020): "8d06af983b53685c",
    ("tokens-pointwise", 0): "fbb22b43f97b3abe",
    ("tokens-pointwise", 2020): "76583371fc0e306b",
    ("tokens-b", 0): "68b9d19f68fab441",
    ("tokens-b", 2020): "7bcf4b9fe0315931",
}
MUTATED: dict[tuple[str, int], str] = {
    ("evonorm", 0): "e61713794f5ddc58",
    ("evonorm", 2020): "b0a652575fc2f2e2",
    ("evonorm-s", 0): "ec39afa9744c0f84",
    ("evonorm-s", 2020): "1c2422ffd74f7559",
    ("tokens", 0): "be0badd95a374ab1",
    ("tokens", 2020): "385714ab9e95f780",
    ("tokens-pointwise", 0): "49f5eacf42891e66",
    ("tokens-pointwise", 2020): "b0c4c0f6c620059e",
    ("tokens-b", 0): "c78769ca2fb15d8d",
    ("tokens-b", 2020): "b490c2e92773357b",
}


def written(graph: Graph) -> str:
    """Every node, including dead ones, and the output."""
    return " ".join(f"{op}{args}" for op, args in graph.nodes) + f" -> {graph.output}"


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("seed", [0, 2020])
def test_a_seed_draws_and_mutates_what_it_always_did(name: str, seed: int) -> None:
    """For a new space, this fails and shows the two digests to write down above."""
    space = SPACES[name]
    drawn, mutated = sha256(), sha256()
    for index in range(500):
        graph = space.random_graph(generator(seed, index))
        drawn.update(written(graph).encode())
        child, _ = space.mutate(graph, generator(seed, index, 1))
        mutated.update(written(child).encode())
    pinned = DRAWN.get((name, seed)), MUTATED.get((name, seed))
    assert (drawn.hexdigest()[:16], mutated.hexdigest()[:16]) == pinned


def test_no_published_space_is_gone() -> None:
    assert {name for name, _ in DRAWN} <= set(SPACES)
