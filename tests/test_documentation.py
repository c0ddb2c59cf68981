"""Every command and snippet of the documentation runs, with less to do; links and line lengths are checked."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from evonas import NormAct
from evonas.cli import main

ROOT = Path(__file__).parent.parent
PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("LAYERS", "EXPORT", "SEARCH", "RUNS", "TRANSFORMERS", "REPORT", "RERANK")),
    *(f"docs/{name}.md" for name in ("COMPARE", "SETTINGS", "MODEL", "DATA", "LOOP", "PARTS", "GPU", "REPRODUCE")),
    "CONTRIBUTING.md",
)
"""The pages whose commands and snippets run, one after another in one folder."""
MARKDOWN = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)
"""Every committed page."""
WIDEST = 120  # characters of a line, as in the code
SETS_UP = re.compile(r"^(python3 -m venv|source) ")  # run by .ci/run, from a bare checkout
TRAINING = ("search", "baseline", "rerank")
SMALLER = [
    # The files of CIFAR-10 are not here, …
    (r"--data cifar10 --data-dir ~/data", "--data npz --data-dir mine.npz"),
    # … and neither is a GPU.
    (r" --set protocol.device=cuda --gpus-per-worker 0.25", ""),
    (r" --gpus-per-worker 0.25", ""),
    (
        r"--preset paper --data-dir ~/data",
        "--preset paper --data npz --data-dir mine.npz --budget 1 --anchor resnet-small --set protocol.device=cpu"
        " --set protocol.crop=8 --set protocol.batch=16",
    ),
    (r"--data-dir pictures$", "--data-dir pictures --budget 4"),
    (r"--budget \d+", "--budget 4"),
    (r"--seeds \d+", "--seeds 1"),
    (r"--seed-graph gn-relu ", ""),
]


def blocks(language: str) -> list[tuple[str, str]]:
    """The page and text of every fenced block in a language."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        found += [(page, block) for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)]
    return found


def commands() -> list[str]:
    """The command lines, in order."""
    return [line for _, block in blocks("sh") for line in block.splitlines() if line and not SETS_UP.match(line)]


def small(command: str) -> list[str]:
    """The command with less to do: fewer candidates, fewer steps, no Ray to start."""
    for pattern, replacement in SMALLER:
        command = re.sub(pattern, replacement, command)
    words = shlex.split(command)
    if words[1] in (*TRAINING, "transfer"):
        words += ["--steps", "2"]
    if words[1] == "search":
        words += ["--set", "protocol.quality_floor=0.0"]  # after two steps no layer would be left to rerank
        words += (
            [] if "paper" in words else ["--set", "protocol.floors=absolute"]
        )  # five published layers less to train
    if words[1] == "search" and not {"--data", "--preset", "--score"} & set(words):
        words += ["--data", "digits"]  # a tenth of the validation images
    if words[1] in ("search", "resume"):
        words += ["--no-verify"]  # which trains longer than all that these searches do; tests/test_verification.py
    if words[1] == "transfer":
        words += ["--seeds", "1", "--reference", "bn-relu"]
        words = ["2/0" if word == "2/17" else word for word in words]
    if words[1] == "rerank":
        words += ["--seeds", "1", "--reference", "bn-relu", "--transfer", "none"]
    if words[1] in (*TRAINING, "resume"):
        words += ["--executor", "local"]
    if words[1:] == ["baseline", "--seeds", "1", "--steps", "2", "--executor", "local"]:
        words += ["--anchor", "resnet-small"]  # the whole zoo
    return words


def own_data(place: Path) -> None:
    """Makes the files that the sections on your own data and parts mention."""
    shutil.copytree(ROOT / "examples", place / "examples")
    (place / "benchmarks").mkdir()
    (place / "benchmarks" / "results").symlink_to(ROOT / "benchmarks" / "results")
    torch.save(NormAct("evonorm-s0", 64).state_dict(), place / "trained.pt")  # which a snippet saves for a command
    (place / "pages.txt").write_text("some words of my own, in pages without an end\n" * 200)
    images = np.random.default_rng(0).integers(0, 256, (60, 12, 12, 3), np.uint8)
    np.savez(place / "mine.npz", x_train=images, y_train=np.arange(60) % 2)
    for number, image in enumerate(images):
        folder = place / "pictures" / "train" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")


def test_there_is_something_to_run() -> None:
    assert len(commands()) > 12
    assert {
        "search",
        "resume",
        "runs",
        "status",
        "best",
        "pareto",
        "show",
        "baseline",
        "zoo",
        "export",
        "doctor",
        "rerank",
        "config",
        "report",
        "plot",
        "watch",
        "compare",
        "transfer",
        "backup",
    } == {command.split()[1] for command in commands() if command.startswith("evonas ")}


def test_every_command_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_data(tmp_path)
    for command in commands():
        assert command.startswith("evonas "), command
        monkeypatch.setattr(sys, "argv", small(command))
        before = signal.getsignal(signal.SIGTERM)
        try:
            main()
        except SystemExit as end:
            said = capsys.readouterr()
            # A search of four candidates may score none of them, which it says.
            assert not end.code or (end.code == 1 and "scored nothing" in said.err), f"{command}: {said}"
        finally:
            signal.signal(signal.SIGTERM, before)
    for made in ("layer.py", "report.html", "progress.svg"):
        assert (tmp_path / made).exists()


def test_every_snippet_runs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    own_data(tmp_path)
    names: dict[str, Any] = {}
    for page, block in blocks("python"):
        made_small = re.sub(r"budget=\d+", "budget=3, executor='local', references=(), verify=False", block)
        exec(compile(made_small, page, "exec"), names)
    assert names["found"].summary.candidates == 3


def test_commands_that_measure_are_there_with_their_options() -> None:
    """Those of docs/REPRODUCE.md take hours, so their modules and options are looked up instead."""
    found = re.findall(r"`?python -m (benchmarks\.[\w.]+)([^`\n]*)", (ROOT / "docs" / "REPRODUCE.md").read_text())
    assert len(found) > 10
    for module, rest in found:
        place = ROOT / module.replace(".", "/")
        files = sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        source = "".join(file.read_text() for file in files)
        for option in re.findall(r"(?<= )--?[a-z][\w-]*", rest):
            assert f'"{option}"' in source, f"{module} has no {option}"


@pytest.mark.parametrize("page", MARKDOWN)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert target.startswith("http") or ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", MARKDOWN)
def test_lines_are_at_most_120_characters(page: str) -> None:
    """Rows of tables cannot be broken."""
    lines = (ROOT / page).read_text().splitlines()
    wide = [(number, len(line)) for number, line in enumerate(lines, 1) if len(line) > WIDEST and line[0] != "|"]
    assert wide == []


def test_the_architecture_names_every_file_of_every_room_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named: dict[str, list[str]] = {}
    for room, section in re.findall(r"^### `([\w/]+)/`\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL):
        rows = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
        named[room] = [name for row in rows for name in re.findall(r"`(\w+\.py)`", row)]
    present: dict[str, list[str]] = {}
    for top in ("evonas", "search_spaces", "workers", "kernels", "db"):
        for file in sorted((ROOT / top).rglob("*.py")):
            room = file.parent.relative_to(ROOT)
            apart = room.name == "presets" or "migrations" in room.parts or (top, room.name) == ("evonas", "evonas")
            if file.stem != "__init__" and not apart:
                present.setdefault(str(room), []).append(file.name)
    assert len(present) > 20
    assert {room: sorted(names) for room, names in named.items()} == present


def test_the_architecture_names_files_that_are_there_in_its_prose_too() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in re.findall(r"`((?:\w+/)*\w+\.(?:py|h|md|toml|js|j2))`", text):
        assert any((ROOT / place / name).exists() for place in (".", "evonas", "workers", "kernels", "tests")) or any(
            list(ROOT.glob(f"{top}/**/{name}")) for top in ("evonas", "workers", "db", "kernels", "search_spaces")
        ), name


def test_the_readme_is_short_and_its_tables_are_those_of_pages_that_tests_hold_to_what_was_measured() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 200
    measured = [line for line in lines if re.match(r"\| (`|default)", line) and re.search(r"\d\.\d", line)]
    pages = "\n".join((ROOT / "docs" / name).read_text() for name in ("SPEED.md", "SCIENCE.md"))
    assert len(measured) > 10 and [line for line in measured if line not in pages.splitlines()] == []
