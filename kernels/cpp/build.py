"""From C++ source to a library that is loaded, by the system's compiler."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from evonas.errors import EvonasError
from evonas.kernels.cache import cache_folder, prune, write_whole

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Options:
    """How the compiler is called.

    Attributes:
        flags: before the source.
        libraries: after it.
        folder: of the cache, where what it makes goes. Each is pruned by itself.
    """

    flags: tuple[str, ...]
    libraries: tuple[str, ...]
    folder: str = "cpp"


KERNELS = Options(
    (
        *("-std=c++17", "-shared", "-fPIC", "-O2", "-march=native", "-w"),
        # Not -ffast-math: it takes it that every number is one, and loading what is built with it changes the
        # processor's mode for the whole process.
        *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-freciprocal-math", "-ffp-contract=fast"),
    ),
    ("-lm", "-lpthread"),
)
"""For a layer's file, which stands by itself."""
_COMPILERS = ("g++", "clang++")
_NO_COMPILER = "no C++ compiler: install g++ or clang++, or say where one is in $CXX"
_KEPT, _PRUNED_EVERY = 4096, 64  # files of 10 to 40 KiB, two for each library; builds of a process
_builds = itertools.count(1)
_SECONDS = 120  # a compiler that takes longer hangs


class BuildError(EvonasError):
    """The system's compiler could not build a layer."""


@cache
def trouble() -> str | None:
    """What is wrong with the C++ compiler, in words; None where it builds what kernels are made of."""
    if compiler() is None:
        return _NO_COMPILER
    try:
        build(f'#define DOUBLE 0\n{helpers()}\nextern "C" int works() {{ return 1; }}\n')
    except BuildError as error:
        return str(error).strip().splitlines()[0]
    except OSError as error:
        return f"the cache {cache_folder()} cannot be used, name another by $EVONAS_CACHE: {error.strerror}"
    return None


@cache
def helpers() -> str:
    """What every file begins with."""
    return (Path(__file__).parent / "helpers.h").read_text()


@cache
def compiler() -> str | None:
    """The path of the C++ compiler: that of $CXX, else g++ or clang++; None where there is none."""
    named = os.environ.get("CXX")
    found = (shutil.which(name) for name in ([named] if named else _COMPILERS))
    return next((path for path in found if path), None)


def build(source: str) -> ctypes.CDLL:
    """The library of a layer's source, from the cache or built for it, and loaded.

    Raises:
        BuildError, OSError: as `loaded`.
    """
    return loaded(source, lambda path: ctypes.CDLL(str(path)))


def loaded(source: str, load: Callable[[Path], Loaded], options: Options = KERNELS) -> Loaded:
    """What `load` makes of the library of a source. One that was cut short, by a disk that was full say, is built anew.

    Raises:
        BuildError: when there is no compiler, or it fails, or what it builds cannot be loaded.
        OSError: when the cache cannot be written to.
    """
    path = library(source, options)
    try:
        return load(path)
    except (OSError, RuntimeError):
        path.unlink(missing_ok=True)
    path = library(source, options)
    try:
        return load(path)
    except (OSError, RuntimeError) as error:
        path.unlink(missing_ok=True)
        raise BuildError(f"what {compiler()} builds cannot be loaded: {error}") from error


def library(source: str, options: Options = KERNELS) -> Path:
    """The library of a source, from the cache or built for it.

    Raises:
        BuildError: when there is no compiler, or it fails.
        OSError: when the cache cannot be written to.
    """
    compiled = _place(source, options)
    if not compiled.exists():
        _compile(source, compiled, options)
        if next(_builds) % _PRUNED_EVERY == 0:
            prune(compiled.parent, _KEPT)
    return compiled


def built(source: str, options: Options = KERNELS) -> Path | None:
    """The library of a source where it lies in the cache."""
    try:
        path = _place(source, options)
    except BuildError:
        return None
    return path if path.exists() else None


def _place(source: str, options: Options) -> Path:
    """Where the library of a source lies.

    The key is the source, the compiler with its version, its flags, and what the processor can do: a folder
    that several machines share holds a library for each kind.
    """
    path = compiler()
    if path is None:
        raise BuildError(_NO_COMPILER)
    parts = [source, path, _version(path), *options.flags, *options.libraries, _processor()]
    key = hashlib.blake2b("\0".join(parts).encode(), digest_size=16)
    return cache_folder() / options.folder / f"{key.hexdigest()}.so"


def _compile(source: str, library: Path, options: Options) -> None:
    path, text = compiler(), library.with_suffix(".cpp")
    write_whole(text, source)
    # Workers may build the same layer at once: each under a name of its own, and whole or not at all.
    handle, temporary = tempfile.mkstemp(dir=library.parent, suffix=".so")
    os.close(handle)
    try:
        command = [str(path), *options.flags, "-o", temporary, str(text), *options.libraries]
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
    """What -march=native looks at."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
    return "\n".join([platform.machine(), platform.processor(), *sorted(set(told))])
