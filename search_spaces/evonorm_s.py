"""The space without batch statistics, in which Liu et al. 2020 found the EvoNorm-S layers.

A layer of this space treats every sample by itself: it works at batch size 1, and evaluation is the same
function as training.
"""

from evonas.space import SearchSpace

evonorm_s = SearchSpace(name="evonorm-s", index_sets=("whc", "wh", "whcg"))
