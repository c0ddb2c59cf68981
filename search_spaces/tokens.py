"""The spaces of layers for tokens, which treat every token by itself: safe in any network, causal ones included.

Like `evonorm`, they are never edited.
"""

from dataclasses import replace

from evonas.settings.search_space import SearchSpace

_ELEMENTWISE = (*("add", "mul", "div", "max", "neg", "sigmoid", "tanh", "exp", "square", "abs", "log", "sqrt", "erf"),)

tokens = SearchSpace(
    name="tokens",
    operations=(*_ELEMENTWISE, "mean", "rms", "std"),
    index_sets=("c", "cg"),
    nodes=10,
    leaves=("s0", "s1", "0.5", "1", "2"),
)
"""Statistics over the channels of a token and over a group of them."""

tokens_pointwise = replace(tokens, name="tokens-pointwise", operations=_ELEMENTWISE, index_sets=())
"""No statistics: the kind of function that Derf was found among (Chen et al. 2025)."""

tokens_b = replace(tokens, name="tokens-b", index_sets=("c", "cg", "bwh"))
"""Statistics over the batch as well, for encoders: in training these see all positions."""
