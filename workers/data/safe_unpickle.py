"""Reading the pickled files of CIFAR without running anything that is in them.

A pickle is a program: `pickle.load` lets a stranger's file run any command. This reader refuses every name
that a pickle asks for, except the few that a NumPy array written by Python 2 or 3 needs. Those names lead to the
stand-ins below, which record their arguments and do nothing else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UsageError, shorten


class _RefusedError(Exception):
    """The pickle asks for something that a file of numbers does not need."""


class _Dtype:
    """The data type of an array, as a pickle states it."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code = code.decode("ascii", "replace") if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and the like, which do not apply to single bytes."""


class _Array:
    """The shape, type and bytes of an array, as a pickle states them."""

    shape: object = None
    dtype: object = None
    fortran: object = False
    content: object = b""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _RefusedError("it has an array without shape, type and bytes")
        _, self.shape, self.dtype, self.fortran, self.content = state


class _Function:
    """A function that a pickle may call but not alter."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        """Refuse, because the pickle's command to restore an object would otherwise set attributes of this one."""
        raise _RefusedError("it tries to alter the reader")


def _encode(text: object, encoding: object = None) -> bytes:
    # Python 3 writes bytes in this form in protocol 2, which Python 2 can read.
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise _RefusedError("it has text in an encoding other than latin1")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Function(lambda *_: _Array()),
    ("numpy._core.multiarray", "_reconstruct"): _Function(lambda *_: _Array()),
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Function(_encode),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) not in _STAND_INS:
            raise _RefusedError(f"it asks for {shorten(f'{module}.{name}')}")
        return _STAND_INS[module, name]


def read_batch(content: bytes, label: bytes, where: str, pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the images and labels of one pickled file.

    Args:
        content: the contents of the file.
        label: the key of the labels.
        where: the name of the file, for error messages.
        pixels: number of values per image.

    Returns:
        Images, uint8 (n, pixels), read-only, and labels, int64 (n,).

    Raises:
        UsageError: The file is damaged or is not a CIFAR file; the message names the file and the fault.
    """
    again = "download it again"
    try:
        document = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _RefusedError as error:
        raise UsageError(f"{where} is not a CIFAR file, and reading stopped: {error}; download it again") from None
    except Exception as error:  # bytes that are not a pickle make the reader raise almost anything
        raise UsageError(f"{where} is cut off or damaged ({type(error).__name__}): {again}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{where} does not hold a table of images and labels: {again}")
    for key in (b"data", label):
        if key not in document:
            raise UsageError(f"{where} has no entry {key.decode()!r}: is it a file of another data set?")
    images, labels = document[b"data"], document[label]
    if not (isinstance(images, _Array) and isinstance(images.dtype, _Dtype) and isinstance(images.content, bytes)):
        raise UsageError(f"{where}: 'data' is not an array of bytes: {again}")
    shape = images.shape
    if not isinstance(shape, tuple) or not all(type(side) is int for side in shape):
        raise UsageError(f"{where}: 'data' has no shape: {again}")
    if len(shape) != 2 or shape[1] != pixels:
        raise UsageError(f"{where}: 'data' has shape {shorten(shape)} instead of (images, {pixels}): {again}")
    if images.dtype.code not in ("u1", "|u1") or images.fortran or len(images.content) != shape[0] * pixels:
        raise UsageError(f"{where}: 'data' does not hold {shorten(shape)} single bytes in row-major order: {again}")
    if not isinstance(labels, list) or not all(type(one) is int and abs(one) < 1 << 31 for one in labels):
        raise UsageError(f"{where}: {label.decode()!r} is not a list of integers: {again}")
    if len(labels) != shape[0]:
        raise UsageError(f"{where} has {shape[0]:,} images and {len(labels):,} labels: {again}")
    return np.frombuffer(images.content, np.uint8).reshape(shape), np.array(labels, np.int64)
