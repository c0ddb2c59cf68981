"""CIFAR's published files are read exactly; other files are refused by name, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evonas.errors import UsageError
from evonas.workers.data.cifar import load_cifar10, load_cifar100
from evonas.workers.data.dataset import DataSet
from evonas.workers.data.safe_unpickle import read_batch
from tests.cifar_files import FOLDERS, Python2Pickler, archive, batch, label_of, numbers_of, pickled, rows, unpacked


@pytest.fixture(scope="module")
def python10(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("python10")
    yield unpacked("cifar-10-python", place)
    shutil.rmtree(place)  # 180 MB


@pytest.fixture(scope="module")
def binary10(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("binary10")
    yield unpacked("cifar-10-binary", place)
    shutil.rmtree(place)


def linked(folder: Path, place: Path, without: str = "") -> Path:
    """A folder of links to the same files, which needs little disk space."""
    copy = place / folder.name
    copy.mkdir()
    for file in folder.iterdir():
        if file.name != without:
            os.link(file, copy / file.name)
    return copy


def check(data: DataSet, classes: int) -> None:
    """Every image is in the split where it belongs, once, with its pixels and its label."""
    assert (data.classes, data.channels, data.size) == (classes, 3, (32, 32))
    found = {}
    for part in ("train", "validation", "test"):
        split = getattr(data, part)
        images, labels = split.images.numpy(), split.labels.numpy()
        assert images.dtype == np.uint8 and images.shape[1:] == (3, 32, 32)
        numbers = found[part] = numbers_of(images)
        assert np.array_equal(labels, label_of(numbers, classes))
        some = slice(0, 200)
        expected = np.concatenate([rows(number, 1) for number in numbers[some]]).reshape(-1, 3, 32, 32)
        assert np.array_equal(images[some], expected)
    assert sorted(found["test"]) == list(range(50_000, 60_000))
    assert sorted([*found["train"], *found["validation"]]) == list(range(50_000))
    assert len(found["validation"]) == 5000
    assert np.bincount(data.validation.labels, minlength=classes).tolist() == [5000 // classes] * classes
    assert np.bincount(data.test.labels[:1000], minlength=classes).tolist() == [1000 // classes] * classes


def test_cifar10_from_the_python_files(python10: Path) -> None:
    data = load_cifar10(python10)
    check(data, 10)
    pixels = data.train.images.numpy()
    mean, deviation = pixels.mean((0, 2, 3)), np.stack([pixels[:, c].std() for c in range(3)])
    images, labels = data.batches(0, 16)[0]
    back = images.numpy() * deviation[:, None, None] + mean[:, None, None]
    numbers = numbers_of(back.round().astype(np.uint8))
    assert np.array_equal(labels.numpy(), label_of(numbers, 10))
    # Standardised pixels of up to some 2, in float32, rounded a few times, times a deviation of under 128.
    assert np.abs(back.reshape(16, -1) - np.concatenate([rows(n, 1) for n in numbers])).max() < 128 * 2e-6


def test_cifar10_from_the_folder_around_the_binary_files(binary10: Path) -> None:
    check(load_cifar10(binary10.parent), 10)


def test_cifar100_from_its_python_archive_uses_fine_labels(tmp_path: Path) -> None:
    check(load_cifar100(archive("cifar-100-python", tmp_path)), 100)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-python.tar.gz"]  # nothing was unpacked


def test_cifar100_from_the_folder_around_its_binary_archive(tmp_path: Path) -> None:
    path = archive("cifar-100-binary", tmp_path)
    check(load_cifar100(tmp_path), 100)
    with pytest.raises(UsageError, match=r"cifar-100-binary.tar.gz is not an archive of CIFAR-10: it does not contain"):
        load_cifar10(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"cifar-100-binary.tar.gz is cut off or damaged"):
        load_cifar100(tmp_path)
    path.write_bytes(whole[: len(whole) // 2] + b"\xff" * 1000 + whole[len(whole) // 2 + 1000 :])
    with pytest.raises(UsageError, match=r"cifar-100-binary.tar.gz is cut off or damaged"):
        load_cifar100(tmp_path)


def test_both_versions_and_image_size_agree(python10: Path, binary10: Path) -> None:
    one, two = load_cifar10(python10, 8), load_cifar10(binary10, 8)
    assert one.train.images.shape == (45_000, 3, 8, 8) and one.standardisation == two.standardisation
    for part in ("train", "validation", "test"):
        assert getattr(one, part).images.equal(getattr(two, part).images)
        assert getattr(one, part).labels.equal(getattr(two, part).labels)


def test_a_place_without_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not contain CIFAR-10: put cifar-10-python.tar.gz or"):
        load_cifar10(tmp_path)
    (tmp_path / "some.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(UsageError, match=r"some.tar.gz is cut off or damaged"):
        load_cifar10(tmp_path / "some.tar.gz")


def test_a_missing_file_is_named(python10: Path, tmp_path: Path) -> None:
    folder = linked(python10, tmp_path, "data_batch_3")
    with pytest.raises(UsageError, match=rf"{FOLDERS['cifar-10-python']} has no data_batch_3"):
        load_cifar10(tmp_path)
    os.link(folder / "test_batch", folder / "data_batch_3")
    with pytest.raises(UsageError, match="test_batch is a copy of data_batch_3"):
        load_cifar10(tmp_path)


def test_a_damaged_binary_file_is_named(binary10: Path, tmp_path: Path) -> None:
    folder = linked(binary10, tmp_path, "data_batch_1.bin")
    content = bytearray((binary10 / "data_batch_1.bin").read_bytes())
    broken = folder / "data_batch_1.bin"
    broken.write_bytes(content[:-1])
    with pytest.raises(UsageError, match=r"data_batch_1.bin has 30,729,999 bytes instead of 10,000 images of 3,073"):
        load_cifar10(folder)
    content[3073 * 17] = 10
    broken.write_bytes(content)
    with pytest.raises(UsageError, match=r"data_batch_1.bin: image 17 has label 10, but CIFAR-10 has labels 0 to 9"):
        load_cifar10(folder)


def changed(**changes: object) -> dict[bytes, object]:
    return {**batch(0, 4, 10), **{key.encode(): value for key, value in changes.items()}}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([1, 2], "does not hold a table"),
        ({b"data": rows(0, 4)}, "has no entry 'labels': is it a file of another data set"),
        ({b"labels": [0]}, "has no entry 'data'"),
        (changed(data=rows(0, 4)[:, :3071]), r"shape \(4, 3071\) instead of \(images, 3072\)"),
        (changed(data=rows(0, 4)[0]), r"shape \(3072,\)"),
        (changed(data=rows(0, 4).astype(np.int16)), "does not hold .* single bytes"),
        (changed(data=np.asfortranarray(rows(0, 4))), "row-major"),
        (changed(data=b"bytes"), "not an array"),
        (changed(labels=[0, 1, 2]), "has 4 images and 3 labels"),
        (changed(labels=[0, 1, 2, b"3"]), "not a list of integers"),
        (changed(labels=3), "not a list of integers"),
    ],
)
def test_a_pickle_of_something_else_is_named(document: object, says: str) -> None:
    with pytest.raises(UsageError, match=f"^some/file.*{says}"):
        read_batch(pickled(document), b"labels", "some/file", 3072)


def test_a_pickle_of_too_few_images_is_named(python10: Path, tmp_path: Path) -> None:
    folder = linked(python10, tmp_path, "data_batch_1")
    (folder / "data_batch_1").write_bytes(pickled(batch(0, 9999, 10)))
    with pytest.raises(UsageError, match=r"data_batch_1 has 9,999 images instead of 10,000"):
        load_cifar10(folder)
    (folder / "data_batch_1").write_bytes((python10 / "data_batch_1").read_bytes()[:-1000])
    with pytest.raises(UsageError, match=r"data_batch_1 is cut off or damaged"):
        load_cifar10(folder)


def test_pickles_of_python_3_are_read_too() -> None:
    images, labels = read_batch(pickle.dumps(batch(0, 4, 10), protocol=2), b"labels", "f", 3072)
    assert np.array_equal(images, rows(0, 4)) and labels.tolist() == [0, 7, 4, 1]


def test_the_sample_files_are_those_of_python_2() -> None:
    """The first bytes of a published file, except for its longer name and its memo."""
    content = pickled({b"data": rows(0, 1)})
    for part in (
        b"\x80\x02}",
        b"U\x04data",
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"cnumpy\nndarray\n",
        b"U\x02u1",
    ):
        assert part in content
    assert Python2Pickler.dispatch is not pickle._Pickler.dispatch  # type: ignore[attr-defined]


class Command:
    """Makes a file when it is unpickled by a careless reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"echo was here > {self.path}",)


def test_a_command_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps({b"data": Command(trace), b"labels": [0]}, protocol=2)
    with pytest.raises(UsageError, match=r"^here/data_batch_1 .* asks for '(posix|nt).system'"):
        read_batch(content, b"labels", "here/data_batch_1", 3072)
    assert not trace.exists()
    pickle.loads(content)  # the pickle does what it says where it may
    assert trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x06numpy\x8c\x07ndarray\x93\x8c\x05numpy\x8c\x0cf2py.compile\x93.",
        b"(ios\nsystem\n.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}U\x05codes)sb0}.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}U\x08functionK\x01s\x86b.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aU\x03rottR.",
        b"Psome id\n.",
        b"\x82\x01.",
        b"",
        b"\x80\x02}",
        bytes(range(256)),
    ],
)
def test_programs_and_nonsense_are_refused(content: bytes) -> None:
    with pytest.raises(UsageError, match=r"^here/train .*(reading stopped|cut off or damaged|does not hold a table)"):
        read_batch(content, b"fine_labels", "here/train", 3072)
    whole = pickled(batch(0, 2, 10))
    assert len(read_batch(whole, b"labels", "here/train", 3072)[0]) == 2  # the reader has not changed
