"""The space with batch statistics, in which Liu et al. 2020 found the EvoNorm-B layers.

A published space is never edited, so that a seed draws the same graphs from it in every version of evonas. To draw
other graphs, add a space with another name.
"""

from evonas.settings.search_space import SearchSpace

evonorm = SearchSpace(
    name="evonorm",
    operations=(
        *("add", "mul", "div", "max", "neg", "sigmoid", "tanh", "exp", "square", "abs", "log", "sqrt"),
        *("mean", "rms", "std"),
    ),
    index_sets=("bwh", "whc", "wh", "whcg"),
    nodes=10,
)
