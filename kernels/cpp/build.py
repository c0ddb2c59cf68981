"""Builds C++ source into a library with the system's compiler, and loads it."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from evonas.cache import cache_folder, prune, write_whole
from evonas.errors import EvonasError

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Options:
    """How the compiler is called.

    Attributes:
        flags: its arguments before the source.
        libraries: its arguments after the source.
        folder: the folder within the cache for the libraries. Each folder is pruned separately.
    """

    flags: tuple[str, ...]
    libraries: tuple[str, ...]
    folder: str = "cpp"


KERNELS = Options(
    (
        *("-std=c++17", "-shared", "-fPIC", "-O2", "-march=native", "-w"),
        # Not -ffast-math: it assumes that NaN does not occur, and loading a library built with it changes the
        # floating-point mode of the whole process.
        *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-freciprocal-math", "-ffp-contract=fast"),
    ),
    ("-lm", "-lpthread"),
)
"""The options for a layer's file, which needs no other source."""
_COMPILERS = ("g++", "clang++")
_NO_COMPILER = "no C++ compiler: install g++ or clang++, or set $CXX to one"
_KEPT = 4096  # files of 10 to 40 KiB, two for each library
_PRUNED_EVERY = 64  # builds of a process
_builds = itertools.count(1)
_SECONDS = 120  # a compiler that takes longer is assumed to hang


class BuildError(EvonasError):
    """The system's compiler could not build a layer."""


@cache
def trouble() -> str | None:
    """A sentence on what is wrong with the C++ compiler; None if it builds the helpers that kernels use."""
    if compiler() is None:
        return _NO_COMPILER
    try:
        build(f'#define DOUBLE 0\n{helpers_text()}\nextern "C" int works() {{ return 1; }}\n')
    except BuildError as error:
        return str(error).strip().splitlines()[0]
    except OSError as error:
        return f"the cache folder {cache_folder()} cannot be used; set $EVONAS_CACHE to another one: {error.strerror}"
    return None


@cache
def helpers_text() -> str:
    """The text of `helpers.h`, with which every layer's file begins."""
    return (Path(__file__).parent / "helpers.h").read_text()


@cache
def compiler() -> str | None:
    """The path of the C++ compiler: the one in $CXX, otherwise g++ or clang++; None if there is none."""
    named = _named()
    found = (shutil.which(name) for name in (named[:1] or _COMPILERS))
    return next((path for path in found if path), None)


def _named() -> list[str]:
    """The words of $CXX: a compiler, perhaps by way of ccache, and options, as in "g++ -O1"; none if it is not set."""
    try:
        return shlex.split(os.environ.get("CXX", ""))
    except ValueError:  # a quote that does not end
        return [os.environ["CXX"]]


def build(source: str) -> ctypes.CDLL:
    """Loads the library of a layer's source, which is built if it is not in the cache.

    Raises:
        BuildError, OSError: as `build_and_load`.
    """
    return build_and_load(source, lambda path: ctypes.CDLL(str(path)))


def build_and_load(source: str, load: Callable[[Path], Loaded], options: Options = KERNELS) -> Loaded:
    """Returns what `load` returns for the library of a source, which is built if it is not in the cache.

    A library that cannot be loaded, for example because a full disk cut it short, is built again.

    Raises:
        BuildError: if there is no compiler, if it fails, or if its result cannot be loaded.
        OSError: if the cache cannot be written to.
    """
    path = library_path(source, options)
    try:
        return load(path)
    except (OSError, RuntimeError):
        path.unlink(missing_ok=True)
    path = library_path(source, options)
    try:
        return load(path)
    except (OSError, RuntimeError) as error:
        path.unlink(missing_ok=True)
        raise BuildError(f"the library that {compiler()} built cannot be loaded: {error}") from error


def library_path(source: str, options: Options = KERNELS) -> Path:
    """The path of the library of a source, which is built if it is not in the cache.

    Raises:
        BuildError: if there is no compiler, or it fails.
        OSError: if the cache cannot be written to.
    """
    compiled = _place(source, options)
    if not compiled.exists():
        _compile(source, compiled, options)
        if next(_builds) % _PRUNED_EVERY == 0:
            prune(compiled.parent, _KEPT)
    return compiled


def cached_library(source: str, options: Options = KERNELS) -> Path | None:
    """The path of the library of a source if it is in the cache; None otherwise."""
    try:
        path = _place(source, options)
    except BuildError:
        return None
    return path if path.exists() else None


def _place(source: str, options: Options) -> Path:
    """The path of the library of a source in the cache, whether it is there or not.

    Its name is a digest of the source, the compiler and its version, the flags, and the abilities of the processor, so
    that a folder which several machines share holds a library for each kind of machine.
    """
    path = compiler()
    if path is None:
        raise BuildError(_NO_COMPILER)
    parts = [source, path, *_named()[1:], _version(path), *options.flags, *options.libraries, _processor()]
    key = hashlib.blake2b("\0".join(parts).encode(), digest_size=16)
    return cache_folder() / options.folder / f"{key.hexdigest()}.so"


def _compile(source: str, library: Path, options: Options) -> None:
    path, text = compiler(), library.with_suffix(".cpp")
    write_whole(text, source)
    # Workers may build the same layer at the same time: each uses a temporary name, and renames a complete file.
    handle, temporary = tempfile.mkstemp(dir=library.parent, suffix=".so")
    os.close(handle)
    try:
        command = [str(path), *_named()[1:], *options.flags, "-o", temporary, str(text), *options.libraries]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BuildError(f"{path} could not compile {text}: {error}") from error
        if done.returncode:
            raise BuildError(f"{path} could not compile {text}:\n{done.stderr.strip()[-2000:]}")
        Path(temporary).replace(library)
    finally:
        Path(temporary).unlink(missing_ok=True)


@cache
def _version(path: str) -> str:
    try:
        return subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


@cache
def _processor() -> str:
    """The properties of the processor that -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    return "\n".join([platform.machine(), platform.processor(), *sorted(features)])
