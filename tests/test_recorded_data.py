"""The right data, always: what a process has cached, and with which images a run goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

import evonas
from evonas.errors import UsageError
from evonas.evolution.executor import Executor
from evonas.records.memory_store import MemoryStore
from evonas.setup.assemble import note_on_noise
from evonas.setup.recorded_data import check_same_data, digest_of_data
from evonas.workers.data.data_sets import load_dataset
from tests.fakes import FakeExecutor
from tests.test_image_folder import folder, picture


def save(path: Path, value: int) -> Path:
    images = np.full((60, 12, 12, 3), value, np.uint8)
    np.savez(path, x_train=images, y_train=np.arange(60) % 3)
    return path


def test_a_relative_name_is_another_folder_after_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("a", 10), ("b", 200)):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "mine.npz", value)
    found = []
    for name in ("a", "b", "a"):
        monkeypatch.chdir(tmp_path / name)
        found.append(load_dataset("npz", Path("mine.npz")))
    assert [float(data.train.images.float().mean()) for data in found] == [10, 200, 10]
    assert found[0] is found[2], "it is still cached"


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    first = load_dataset("npz", save(tmp_path / "mine.npz", 10))
    later = time.time() + 5  # of a file system that counts in seconds
    os.utime(save(tmp_path / "mine.npz", 99), (later, later))
    second = load_dataset("npz", tmp_path / "mine.npz")
    assert float(second.train.images.float().mean()) == 99 and first.digest != second.digest
    assert load_dataset("npz", tmp_path / "mine.npz") is second


def test_a_folder_that_got_an_image_is_read_again(tmp_path: Path) -> None:
    first = load_dataset("image-folder", folder(tmp_path, {"train": 10}))
    assert load_dataset("image-folder", tmp_path) is first
    picture(tmp_path / "train" / "cat" / "new.png", 7)
    later = time.time() + 5
    os.utime(tmp_path / "train" / "cat", (later, later))
    second = load_dataset("image-folder", tmp_path)
    assert len(second.train) + len(second.validation) + len(second.test) == 21


def test_a_run_goes_on_with_the_images_that_it_began_with(tmp_path: Path) -> None:
    path, store = save(tmp_path / "mine.npz", 10), MemoryStore()
    protocol = evonas.EvaluationProtocol(data="npz", data_dir=str(path), anchors=("resnet-small",), steps=2)

    def executor() -> Executor:
        return FakeExecutor(1)

    found = evonas.search(budget=2, protocol=protocol, storage=store, executor=executor(), references=(), verify=False)
    run = found.run
    assert run.environment["data"] == digest_of_data(protocol)
    check_same_data(run)
    evonas.resume(storage=store, executor=executor(), references=(), verify=False)
    later = time.time() + 5
    os.utime(save(path, 11), (later, later))
    for call in (evonas.resume, evonas.rerank):
        with pytest.raises(UsageError, match=r"run 1 began with other images than .*mine.npz.*--other-data"):
            call(storage=store, executor=executor())
    evonas.resume(storage=store, executor=executor(), references=(), verify=False, other_data=True)
    save(path, 10)
    check_same_data(run)


def test_data_of_evonas_s_own_needs_no_digest() -> None:
    assert digest_of_data(evonas.EvaluationProtocol(data="digits")) is None


def test_few_validation_images_are_told(tmp_path: Path) -> None:
    images = np.zeros((600, 12, 12, 3), np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=np.arange(600) % 3)
    few = evonas.EvaluationProtocol(data="npz", data_dir=str(tmp_path / "mine.npz"))
    assert "60 validation images, so a score has a standard error of up to 6.5 points" in note_on_noise(few)
    assert note_on_noise(evonas.EvaluationProtocol(data="crops")) == ""
