"""Configurations of EfficientNet (Tan and Le 2019): inverted residuals with squeeze-and-excitation."""

from __future__ import annotations

from dataclasses import replace

from evonas.workers.anchors.inverted_residuals import InvertedConfig, InvertedStage
from evonas.workers.anchors.mobilenet import MOBILENET_MEDIUM, MOBILENET_SMALL

EFFICIENTNET_B0 = InvertedConfig(
    stages=(
        InvertedStage(1, 16, 1, 1, kernel=3),
        InvertedStage(6, 24, 2, 2, kernel=3),
        InvertedStage(6, 40, 2, 2, kernel=5),
        InvertedStage(6, 80, 3, 2, kernel=3),
        InvertedStage(6, 112, 3, 1, kernel=5),
        InvertedStage(6, 192, 4, 2, kernel=5),
        InvertedStage(6, 320, 1, 1, kernel=3),
    ),
    narrows_head=True,
    squeeze_ratio=0.25,
)
"""Table 1 of the paper."""

# All kernels are 3×3, because the gradient of a 5×5 depthwise convolution takes ten times as long on a CPU.
EFFICIENTNET_SMALL = replace(MOBILENET_SMALL, narrows_head=True, squeeze_ratio=0.25)
EFFICIENTNET_MEDIUM = replace(MOBILENET_MEDIUM, narrows_head=True, squeeze_ratio=0.25)
