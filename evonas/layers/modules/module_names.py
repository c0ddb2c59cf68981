"""The names of the layers that are no graphs. This file is light: what lists layers need not load PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MODULES: Mapping[str, str] = MappingProxyType(
    {
        "powernorm": "Shen et al. 2020; running mean square, approximate gradient",
        "unified-norm": "Yang et al. 2022; geometric mean of the latest mean squares",
        "prepbn": "Guo et al. 2024; LayerNorm that gives way to BatchNorm",
        "bcn": "Khaled et al. 2023; a mixture of BatchNorm and LayerNorm",
        "ibn": "Pan et al. 2018; InstanceNorm and BatchNorm, half of the channels each",
    }
)
"""Who published each layer, by name. In positions with an activation ReLU follows them."""
