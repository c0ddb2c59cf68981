"""The input shapes of normalisation-activation layers in two published networks, for 224×224 images."""

from __future__ import annotations

Shape = tuple[int, int, int, int]

_RESNET_STAGES = ((64, 256, 56), (128, 512, 28), (256, 1024, 14), (512, 2048, 7))
_MOBILENET = ((32, 112), (96, 112), (96, 56), (144, 56), (144, 28), (192, 28), (192, 14), (384, 14), (576, 14))
_MOBILENET_END = ((576, 7), (960, 7), (1280, 7))

MAIN: tuple[Shape, ...] = (
    *((128, c, size, size) for c, size in ((64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7))),
    (32, 256, 56, 56),
)
"""One shape for each size of ResNet-50's planes, and one at a smaller batch; these are measured first."""


def resnet50(batch: int = 128) -> list[Shape]:
    """The shapes of a pre-activation ResNet-50: the stem, then the narrow and the wide layers of each stage."""
    shapes = [(batch, 64, 112, 112)]
    for narrow, wide, size in _RESNET_STAGES:
        shapes += [(batch, narrow, size, size), (batch, wide, size, size)]
    return shapes


def mobilenetv2(batch: int = 128) -> list[Shape]:
    """The shapes of MobileNetV2 at width 1: the expanded layers around each change of size, and the last layer."""
    return [(batch, c, size, size) for c, size in (*_MOBILENET, *_MOBILENET_END)]
