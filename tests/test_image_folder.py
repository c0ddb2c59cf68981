"""Folders of images: classes, splits, sizes, and the errors for folders that cannot be used."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evonas.errors import UsageError
from evonas.setup.assemble import configure
from evonas.workers.data.image_folder import load_image_folder
from evonas.workers.trial.evaluate import load_data


def picture(path: Path, value: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    """An image of one colour, (value, 1, 2) or grey, `size` wide and high."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode == "L" else (value, 1, 2, 255)[: len(mode)]
    Image.new(mode, size, colour).save(path)


def folder(place: Path, splits: dict[str, int], mode: str = "RGB") -> Path:
    """So many images of each of the classes cat (values 0 …) and dog (100 …) in each split."""
    for part, count in splits.items():
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                picture(place / part / name / f"{number}.png", 100 * label + number, mode=mode)
    return place


def test_the_splits_that_are_there_are_used(tmp_path: Path) -> None:
    data = load_image_folder(folder(tmp_path, {"train": 10, "val": 3, "test": 5}))
    assert (data.classes, data.channels, data.size) == (2, 3, (4, 6))
    assert [len(split) for split in (data.train, data.validation, data.test)] == [20, 6, 10]
    for split in (data.train, data.validation, data.test):
        assert split.images.dtype == torch.uint8
        values = split.images[:, 0, 0, 0].long()
        assert torch.equal(values // 100, split.labels)
        colours = torch.stack([values, torch.ones_like(values), torch.full_like(values, 2)], 1)
        assert torch.equal(split.images.long(), colours[:, :, None, None].expand(-1, -1, 4, 6))
    assert sorted(data.test.images[:, 0, 0, 0].tolist()) == [*range(5), *range(100, 105)]


def test_splits_that_are_not_there_come_from_training_images(tmp_path: Path) -> None:
    data, again = load_image_folder(folder(tmp_path, {"train": 20})), load_image_folder(tmp_path)
    parts = {name: getattr(data, name).images[:, 0, 0, 0].tolist() for name in ("train", "validation", "test")}
    assert [len(part) for part in parts.values()] == [32, 4, 4]  # a tenth each
    assert sorted(itertools.chain(*parts.values())) == [*range(20), *range(100, 120)]
    for name in ("validation", "test"):
        assert sum(value >= 100 for value in parts[name]) == 2  # stratified
        assert parts[name] == getattr(again, name).images[:, 0, 0, 0].tolist()
    # Written down, so that a change cannot go unnoticed: it would mix test into training.
    assert parts["test"] == [9, 108, 14, 115]
    (tmp_path / "extra").mkdir()
    folder(tmp_path, {"validation": 1})
    assert load_image_folder(tmp_path).test.images[:, 0, 0, 0].tolist() == parts["test"]


def test_grey_images_have_one_channel_unless_one_is_coloured(tmp_path: Path) -> None:
    folder(tmp_path, {"train": 10}, mode="L")
    assert load_image_folder(tmp_path).channels == 1
    picture(tmp_path / "train" / "dog" / "transparent.PNG", 50, mode="RGBA")
    assert load_image_folder(tmp_path).channels == 3


def test_grey_images_of_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    """Pillow would make everything above 255 white."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(10):
            (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
            values = np.full((4, 6), 256 * (20 * number + label) + 77, np.uint16)
            Image.fromarray(values).save(tmp_path / "train" / name / f"{number}.png")
    data = load_image_folder(tmp_path)
    assert data.channels == 1
    kept = torch.cat([data.train.images, data.validation.images, data.test.images])
    assert sorted(kept[:, 0, 0, 0].tolist()) == sorted(20 * n + label for n in range(10) for label in (0, 1))


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, {"train": 2}, mode="L")
    Image.fromarray(np.zeros((4, 6), np.float32)).save(tmp_path / "train" / "cat" / "deep.tiff")
    with pytest.raises(UsageError, match=r"deep.tiff has floating-point pixels"):
        load_image_folder(tmp_path)


def test_other_formats_and_other_files(tmp_path: Path) -> None:
    folder(tmp_path, {"train": 10})
    picture(tmp_path / "train" / "cat" / "photo.JPG", 10)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".hidden").mkdir()
    data = load_image_folder(tmp_path)
    assert (data.classes, len(data.train) + len(data.validation) + len(data.test)) == (2, 21)


def test_images_are_resampled_and_cropped_to_the_middle(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(5):
            pixels = np.zeros((20, 40), np.uint8)
            pixels[:, 10:30] = 200  # the middle square
            (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels if number % 2 else pixels.T).save(tmp_path / "train" / name / f"{number}.png")
    with pytest.raises(
        UsageError, match=r"1.png is 40×20 and .*0.png is 20×40: make all images the same size, or have "
    ):
        load_image_folder(tmp_path)
    images = load_image_folder(tmp_path, 10).train.images
    assert images.shape[1:] == (1, 10, 10)
    # The filter reaches over the edge of the square, from outside, by two pixels of four before resampling.
    assert (images[..., 1:-1, 1:-1] == 200).all()


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    folder(tmp_path, {"train": 10})
    path = tmp_path / "train" / "dog" / "3.png"
    path.write_bytes(b"not an image")
    with pytest.raises(UsageError, match=r"dog/3.png cannot be read as an image"):
        load_image_folder(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match=r"dog/3.png cannot be read as an image"):
        load_image_folder(tmp_path)


def test_unusable_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no folder train: put images at"):
        load_image_folder(tmp_path)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(UsageError, match="at least two classes"):
        load_image_folder(tmp_path)
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(UsageError, match=r"train/cat has no images \(.*png.*\): add some, or remove it"):
        load_image_folder(tmp_path)
    for name in ("cat", "dog"):
        picture(tmp_path / "train" / name / "0.png", 0)
    with pytest.raises(UsageError, match="2 training images are too few to split off test images"):
        load_image_folder(tmp_path)
    folder(tmp_path, {"train": 10})
    picture(tmp_path / "test" / "cow" / "0.png", 0)
    with pytest.raises(UsageError, match=r"test and .*train must hold the same classes; they differ in: cat, cow, dog"):
        load_image_folder(tmp_path)
    (tmp_path / "test").rename(tmp_path / "val")
    (tmp_path / "validation").mkdir()
    with pytest.raises(UsageError, match="both validation and val"):
        load_image_folder(tmp_path)


def test_a_search_resamples_pictures_of_mixed_sizes_and_says_how_to_choose(tmp_path: Path) -> None:
    for number, size in enumerate(((40, 20), (20, 40), (64, 64), (30, 30)) * 3):
        folder = tmp_path / "train" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 90, 200 - number)).save(folder / f"{number}.png")
    asked = {"data": "image-folder", "data_dir": str(tmp_path)}
    for anchors, size in ((("mobilenet-small", "resnet50@0.25"), 16), (("resnet50@0.25",), 32)):
        said = f"resampled to {size}×{size}, for which .* --set protocol.image_size={2 * size}"
        with pytest.warns(UserWarning, match=said):
            protocol = configure(protocol={**asked, "anchors": anchors}).protocol
        assert protocol.image_size == size and load_data(protocol).size == (size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert configure(protocol={**asked, "image_size": 24}).protocol.image_size == 24
