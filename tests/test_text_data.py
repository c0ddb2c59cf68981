"""Text as data: windows of bytes, splits, and images that come with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evonas.errors import UsageError
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.recorded_data import digest_of_data
from evonas.workers.data.data_sets import kinds_of, load_dataset
from evonas.workers.data.text import load_text
from evonas.workers.trial.evaluate import less_held_out, load_data


def back(windows: torch.Tensor, known: bytes) -> bytes:
    """The text that windows were cut from, whose first tokens are the last ones of those before."""
    tokens = [*windows[:, 0, 0, :-1].flatten().tolist(), int(windows[-1, 0, 0, -1])]
    return bytes(known[token] for token in tokens)


def test_a_file_becomes_windows(tmp_path: Path) -> None:
    text = bytes(range(97, 123)) * 20  # 520 bytes
    (tmp_path / "letters").write_bytes(text)
    data = load_text(tmp_path / "letters", 8)
    assert (data.kind, data.classes, data.channels, data.size) == ("text", 27, 1, (1, 9))
    assert data.train.images.dtype == torch.uint8 and not data.train.labels.any()
    train, rest = text[:421], text[421:]  # the last tenth of 520, and that of the 468 before
    assert back(data.train.images, bytes(range(97, 123))) == train[: len(data.train) * 8 + 1]
    assert len(data.train) == (421 - 1) // 8 and len(data.validation) == (47 - 1) // 8
    assert back(data.validation.images, bytes(range(97, 123))) == rest[: len(data.validation) * 8 + 1]
    assert len(data.test) == (52 - 1) // 8


def test_a_folder_has_splits_by_name(tmp_path: Path) -> None:
    for name, text in (("train-1.txt", b"abab" * 50), ("train-2.txt", b"baba" * 50), ("test.txt", b"axbz" * 50)):
        (tmp_path / name).write_bytes(text)
    (tmp_path / "README").write_bytes(b"not a split")
    data = load_text(tmp_path, 4)
    assert data.classes == 4  # a, b, the end of a line between files, and any other byte
    assert set(data.test.images.flatten().tolist()) == {1, 2, 3}  # x and z are one token
    assert len(data.validation) == (round(0.1 * 401) - 1) // 4
    (tmp_path / "train-1.txt").unlink()
    (tmp_path / "train-2.txt").unlink()
    assert load_text(tmp_path, 4).train.images.unique().numel() > 4  # without a name for a split, all is one text


def test_too_little_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        load_text(tmp_path, None)
    (tmp_path / "short.txt").write_bytes(b"a few words")
    with pytest.raises(UsageError, match=r"11 bytes, too few .* 65 bytes .*train, valid, test"):
        load_dataset("text", tmp_path / "short.txt")
    (tmp_path / "short.txt").write_bytes(b"")
    with pytest.raises(UsageError, match="0 bytes"):
        load_dataset("text", tmp_path / "short.txt")


def test_any_byte_is_a_token(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 10)
    data = load_text(tmp_path / "bytes", 16)
    assert data.classes == 256 and data.train.images.max() == 255


def test_python_brings_a_text() -> None:
    data = load_dataset("text")
    assert len(data.train) > 4000 and 50 < data.classes < 200 and data.size == (1, 65)
    assert load_dataset("text", None, 32).size == (1, 33)
    # Its text differs between versions of Python, so its digest is recorded with a run; that of digits is not.
    protocol = EvaluationProtocol(data="text", anchors=("gpt-small",))
    assert digest_of_data(protocol) == data.digest and digest_of_data(EvaluationProtocol()) is None


def test_images_come_with_text() -> None:
    both = load_dataset("digits+text")
    assert both.kind == "images" and both.read_by("") is both is both.read_by("images")
    assert both.read_by("text").kind == "text" and load_dataset("digits+text") is both
    assert both.digest != load_dataset("digits").digest
    held = less_held_out(both, 0.2)
    assert len(held.read_by("text").validation) == round(0.2 * len(both.read_by("text").train))
    assert kinds_of("digits+text") == {"images", "text"} and kinds_of("text") == {"text"} != kinds_of("digits")
    with pytest.raises(UsageError, match=r"digits has images: use another, or digits\+text"):
        load_dataset("digits").read_by("text")
    with pytest.raises(UsageError, match=r"text has text: use another, or crops\+text"):
        load_dataset("text").read_by("images")
    with pytest.raises(UsageError, match="is text already"):
        load_dataset("text+text")


def test_the_folder_is_that_of_the_part_that_needs_one(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_bytes(b"my own text " * 400)
    both = load_dataset("digits+text", tmp_path / "own.txt")
    assert both.read_by("text").classes == len(set(b"my own text ")) + 1
    protocol = EvaluationProtocol(data="digits+text", data_dir=str(tmp_path / "own.txt"))
    assert load_data(protocol) is both and digest_of_data(protocol) == both.digest
    with pytest.raises(UsageError, match="say where they are"):
        load_data(replace(protocol, data="cifar10+text", data_dir=None))
