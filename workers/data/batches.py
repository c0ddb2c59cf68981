"""Training batches: a fixed sequence for each seed, augmented, cropped and mirrored on the training device."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evonas.errors import UsageError
from evonas.workers.data.seeding import seeded_generator
from evonas.workers.data.splits import Split

if TYPE_CHECKING:
    from evonas.workers.data.dataset import DataSet

_CHUNK = 32
"""Steps whose batches are made in one call: few calls, and little waste when a training stops early."""
_CHUNK_BYTES = 64 * 2**20
"""Largest size of one chunk; with large images, a chunk covers fewer steps."""
_CACHED_BYTES = 256 * 2**20
"""Training batches that a process keeps."""


class Batches:
    """The endless sequence of training batches of one seed: batch ``step`` is a function of (seed, step).

    Every image appears once per epoch, in an order drawn for that epoch. Batches are made for several steps
    at a time and kept, up to a memory limit, because every candidate of a run uses the same ones. All random
    numbers are drawn on the CPU, so that every device sees the same images up to rounding.

    Args:
        data: the data set whose training images are drawn.
        seed: the seed of the order, augmentation, crops and flips.
        batch: images per step.
        pad: zeros added on each side of a standardised image, in pixels.
        crop: height and width of a random crop of the padded image; None for the size before padding.
        flip: whether half of the images, drawn at random, are mirrored left to right.
        device: where batches are made; training images that need no augmentation are kept there.

    Raises:
        UsageError: The crop is larger than a padded image.
    """

    def __init__(
        self, data: DataSet, seed: int, batch: int, pad: int, crop: int | None, flip: bool, device: torch.device
    ) -> None:
        self.data, self.seed, self.batch, self.device = data, seed, batch, device
        self.pad, self.flip = pad, flip
        self.size = crop_size(data.size, pad, crop)
        self._untouched = pad == 0 and not flip and self.size == data.size
        step_bytes = 4 * batch * data.channels * self.size[0] * self.size[1]
        self._steps = max(1, min(_CHUNK, _CHUNK_BYTES // step_bytes))
        self._most = max(1, _CACHED_BYTES // (self._steps * step_bytes))
        self._chunks: dict[int, Split] = {}

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return images, float32 (batch, c, h, w), and labels, int64 (batch,), of a step counted from 0."""
        number, within = divmod(step, self._steps)
        if number not in self._chunks:
            if len(self._chunks) == self._most:
                # Trainings go forward from step 0, so the newest chunk is the one that is needed again last.
                self._chunks.popitem()
            self._chunks[number] = self._make(number)
        chunk, rows = self._chunks[number], slice(within * self.batch, (within + 1) * self.batch)
        return chunk.images[rows], chunk.labels[rows]

    def _make(self, number: int) -> Split:
        """Make the samples of steps ``number`` · chunk … (``number`` + 1) · chunk − 1, one after another."""
        samples, count = self._steps * self.batch, len(self.data.train)
        start = number * samples
        epochs = range(start // count, (start + samples - 1) // count + 1)
        orders = [torch.randperm(count, generator=seeded_generator("order", self.seed, epoch)) for epoch in epochs]
        chosen = torch.cat(orders)[start % count :][:samples]
        if self.data.augmentation is None:
            train = _placed(self.data.train, self.device)
        else:
            # Augmented on the CPU, where the random numbers are drawn; the result is kept on the device.
            drawn = self.data.train.take(chosen)
            random = seeded_generator("distortion", self.seed, number, self.batch)
            train = Split(self.data.augmentation(drawn.images, random), drawn.labels).to(self.device)
            chosen = torch.arange(samples)
        on_device = chosen.to(self.device)
        labels = train.labels[on_device]
        if self._untouched:
            images = train.images if self.data.augmentation is not None else train.images[on_device]
            return Split(self.data.standardised(images), labels)
        return Split(self._cropped(train.images, on_device, number), labels)

    def _cropped(self, images: Tensor, chosen: Tensor, number: int) -> Tensor:
        """Crop the padded images at these indices at random, mirror half of them, and standardise: one gather."""
        samples, (height, width), pad = len(chosen), images.shape[-2:], self.pad
        random = seeded_generator("crop", self.seed, number, self.batch)
        top = torch.randint(height + 2 * pad - self.size[0] + 1, (samples,), generator=random) - pad
        left = torch.randint(width + 2 * pad - self.size[1] + 1, (samples,), generator=random) - pad
        mirrored = torch.randint(2, (samples,), generator=random).bool()
        rows = top.unsqueeze(1) + torch.arange(self.size[0])
        columns = left.unsqueeze(1) + torch.arange(self.size[1])
        if self.flip:
            columns = torch.where(mirrored.unsqueeze(1), columns.flip(1), columns)
        rows, columns = rows.to(self.device), columns.to(self.device)
        channels = torch.arange(images.shape[1], device=self.device)
        result = self.data.standardised(
            images[
                chosen.view(-1, 1, 1, 1),
                channels.view(1, -1, 1, 1),
                rows.clamp(0, height - 1).view(samples, 1, -1, 1),
                columns.clamp(0, width - 1).view(samples, 1, 1, -1),
            ]
        )
        if pad:
            # After standardising, so that the padding is zero, as in a convolution, rather than black.
            outside_rows, outside_columns = (rows < 0) | (rows >= height), (columns < 0) | (columns >= width)
            outside = outside_rows.view(samples, 1, -1, 1) | outside_columns.view(samples, 1, 1, -1)
            result.masked_fill_(outside, 0.0)
        return result


def crop_size(size: tuple[int, int], pad: int, crop: int | None) -> tuple[int, int]:
    """Return the height and width of a training image after padding and cropping.

    Raises:
        UsageError: The crop is larger than the padded image.
    """
    if crop is None:
        return size
    height, width = (side + 2 * pad for side in size)
    if crop > min(height, width):
        padded = f"{height}×{width}" + (f" with {pad} pixels of padding on each side" if pad else "")
        raise UsageError(
            f"a crop of {crop}×{crop} does not fit into images of {padded}; use a smaller crop or a larger pad"
        )
    return crop, crop


@functools.lru_cache(maxsize=1)
def _placed(train: Split, device: torch.device) -> Split:
    """Move training images to a device once, for all seeds of a run."""
    return train.to(device)
