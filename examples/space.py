"""A search space of your own: `evonas search --space examples/space.py:smooth`. The run records the whole space."""

from evonas import SearchSpace

smooth = SearchSpace(
    name="smooth",
    operations=("add", "mul", "div", "sigmoid", "tanh", "mean", "std"),
    index_sets=("whcg", "wh"),
    nodes=8,
    weights={"div": 2.0},
)
