"""The space with batch statistics, in which Liu et al. 2020 found the EvoNorm-B layers."""

from evonas.space import SearchSpace

evonorm = SearchSpace(name="evonorm")
