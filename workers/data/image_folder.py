"""Images in folders: DIR/train/CLASS/*.png and so on, with optional test and validation folders; or an archive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from evonas.errors import MixedSizesError, UsageError
from evonas.workers.data.dataset import DataSet, from_splits
from evonas.workers.data.image_archive import read_archive
from evonas.workers.data.splits import Split

_ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_DEEP = {"I", "I;16", "I;16B", "I;16L", "I;16N"}  # Pillow's modes for a single channel of two bytes
_GREY = {"1", "L", *_DEEP}  # its modes with a single channel
_FLOATS = {"F"}  # of any range, so that nobody knows what is white


def load_image_folder(place: Path, image_size: int | None = None) -> DataSet:
    """Load the images of a folder. Each subfolder of its train folder is a class, numbered in order of names.

    Images are kept in memory as uint8, with one channel if all of them are grey and three otherwise. If there is
    no test folder, a stratified tenth of the training images takes its place, and likewise for validation (or val).

    Args:
        place: the folder that contains train, or a tar or zip archive of one (`evonas.workers.data.image_archive`).
        image_size: the short side that images are resampled to before they are cropped to the centre square;
            with None, all images must have the same size.

    Raises:
        UsageError: A folder or file is missing, empty, damaged or unlike the others; the message names it.
        MixedSizesError: The images have different sizes, and there is no `image_size`.
    """
    splits = read_folder(place, image_size) if place.is_dir() else read_archive(place, image_size, read_folder)
    classes = int(splits["train"].labels.max()) + 1  # every class has an image
    return from_splits("image-folder", classes, splits["train"], splits.get("validation"), splits.get("test"))


def read_folder(place: Path, image_size: int | None) -> dict[str, Split]:
    """Read the images of a folder, by split: "train", and "validation" and "test" if they are there.

    Arguments and errors are those of `load_image_folder`.
    """
    names = [name for name in ("validation", "val") if (place / name).is_dir()]
    if len(names) == 2:
        raise UsageError(f"{place} has both validation and val: keep one of them")
    if not (place / "train").is_dir():
        raise UsageError(f"{place} has no folder train: put images at {place}/train/CLASS/NAME.png")
    classes = _folders(place / "train")
    if len(classes) < 2:
        raise UsageError(f"{place / 'train'} must hold a folder for each class, and at least two classes")
    parts = {"train": _files(place / "train", classes)}
    for part, folder in (("validation", names[0] if names else "validation"), ("test", "test")):
        if (place / folder).is_dir():
            parts[part] = _files(place / folder, classes)
    size, mode = _common([path for files in parts.values() for path, _ in files], image_size)
    return {part: _read(files, size, mode, image_size) for part, files in parts.items()}


def _folders(place: Path) -> list[str]:
    return sorted(path.name for path in _listed(place) if path.is_dir() and not path.name.startswith("."))


def _listed(place: Path) -> list[Path]:
    try:
        return sorted(place.iterdir())
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror}") from None


def _files(place: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """List every image of a split with its label."""
    found = _folders(place)
    if found != classes:
        differing = ", ".join(sorted(set(found) ^ set(classes))[:5])
        raise UsageError(
            f"{place} and {place.parent / 'train'} must hold the same classes; they differ in: {differing}"
        )
    files = []
    for label, name in enumerate(classes):
        images = [path for path in _listed(place / name) if _is_image(path)]
        if not images:
            raise UsageError(f"{place / name} has no images ({', '.join(sorted(_ENDINGS))}): add some, or remove it")
        files += [(path, label) for path in images]
    return files


def _is_image(path: Path) -> bool:
    # macOS puts a file ._NAME with attributes beside each file on foreign file systems and in archives.
    return path.suffix.lower() in _ENDINGS and not path.name.startswith("._") and path.is_file()


def _common(paths: list[Path], image_size: int | None) -> tuple[tuple[int, int], str]:
    """Find the width and height that images will have, and their mode, ``"L"`` or ``"RGB"``, from their headers."""
    size, first, grey = None, None, True
    for path in paths:
        try:
            with Image.open(path) as image:
                this, mode = image.size, image.mode
        except Exception as error:
            raise _damaged(path, error) from None
        if mode in _FLOATS:
            raise UsageError(f"{path} has floating-point pixels, whose range is not known: save it with 8 or 16 bits")
        grey = grey and mode in _GREY
        if size is None:
            size, first = this, path
        elif this != size and image_size is None:
            raise MixedSizesError(
                f"{path} is {this[0]}×{this[1]} and {first} is {size[0]}×{size[1]}: make all images the same size, or "
                "have them resampled, by --set protocol.image_size=32 for instance"
            )
    assert size is not None  # every class has an image
    return (size if image_size is None else (image_size, image_size)), "L" if grey else "RGB"


def _read(files: list[tuple[Path, int]], size: tuple[int, int], mode: str, image_size: int | None) -> Split:
    pixels = torch.empty(len(files), size[1], size[0], 1 if mode == "L" else 3, dtype=torch.uint8)
    for number, (path, _) in enumerate(files):
        try:
            with Image.open(path) as image:
                picture = (_in_bytes(image) if image.mode in _DEEP else image).convert(mode)
        except Exception as error:  # Pillow's readers raise almost anything for damaged files
            raise _damaged(path, error) from None
        if image_size is not None:
            picture = _resampled(picture, image_size)
        pixels[number] = torch.from_numpy(np.array(picture)).view(pixels.shape[1:])
    return Split(pixels.permute(0, 3, 1, 2).contiguous(), torch.tensor([label for _, label in files]))


def _in_bytes(image: Image.Image) -> Image.Image:
    """The upper eight bits of sixteen; Pillow itself would make everything above 255 white."""
    return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 2**16 - 1) >> 8).astype(np.uint8))


def _resampled(image: Image.Image, size: int) -> Image.Image:
    """Resize an image to a short side of ``size`` pixels, and crop it to the centre square."""
    short = min(image.size)
    width, height = (max(size, round(side * size / short)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} cannot be read as an image ({type(error).__name__}): replace or remove it")
