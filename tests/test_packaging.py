"""The packaging arrangement: four folders at the top that install as sub-packages of evonas."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOVED = ("db", "kernels", "search_spaces", "workers")


def listed() -> dict[str, Path]:
    """Packages in pyproject.toml and the folders that they stand for."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {}
    for package in settings["packages"]:
        longest = max((p for p in settings["package-dir"] if package == p or package.startswith(p + ".")), key=len)
        rest = package[len(longest) :].strip(".").replace(".", "/")
        folders[package] = ROOT / settings["package-dir"][longest] / rest
    return folders


def test_every_folder_with_code_is_listed() -> None:
    # A folder that is missing from the list works in a checkout and is absent from the wheel.
    present = {"evonas": ROOT / "evonas"}
    for top in (ROOT / "evonas", *(ROOT / name for name in MOVED)):
        prefix = "evonas" if top.name == "evonas" else f"evonas.{top.name}"
        for init in top.rglob("__init__.py"):
            inside = init.parent.relative_to(top)
            if not any((top / p).is_symlink() for p in (inside, *inside.parents) if p != Path()):
                present[".".join([prefix, *inside.parts])] = init.parent
    assert listed() == present


@pytest.mark.parametrize("name", MOVED)
def test_the_checkout_resolves_the_same_names(name: str) -> None:
    link = ROOT / "evonas" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_a_wheel_holds_every_module_and_nothing_outside_evonas(tmp_path: Path) -> None:
    # In a copy: a build leaves folders behind, and stale ones would find their way into the wheel.
    source = tmp_path / "source"
    unwanted = shutil.ignore_patterns(".git", ".venv*", "build", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, symlinks=True, ignore=unwanted)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    built = subprocess.run(command, capture_output=True, text=True)
    if "No module named" in built.stderr and "setuptools" in built.stderr:
        # An environment without setuptools: let pip fetch it, as users' pip does.
        command.remove("--no-build-isolation")
        built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    outside = {n for n in names if not n.startswith(("evonas/", "evonas-"))}
    assert outside == set()
    for package, folder in listed().items():
        for module in folder.iterdir():  # what code reads beside modules too: presets, headers, templates
            if module.is_file() and module.suffix != ".pyc":
                assert f"{package.replace('.', '/')}/{module.name}" in names
        templates = folder / "templates"
        for template in templates.iterdir() if templates.is_dir() else ():
            assert f"{package.replace('.', '/')}/templates/{template.name}" in names
    assert "evonas/py.typed" in names
    for part in ("report.html.j2", "report.css", "report.js"):
        assert f"evonas/report/templates/{part}" in names
