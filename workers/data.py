"""Data sets that candidates are trained and scored on, and the training batches drawn from them.

Each split uses its own images only. Validation and test images are distorted once, the same way for
everyone; training images are distorted anew for every batch, as a function of the training's seed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from evonas.errors import UsageError, unknown
from evonas.workers.distortion import Distortion, generator

_CHUNK = 32  # steps whose batches are distorted in one call: few calls, and little waste when one stops early
_CACHED_BYTES = 256 * 2**20  # of training batches kept by a process


@dataclass(frozen=True, eq=False)
class Split:
    """Images, float32 (n, c, h, w), and labels, int64 (n,).

    The classes alternate, so that the first so many samples hold about equally many of each.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, limit: int | None) -> Split:
        """The first ``limit`` samples; all where it is None or more than there are."""
        return self if limit is None else Split(self.images[:limit], self.labels[:limit])


@dataclass(frozen=True, eq=False)
class DataSet:
    """A classification task.

    Attributes:
        name: what users write.
        classes: number of classes; labels are 0 … classes − 1.
        channels: channels of an image.
        train: undistorted images, and labels, from which batches are drawn.
        validation: distorted images; what candidates are scored on.
        test: the same from images that nothing else uses; for a final report, once.
        distortion: of training images; its ``size`` is the height and width of a batch.
    """

    name: str
    classes: int
    channels: int
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    test: Split = field(repr=False)
    distortion: Distortion

    def batches(self, seed: int, batch: int) -> Batches:
        """The training batches of a seed; the last ones asked for are kept, for all candidates of a run."""
        global _last
        if _last is None or (_last.data, _last.seed, _last.batch) != (self, seed, batch):
            _last = Batches(self, seed, batch)
        return _last


class Batches:
    """The endless sequence of training batches of one seed: batch ``step`` is a function of (seed, step).

    Every image appears once an epoch, in an order drawn for the epoch. Batches are made some steps at a
    time and kept, up to a limit of memory, because every candidate of a run asks for the same ones.
    """

    def __init__(self, data: DataSet, seed: int, batch: int) -> None:
        self.data, self.seed, self.batch = data, seed, batch
        chunk_bytes = 4 * _CHUNK * batch * data.channels * data.distortion.size**2
        self._most = max(1, _CACHED_BYTES // chunk_bytes)
        self._chunks: dict[int, Split] = {}

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images, float32 (batch, c, h, w), and labels, int64 (batch,), of a step counted from 0."""
        number, within = divmod(step, _CHUNK)
        if number not in self._chunks:
            if len(self._chunks) == self._most:
                # Trainings walk forward from step 0, so the newest chunk is the one needed last again.
                self._chunks.popitem()
            self._chunks[number] = self._make(number)
        chunk, rows = self._chunks[number], slice(within * self.batch, (within + 1) * self.batch)
        return chunk.images[rows], chunk.labels[rows]

    def _make(self, number: int) -> Split:
        """The samples of steps ``number`` · chunk … (``number`` + 1) · chunk − 1, one after another."""
        samples, count = _CHUNK * self.batch, len(self.data.train)
        start = number * samples
        epochs = range(start // count, (start + samples - 1) // count + 1)
        orders = [torch.randperm(count, generator=generator("order", self.seed, epoch)) for epoch in epochs]
        chosen = torch.cat(orders)[start % count :][:samples]
        random = generator("distortion", self.seed, number, self.batch)
        images = self.data.distortion(self.data.train.images[chosen], random)
        return Split(images, self.data.train.labels[chosen])


_last: Batches | None = None


def stratified_order(labels: Tensor, name: str) -> Tensor:
    """A fixed shuffled order in which the classes alternate in proportion to their sizes.

    Any run of consecutive samples is then stratified, so that splits are plain slices of it. The order
    within a class comes from a hash of the index and not from a random generator, whose numbers may change
    with the version of a library: a changed split would let old test images into training.

    Args:
        labels: int64 (n,).
        name: of the data set; different names are shuffled differently.

    Returns:
        A permutation of 0 … n − 1, int64 (n,).
    """

    def shuffled(index: int) -> bytes:
        return hashlib.blake2b(f"{name} {index}".encode(), digest_size=8).digest()

    places: list[tuple[float, int, int]] = []
    for label in sorted(set(labels.tolist())):
        members = sorted(torch.nonzero(labels == label).flatten().tolist(), key=shuffled)
        places += [((rank + 0.5) / len(members), label, index) for rank, index in enumerate(members)]
    return torch.tensor([index for _, _, index in sorted(places)])


def _digits(folder: Path | None) -> DataSet:
    """Handwritten digits, 8×8, that scikit-learn carries, made hard enough to tell layers apart."""
    from sklearn.datasets import load_digits  # slow to import, and needed here only

    # Pixels stay in 0 … 1 and are not standardised: with inputs centred for it, a shallow network learns
    # without normalisation, and the task would not tell the layers that need none from those that help.
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().div_(16.0).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    order = stratified_order(labels, "digits")
    distortion = Distortion(size=12, rotation=0.35, scale=0.1, shift=0.05, noise=0.25)
    train, validation, test = order[:1000], order[1000:1400], order[1400:]

    def distorted(split: str, chosen: Tensor, copies: int) -> Split:
        # Several distorted copies of each image: the score of a layer then depends less on the luck of
        # one distortion. Whole copies follow one another, so that a prefix still alternates the classes.
        chosen = chosen.repeat(copies)
        return Split(distortion(images[chosen], generator("digits", split)), labels[chosen])

    return DataSet(
        name="digits",
        classes=10,
        channels=1,
        train=Split(images[train], labels[train]),
        validation=distorted("validation", validation, 4),
        test=distorted("test", test, 4),
        distortion=distortion,
    )


DATA_SETS: Mapping[str, Callable[[Path | None], DataSet]] = MappingProxyType({"digits": _digits})


def load_dataset(name: str, folder: Path | None = None) -> DataSet:
    """Load a data set by name; a process keeps what it has loaded.

    Args:
        name: a key of :data:`DATA_SETS`.
        folder: where the files of data sets that have any lie.

    Raises:
        UsageError: the name is unknown, or the folder does not exist.
    """
    if name not in DATA_SETS:
        raise unknown("data set", name, DATA_SETS)
    if folder is not None and not folder.is_dir():
        raise UsageError(f"data folder {str(folder)!r} does not exist: create it, or name another")
    return _load(name, folder)


@functools.cache
def _load(name: str, folder: Path | None) -> DataSet:
    return DATA_SETS[name](folder)
