"""A data set of your own: `evonas search --data examples/data.py:stripes`.

A data set is a function that returns a `DataSet`. Its arguments are a folder (the value of `--data-dir`, or None) and
an image size (None to leave images as they are). `from_splits` makes a `DataSet`: it splits off validation and test
images if you pass None for them, and standardises pixels. Images are uint8 or float32 (n, c, h, w), and labels are
int64 (n,) from 0 on.
"""

from pathlib import Path

import torch

from evonas.workers.data.dataset import DataSet, from_splits
from evonas.workers.data.splits import Split


def stripes(folder: Path | None, image_size: int | None) -> DataSet:
    """Draw noisy stripes; their direction is the class."""
    del folder  # this data set reads no files
    size, generator = image_size or 12, torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    axis = torch.arange(size, dtype=torch.float32)
    directions = torch.stack(
        [
            axis.view(1, -1).expand(size, size),
            axis.view(-1, 1).expand(size, size),
            axis.view(1, -1) + axis.view(-1, 1),
            axis.view(1, -1) - axis.view(-1, 1),
        ]
    )
    phases = 6.3 * torch.rand(400, 1, 1, generator=generator)
    images = torch.sin(directions[labels] * 1.5 + phases) + torch.randn(400, size, size, generator=generator)
    return from_splits("stripes", 4, Split(images.unsqueeze(1), labels), None, None)
