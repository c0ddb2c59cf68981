"""Which photograph is a crop from? Two tasks that need no download and are harder than the digits.

In `crops`, the crops of all splits are from anywhere in the photographs. New crops are as easy as those that a network
was trained on, so a longer training goes on to pay, and layers are compared by how well networks with them are trained.
In `photographs` each split has its own parts of the photographs, and a network has to recognise the other parts of a
photograph. Soon it cannot do better, and most published layers end alike.

The photographs come with scikit-image and scikit-learn. Their files are checked by digest, so the tasks are the same
wherever they are made with the same Pillow: how Pillow decodes and resamples images is part of their definition.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evonas.errors import UsageError
from evonas.workers.data.dataset import DataSet
from evonas.workers.data.seeding import seeded_generator
from evonas.workers.data.splits import Split, stratified_order

Part = Literal["train", "validation", "test"]

SIZE = 16
"""Height and width of a crop, in pixels: one core trains a small anchor on it in seconds, and texture is visible."""
SIDES = (28.0, 96.0)
"""Smallest and largest side of a crop in the photograph, in pixels. Below, little is left of a photograph's
structure; above, few different crops fit into the narrow parts. The range makes features at several scales worthwhile.
"""
NOISE = 0.25
"""Standard deviation of the noise of each value, where that of a crop is 1: it keeps scores below 1."""
GAIN = 0.5
"""Largest relative change of contrast, which has to be normalised away: photographs differ in it."""
OFFSET = 0.5
"""Standard deviation of the change of brightness, where that of a crop is 1; likewise."""
_FLOOR = 0.05
"""Added to the deviation of a crop, in units where white is 1, so that plain sky is not magnified to its grain."""

TILE = 80
"""Least side of a tile, in pixels, where a photograph has room for two. A photograph is divided into equal tiles, and
each belongs to one split. With one coherent part of each photograph for a split, layers were chosen for what happened
to be in the nineteen parts of the validation split, and were no better on the test split."""
_SHARES: Mapping[Part, float] = MappingProxyType({"train": 0.6, "validation": 0.2, "test": 0.2})
"""The share of a photograph's tiles for each split."""

_PACKAGES = {"skimage": ("data", "scikit-image"), "sklearn": ("datasets/images", "scikit-learn")}
"""The folder of each package that has the photographs, and the package's name for pip."""
_PHOTOGRAPHS = (
    ("skimage", "astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    ("skimage", "brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf"),
    ("skimage", "camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"),
    ("skimage", "cell.png", "8d23a7fb81f7cc877cd09f330357fc7f595651306e84e17252f6e0a1b3f61515"),
    ("skimage", "chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    ("skimage", "coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    ("skimage", "coins.png", "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba"),
    ("skimage", "grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89"),
    ("skimage", "gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12"),
    ("skimage", "hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4"),
    ("skimage", "ihc.png", "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef"),
    ("skimage", "moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577"),
    ("skimage", "retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6"),
    ("skimage", "rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
    ("skimage", "motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"),
    ("skimage", "page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3"),
    ("skimage", "clock_motion.png", "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955"),
    ("sklearn", "china.jpg", "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29"),
    ("sklearn", "flower.jpg", "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638"),
)
"""Package, file and SHA-256 of each photograph; its place in the list is its class."""


@dataclass(frozen=True, slots=True)
class Crops:
    """A task of telling from which photograph a crop is.

    Attributes:
        name: the name that users write. It seeds the choice of the crops.
        counts: crops per photograph, by split.
        within: what divides a photograph among the splits: from its width and height, in pixels, and its place in the
            list to left, top, right and bottom of the parts of each split, int64 (parts, 4).
    """

    name: str
    counts: Mapping[Part, int]
    within: Callable[[tuple[int, int], int], dict[Part, Tensor]]


def tiles(size: tuple[int, int], label: int) -> dict[Part, Tensor]:
    """Divide a photograph into tiles, and deal them out to the splits at random, the same ones for ever.

    Args:
        size: width and height of the photograph, in pixels.
        label: its place in the list, which decides where the tiles go.

    Returns:
        Left, top, right and bottom of each tile of a split, in pixels, int64 (tiles, 4). Each split has one at least.
    """
    across, down = (max(1, side // TILE) for side in size)
    columns, rows = ([round(i * side / n) for i in range(n + 1)] for side, n in zip(size, (across, down), strict=True))
    boxes = [(columns[i], rows[j], columns[i + 1], rows[j + 1]) for j in range(down) for i in range(across)]
    # An order by hashes, because what a random generator gives may change with the version of its library.
    order = stratified_order(torch.zeros(len(boxes), dtype=torch.int64), f"tiles {label}")
    shuffled = torch.tensor(boxes, dtype=torch.int64)[order]
    held: dict[Part, int] = {
        part: max(1, round(share * len(boxes))) for part, share in _SHARES.items() if part != "train"
    }
    counts: dict[Part, int] = {"train": len(boxes) - sum(held.values()), **held}
    return dict(zip(_SHARES, shuffled.split([counts[part] for part in _SHARES]), strict=True))


def anywhere(size: tuple[int, int], _: int) -> dict[Part, Tensor]:
    """Give the whole of a photograph to each split: left, top, right and bottom in pixels, int64 (1, 4)."""
    return {part: torch.tensor([[0, 0, *size]]) for part in _SHARES}


PHOTOGRAPHS = Crops("photographs", MappingProxyType({"train": 1200, "validation": 150, "test": 200}), tiles)
"""Tiles of each photograph belong to one split. 350 training steps of 64 images see no crop twice."""
CROPS = Crops("crops", MappingProxyType({"train": 2400, "validation": 200, "test": 300}), anywhere)
"""Crops of all splits are from anywhere. 700 training steps of 64 images see no crop twice."""


def load_photographs(image_size: int | None = None) -> DataSet:
    """Make crops of tiles of the photographs, float32 (n, 1, ``image_size``, ``image_size``), 16×16 by default.

    Each photograph is divided into tiles, of which three in five are for training, one for validation and one for the
    test. Crops are made as in `load_crops`, within a tile.

    Raises:
        UsageError: A photograph is missing or is not the published one; the message names its file.
    """
    return _load(PHOTOGRAPHS, image_size)


def load_crops(image_size: int | None = None) -> DataSet:
    """Make crops from anywhere in the photographs, float32 (n, 1, ``image_size``, ``image_size``), 16×16 by default.

    A crop is a random square, resampled bilinearly with antialiasing, turned by quarters, mirrored, standardised on its
    own, changed in contrast and brightness, and made noisy. Crops are grey: with colours, which tell photographs apart
    by themselves, scores are higher and depend three times as much on the seed. Crops are the same for every run, and
    those for training are not augmented further.

    Raises:
        UsageError: A photograph is missing or is not the published one; the message names its file.
    """
    return _load(CROPS, image_size)


def draw_boxes(within: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Draw squares to crop, each within a tile.

    Args:
        within: the tiles of a photograph for one split, as `tiles` returns them. Large tiles get more squares.
        count: number of squares.
        random: where random numbers come from.

    Returns:
        Left, top, right and bottom of each square in the photograph, in pixels, and its tile, float64 (count, 5).
    """
    areas = ((within[:, 2] - within[:, 0]) * (within[:, 3] - within[:, 1])).double()
    draws = torch.rand(4, count, generator=random, dtype=torch.float64)
    tile = torch.bucketize(draws[3], (areas / areas.sum()).cumsum(0)[:-1], right=True)
    left, top, right, bottom = within[tile].double().T
    largest = torch.minimum(right - left, bottom - top).clamp(max=SIDES[1])
    side = SIDES[0] + draws[0] * (largest - SIDES[0])
    x, y = left + draws[1] * (right - left - side), top + draws[2] * (bottom - top - side)
    # Rounding may take a sum a little too far.
    return torch.stack([x, y, torch.minimum(x + side, right), torch.minimum(y + side, bottom), tile.double()], 1)


def _picture(package: str, name: str, digest: str) -> Image.Image:
    """Read a photograph from where its package is installed, without importing the package, which takes seconds."""
    folder, project = _PACKAGES[package]
    again = f"run `pip install --force-reinstall --no-deps {project}`"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"the data set photographs needs {name} of {project}, which is not installed: {again}")
    path = Path(spec.submodule_search_locations[0]) / folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}, which the data set photographs needs, cannot be read ({error.strerror}): {again}"
        ) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise UsageError(f"{path} is not the photograph that the data set photographs is made of: {again}")
    return Image.open(io.BytesIO(content)).convert("L")


def cropped(task: Crops, pictures: list[Image.Image], part: Part, size: int) -> Tensor:
    """Crop and resample squares of every photograph, grey, in turn: uint8 (n, 1, size, size)."""
    columns = []
    for label, picture in enumerate(pictures):
        within = task.within(picture.size, label)[part]
        # Resampling reads up to half a pixel of the result beyond a box, so it gets no more than its own tile.
        own = [picture.crop(tuple(tile)) for tile in within.tolist()]
        boxes = draw_boxes(within, task.counts[part], seeded_generator(task.name, part, label))
        tile = boxes[:, 4].long()
        boxes[:, :4] -= within[tile][:, [0, 1, 0, 1]]
        crops = (
            own[int(number)].resize((size, size), Image.Resampling.BILINEAR, tuple(box))
            for *box, number in boxes.tolist()
        )
        pixels = np.frombuffer(b"".join(crop.tobytes() for crop in crops), np.uint8)
        columns.append(torch.from_numpy(pixels.reshape(-1, 1, size, size).copy()))
    return torch.stack(columns, 1).flatten(0, 1)


def varied(crops: Tensor, random: torch.Generator) -> Tensor:
    """Turn, mirror, standardise and disturb each crop, uint8 (n, 1, s, s) to float32 (n, 1, s, s)."""
    count = len(crops)
    turns = torch.randint(4, (count,), generator=random)
    mirrored = torch.randint(2, (count,), generator=random).bool()
    gains = 1 + GAIN * (2 * torch.rand(count, 1, 1, 1, generator=random) - 1)
    offsets = OFFSET * torch.randn(count, 1, 1, 1, generator=random)
    crops = crops.clone()
    for quarters in range(1, 4):
        crops[turns == quarters] = crops[turns == quarters].rot90(quarters, (2, 3))
    crops[mirrored] = crops[mirrored].flip(3)
    images = crops.float().div_(255)
    deviation, mean = torch.std_mean(images, (1, 2, 3), correction=0, keepdim=True)
    images.sub_(mean).mul_(gains / (deviation + _FLOOR)).add_(offsets)
    return images.add_(torch.randn(images.shape, generator=random), alpha=NOISE)


def _split(task: Crops, pictures: list[Image.Image], part: Part, size: int) -> Split:
    images = varied(cropped(task, pictures, part, size), seeded_generator(task.name, part))
    # The photographs take turns, so that any prefix of a split is stratified.
    return Split(images, torch.arange(len(images)) % len(pictures))


def _load(task: Crops, image_size: int | None) -> DataSet:
    pictures = [_picture(*row) for row in _PHOTOGRAPHS]
    splits = {part: _split(task, pictures, part, image_size or SIZE) for part in task.counts}
    return DataSet(task.name, len(pictures), 1, splits["train"], splits["validation"], splits["test"])
