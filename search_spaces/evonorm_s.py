"""The space without batch statistics, in which Liu et al. 2020 found the EvoNorm-S layers.

A layer of this space treats every sample independently: it works at batch size 1, and it is the same function in
evaluation as in training. Like `evonorm`, the space is never edited.
"""

from evonas.settings.search_space import SearchSpace

evonorm_s = SearchSpace(
    name="evonorm-s",
    operations=(
        *("add", "mul", "div", "max", "neg", "sigmoid", "tanh", "exp", "square", "abs", "log", "sqrt"),
        *("mean", "rms", "std"),
    ),
    index_sets=("whc", "wh", "whcg"),
    nodes=10,
)
