"""Configurations of MobileNetV2 (Sandler et al. 2018): inverted residuals with linear bottlenecks."""

from __future__ import annotations

from evonas.workers.anchors.inverted_residuals import InvertedConfig, InvertedStage

MOBILENETV2 = InvertedConfig(
    stages=(
        InvertedStage(1, 16, 1, 1),
        InvertedStage(6, 24, 2, 2),
        InvertedStage(6, 32, 3, 2),
        InvertedStage(6, 64, 4, 2),
        InvertedStage(6, 96, 3, 1),
        InvertedStage(6, 160, 3, 2),
        InvertedStage(6, 320, 1, 1),
    )
)
"""Table 2 of the paper."""

MOBILENET_SMALL = InvertedConfig(
    stages=(InvertedStage(4, 16, 1, 1), InvertedStage(4, 24, 1, 2)), stem_width=16, head_width=96
)

MOBILENET_MEDIUM = InvertedConfig(
    stages=(
        InvertedStage(1, 16, 1, 1),
        InvertedStage(4, 16, 1, 1),
        InvertedStage(4, 24, 1, 2),
        InvertedStage(4, 32, 2, 2),
        InvertedStage(4, 48, 1, 1),
    ),
    stem_width=16,
    head_width=192,
)
"""A third of the blocks of MobileNetV2, and less than half of its width."""
