"""Archives of image folders: they give what the unpacked folder gives, are decoded once, and write nowhere else."""

from __future__ import annotations

import io
import multiprocessing
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evonas.errors import UsageError
from evonas.workers.data import image_archive, image_folder
from evonas.workers.data.dataset import DataSet
from evonas.workers.data.image_folder import load_image_folder
from tests.test_image_folder import picture

KINDS = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz", ".zip": "zip"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of each test's own."""
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of random images: two classes, three splits, of which validation is called val."""
    random = np.random.default_rng(0)
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        for name in ("cat", "dog"):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (6, 8, 3), np.uint8)
                ending = "jpg" if number == 1 else "png"
                Image.fromarray(pixels).save(tmp_path / "pictures" / part / name / f"{number}.{ending}")
    return tmp_path / "pictures"


def pack(place: Path, ending: str = ".tar", above: str = "") -> Path:
    """Pack what is in a folder, under the name `above`, into an archive beside it."""
    archive = place.parent / f"packed{ending}"
    paths = sorted(place.rglob("*"))
    if ending == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            for path in paths:
                opened.write(path, above + str(path.relative_to(place)))
    else:
        with tarfile.open(archive, KINDS[ending]) as opened_tar:  # type: ignore[call-overload]
            for path in paths:
                opened_tar.add(path, above + str(path.relative_to(place)), recursive=False)
    return archive


def tar_of(archive: Path, members: dict[str, bytes | str]) -> Path:
    """A tar file of members in this order: contents, or the targets of symbolic links."""
    with tarfile.open(archive, "w") as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                opened.addfile(info)
            else:
                info.size = len(content)
                opened.addfile(info, io.BytesIO(content))
    return archive


def png(value: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (6, 4), (value, 1, 2)).save(content, "png")
    return content.getvalue()


def images_of(above: str = "", start: int = 0) -> dict[str, bytes | str]:
    """The members of a data set that can be read."""
    return {f"{above}train/{c}/{n}.png": png(start + n) for c in ("cat", "dog") for n in range(10)}


def check_same(one: DataSet, other: DataSet) -> None:
    assert (one.classes, one.channels, one.standardisation) == (other.classes, other.channels, other.standardisation)
    for part in ("train", "validation", "test"):
        ours, theirs = getattr(one, part), getattr(other, part)
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.labels, theirs.labels)
        assert (ours.images.dtype, ours.labels.dtype) == (torch.uint8, torch.int64)


def refuse(*_: object) -> None:
    raise AssertionError("decoded again")


def said(place: Path) -> str:
    """The error for a place that cannot be used, without the place, which it has to name."""
    with pytest.raises(UsageError) as caught:
        load_image_folder(place)
    assert str(place) in str(caught.value)
    assert tempfile.gettempdir() not in str(caught.value).replace(str(place.parent), "")
    return str(caught.value).replace(str(place), "PLACE")


@pytest.mark.parametrize("ending", KINDS)
@pytest.mark.parametrize("image_size", [None, 4])
def test_an_archive_gives_what_the_folder_gives_and_is_decoded_once(
    ending: str, image_size: int | None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(place, ending)
    folder = load_image_folder(place, image_size)
    assert [len(part) for part in (folder.train, folder.validation, folder.test)] == [10, 4, 6]
    check_same(load_image_folder(archive, image_size), folder)
    monkeypatch.setattr(image_folder, "read_folder", refuse)
    monkeypatch.setattr(image_archive, "_unpack", refuse)
    check_same(load_image_folder(archive, image_size), folder)
    with pytest.raises(AssertionError, match="decoded again"):
        load_image_folder(archive, 5)  # another size is another file of the cache


@pytest.mark.parametrize("above", ["./", "a/", "/a/b c/", "../../a/", "train/", "a/test/"])
@pytest.mark.parametrize("ending", [".tar", ".zip"])
def test_folders_above_train_are_ignored(above: str, ending: str, place: Path) -> None:
    check_same(load_image_folder(pack(place, ending, above)), load_image_folder(place))


def test_what_macos_adds_is_no_image(place: Path) -> None:
    expected = load_image_folder(place)
    for path in list(place.rglob("*.png")):
        (path.parent / f"._{path.name}").write_bytes(b"attributes")
        fork = place / "__MACOSX" / "pictures" / path.relative_to(place)
        fork.parent.mkdir(parents=True, exist_ok=True)
        (fork.parent / f"._{path.name}").write_bytes(b"attributes")
        (path.parent / ".DS_Store").write_bytes(b"attributes")
    check_same(load_image_folder(pack(place, ".zip", "pictures/")), expected)
    check_same(load_image_folder(place), expected)


def test_other_files_and_folders_in_classes_are_ignored_as_in_folders(place: Path) -> None:
    expected = load_image_folder(place)
    (place / "README.txt").write_text("about")
    (place / "train" / "cat" / "notes.txt").write_text("about")
    for name in ("train/cat/test/dog/9.png", "train/cat/train/dog/9.png", "train/.hidden/9.png", "docs/test/a/9.png"):
        picture(place / name, 9)
    for ending in (".tar", ".zip"):
        check_same(load_image_folder(pack(place, ending)), expected)
    check_same(load_image_folder(place), expected)


def remove_images(place: Path) -> None:
    for path in (place / "test" / "dog").iterdir():
        path.unlink()


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a class without test images": (remove_images, "PLACE/test/dog has no images"),
    "a class without a test folder": (lambda p: shutil.rmtree(p / "test/dog"), "must hold the same classes.*: dog"),
    "an empty class": (lambda p: (p / "train/cow").mkdir(), "PLACE/train/cow has no images"),
    "an empty split": (lambda p: shutil.rmtree(p / "val") or (p / "val").mkdir(), "the same classes.*: cat, dog"),
    "two validation splits": (lambda p: (p / "validation").mkdir(), "PLACE has both validation and val"),
    "an unlike image": (lambda p: picture(p / "test/cat/7.png", 0, (9, 9)), "PLACE/test/cat/7.png is 9×9"),
    "a damaged image": (lambda p: (p / "val/dog/0.png").write_bytes(b"?"), "PLACE/val/dog/0.png cannot be read as"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_faults_are_told_as_for_folders(fault: str, ending: str, place: Path) -> None:
    spoil, expected = FAULTS[fault]
    spoil(place)
    told = said(place)
    assert told == said(pack(place, ending))
    assert said(pack(place, ending, "a/b/")) == told.replace("PLACE", "PLACE/a/b")
    with pytest.raises(UsageError, match=expected):
        raise UsageError(told)


def test_a_file_of_the_cache_that_is_damaged_is_decoded_again(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, expected = pack(place, ".tar.gz"), load_image_folder(place)
    load_image_folder(archive)
    (stored,) = cache.glob("*.npz")
    whole = stored.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    other = io.BytesIO()
    np.savez(other, x_test=np.zeros(3))
    for content in (b"", b"text", whole[:-100], bytes(changed), other.getvalue()):
        stored.write_bytes(content)
        check_same(load_image_folder(archive), expected)
        assert stored.read_bytes() == whole  # and mended
    monkeypatch.setattr(image_folder, "read_folder", refuse)
    check_same(load_image_folder(archive), expected)
    assert {path.suffix for path in cache.iterdir()} == {".npz", ".lock"}  # nothing is left over


def test_a_cache_that_cannot_be_written_is_done_without(place: Path, cache: Path) -> None:
    archive, expected = pack(place, ".zip"), load_image_folder(place)
    cache.parent.write_text("not a folder")
    check_same(load_image_folder(archive), expected)


def test_a_cache_that_can_only_be_read_is_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, expected = pack(place, ".zip"), load_image_folder(place)
    load_image_folder(archive)

    def read_only(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(image_archive, "locked", read_only)
    monkeypatch.setattr(image_folder, "read_folder", refuse)
    check_same(load_image_folder(archive), expected)


def test_a_full_disk_under_the_cache_leaves_nothing_behind(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(file: io.BytesIO, **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", half)
    check_same(load_image_folder(pack(place)), load_image_folder(place))
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_a_full_disk_for_temporary_files_is_no_fault_of_the_archive(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    archive = pack(place)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match=r"unpacked to .* \(No space left on device\): .* TMPDIR"):
        load_image_folder(archive)


@pytest.mark.parametrize("ending", KINDS)
def test_an_archive_that_is_cut_off_is_refused(ending: str, place: Path, cache: Path) -> None:
    archive = pack(place, ending)
    whole = archive.read_bytes()
    cuts = {len(whole) // 2, len(whole) // 4, 3 * len(whole) // 4, 100, 1}
    if ending == ".tar":
        with tarfile.open(archive) as opened:
            members = opened.getmembers()
            end = opened.offset
        # Before a header, where the reader believes the end to be, in it, in the contents, and before the mark of the
        # end.
        middle = members[20]
        cuts |= {middle.offset, middle.offset + 100, middle.offset_data + 5, end}
    else:
        cuts |= {len(whole) - 1, len(whole) - 6}
    for cut in cuts:
        archive.write_bytes(whole[:cut])
        assert said(archive).startswith("PLACE cannot be read as a tar or zip archive of images")
    archive.write_bytes(whole)
    load_image_folder(archive)
    assert len(list(cache.glob("*.npz"))) == 1


def test_a_damaged_archive_is_refused(place: Path) -> None:
    for ending in KINDS:
        archive = pack(place, ending)
        content = bytearray(archive.read_bytes())
        if ending == ".tar":  # it has a checksum of headers alone
            with tarfile.open(archive) as opened:
                content[opened.getmembers()[20].offset] ^= 1
        else:
            content[len(content) // 2] ^= 1
        archive.write_bytes(content)
        assert said(archive).startswith("PLACE cannot be read as a tar or zip archive of images")


def test_what_is_no_archive_or_has_no_images_is_refused(tmp_path: Path, place: Path) -> None:
    text = tmp_path / "notes.txt"
    for content in (b"", b"not an archive\n" * 1000):
        text.write_bytes(content)
        assert said(text).startswith("PLACE cannot be read as a tar or zip archive of images")
    for members in ({}, {"cat/0.png": png(0)}, {"test/cat/0.png": png(0)}, {"train/0.png": png(0)}):
        archive = tar_of(tmp_path / "other.tar", members)
        assert said(archive).startswith("PLACE has no images at train/CLASS/NAME.png: pack the folder that")
    assert said(tar_of(tmp_path / "two.tar", {**images_of("a/"), **images_of("b/")})).startswith(
        "PLACE/a and PLACE/b both contain train: pack one of them"
    )
    locked = tmp_path / "locked.zip"
    shutil.copy(pack(place, ".zip"), locked)
    content = locked.read_bytes()
    # The bit for a password, in both headers of each member.
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        parts = content.split(mark)
        content = mark.join(
            [parts[0], *(p[: flags - 4] + bytes([p[flags - 4] | 1]) + p[flags - 3 :] for p in parts[1:])]
        )
    locked.write_bytes(content)
    assert "password" in said(locked)


def test_a_tar_file_that_ends_with_a_zip_file_is_a_tar_file(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as opened:
        for name, content in images_of(start=100).items():
            opened.writestr(name, content)
    archive = tar_of(tmp_path / "both.tar", {**images_of(), "more.zip": inner.getvalue()})
    assert zipfile.is_zipfile(archive)
    assert load_image_folder(archive).train.images[:, 0].max() < 10


def test_nothing_is_written_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "x" / "y" / "temporary"
    inside.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(inside))
    before = sorted(tmp_path.rglob("*"))

    def check(members: dict[str, bytes | str], fault: str | None) -> None:
        archive = tar_of(tmp_path / "some.tar", members)
        if fault is None:
            load_image_folder(archive)
        else:
            with pytest.raises(UsageError, match=fault):
                load_image_folder(archive)
        archive.unlink()
        shutil.rmtree(tmp_path / "cache")
        assert sorted(tmp_path.rglob("*")) == before

    check(images_of("../../"), None)
    check(images_of(f"{tmp_path}/absolute/"), None)
    check({**images_of("a/"), **images_of("a/../../../up/")}, "both contain train")
    # A link out of the archive, and a file through it.
    for link in ("train", "train/cat", "train/cat/99.png", "a/train"):
        target = {"train": "..", "train/cat": str(tmp_path), "a/train": "../../.."}.get(link, f"{tmp_path}/stolen.png")
        check({link: target, **images_of("a/" if link == "a/train" else "")}, f"some.tar/{link} is a link")
    check({"elsewhere": str(tmp_path), **images_of("elsewhere/")}, None)  # ignored, like all that is no image


def test_links_among_images_are_not_lost_without_notice(place: Path) -> None:
    (place / "train" / "dog" / "9.png").hardlink_to(place / "train" / "dog" / "0.png")
    assert "train/dog/9.png is a link, which is not followed: pack the files" in said(pack(place))
    load_image_folder(pack(place, ".zip"))  # has a copy
    link = zipfile.ZipInfo("train/dog/10.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(pack(place, ".zip"), "a") as opened:
        opened.writestr(link, "0.png")
    assert "train/dog/10.png is a link, which is not followed: pack the files" in said(place.parent / "packed.zip")


def read_and_count(archive: Path, start: object, log: Path) -> None:
    read = image_folder.read_folder

    def counted(*arguments: object) -> object:
        with log.open("a") as file:
            file.write("decoded\n")
        return read(*arguments)

    image_folder.read_folder = counted
    start.wait(60)
    data = load_image_folder(archive)
    with log.open("a") as file:
        file.write(f"{data.train.images.sum()} {data.train.labels.tolist()}\n")


def test_of_processes_that_read_at_once_one_decodes(place: Path, tmp_path: Path) -> None:
    context, log = multiprocessing.get_context("fork"), tmp_path / "log"
    archive, start = pack(place, ".tar.gz"), context.Barrier(3)
    processes = [context.Process(target=read_and_count, args=(archive, start, log)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    data, lines = load_image_folder(place), log.read_text().splitlines()
    assert lines.count("decoded") == 1
    assert lines.count(f"{data.train.images.sum()} {data.train.labels.tolist()}") == 3 == len(lines) - 1
