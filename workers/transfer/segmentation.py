"""Training of the U-Net on canvases of digits, and its score."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.layers.backend_choice import for_training
from evonas.layers.norm_act import computed_by
from evonas.workers.anchors.layers import LayerBuilder, initialise
from evonas.workers.data.digits import clean_digits
from evonas.workers.data.seeding import seeded_generator
from evonas.workers.transfer.canvases import CLASSES, compose
from evonas.workers.transfer.unet import UNet

_BATCH, _TESTED, _AT_ONCE = 16, 400, 50
_LR = 5e-3


def segment(layer: LayerBuilder, seed: int, steps: int) -> float | None:
    """Return the mean IoU of a U-Net with the layer, on canvases of test digits.

    The U-Net is trained on the cross-entropy of pixels, with Adam and a cosine schedule, on new canvases in each step.

    Args:
        layer: builds the layer at every position.
        seed: seed of the weights and training canvases; the test canvases are always the same.
        steps: number of training steps, with 16 canvases each.

    Returns:
        A fraction between 0 and 1; None if training diverged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = UNet(layer, 1, CLASSES)
    computed_by(model, for_training("auto", "cpu"))
    initialise(model, seeded_generator("segmentation weights", seed))
    optimizer = torch.optim.Adam(model.parameters(), lr=_LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    train = clean_digits("train")
    for step in range(steps):
        images, classes = compose(train, _BATCH, seeded_generator("canvases", seed, step))
        loss = F.cross_entropy(model(images), classes)
        if not bool(loss.isfinite()):
            return None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return mean_iou(_confusion(model))


@torch.no_grad()
def _confusion(model: nn.Module) -> Tensor:
    """Count the pixels of the test canvases by class and prediction, int64 (11, 11)."""
    model.eval()
    images, classes = compose(clean_digits("test"), _TESTED, seeded_generator("test canvases"))
    counts = torch.zeros(CLASSES * CLASSES, dtype=torch.int64)
    for seen, wanted in zip(images.split(_AT_ONCE), classes.split(_AT_ONCE), strict=True):
        found = model(seen).nan_to_num(nan=-torch.inf).argmax(1)
        counts += torch.bincount((wanted * CLASSES + found).flatten(), minlength=CLASSES * CLASSES)
    return counts.view(CLASSES, CLASSES)


def mean_iou(confusion: Tensor) -> float:
    """Return the mean over classes of intersection over union (Everingham et al. 2010, the PASCAL VOC challenge).

    A class that neither occurs nor was predicted is left out.

    Args:
        confusion: the number of pixels of each class (rows) by predicted class (columns), (k, k).
    """
    counts = confusion.double()
    both = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - both
    return float((both[union > 0] / union[union > 0]).mean())
