"""torchvision beside a PyTorch for which its compiled operators were not built: the one that it needs, in Python."""

from __future__ import annotations

import contextlib
import importlib

import torch
from torch import Tensor

_library: torch.library.Library | None = None  # kept, because its operators go with it


def define_nms() -> None:
    """Define `torchvision::nms`, without which torchvision cannot be imported, unless it is there."""
    global _library
    with contextlib.suppress(ImportError, RuntimeError):
        importlib.import_module("torchvision")  # loads its operators if they fit
    if _library is None and not hasattr(torch.ops.torchvision, "nms"):
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):  # qnms is for quantised boxes
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.impl("nms", _nms, "CompositeExplicitAutograd")


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices, int64, of the boxes (n, 4) that overlap with no better one by more than the threshold, best first."""
    left, order = boxes.double(), scores.argsort(descending=True).tolist()
    area = (left[:, 2] - left[:, 0]) * (left[:, 3] - left[:, 1])
    kept: list[int] = []
    for one in order:
        corners = torch.cat([left[kept, :2].maximum(left[one, :2]), left[kept, 2:].minimum(left[one, 2:])], 1)
        overlap = (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(1)
        if not kept or bool((overlap <= iou_threshold * (area[kept] + area[one] - overlap)).all()):
            kept.append(one)
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)
