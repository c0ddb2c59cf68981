"""Reading the pickled files of CIFAR without running anything that is in them.

A pickle is a program: reading one from a stranger with `pickle.load` lets it run any command. Here every
name that it asks for is refused, but for the four that a numpy array written by Python 2 or 3 needs, and
these lead to the stand-ins below, which note what they are given and do nothing.
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
    """What a pickle says about the type of an array's numbers."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code = code.decode("ascii", "replace") if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, which single bytes have none of."""


class _Array:
    """What a pickle says about an array: shape, type and bytes."""

    shape: object = None
    dtype: object = None
    fortran: object = False
    content: object = b""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _RefusedError("an array without shape, type and bytes")
        _, self.shape, self.dtype, self.fortran, self.content = state


class _Function:
    """A function that a pickle may call and not alter."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        """Without this, the pickle's command to restore an object would set attributes of this one."""
        raise _RefusedError("it alters what it is read with")


def _encode(text: object, encoding: object = None) -> bytes:
    # How Python 3 writes bytes in the protocol of Python 2.
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise _RefusedError("text in another encoding than latin1")
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
    """The images and labels of one pickled file.

    Args:
        content: the file.
        label: key of the labels.
        where: the file's name, for messages.
        pixels: numbers of an image.

    Returns:
        uint8 (n, pixels), which cannot be written to, and int64 (n,).

    Raises:
        UsageError: names the file and what is wrong with it.
    """
    again = "get it again, whole"
    try:
        document = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _RefusedError as error:
        raise UsageError(f"{where} is not a file of CIFAR and was not read on: {error}; get it again") from None
    except Exception as error:  # bytes that are no pickle make the reader raise almost anything
        raise UsageError(f"{where} is cut off or damaged ({type(error).__name__}): {again}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{where} holds no table of images and labels: {again}")
    for key in (b"data", label):
        if key not in document:
            raise UsageError(f"{where} has no {key.decode()!r} in it: is it the file of another data set?")
    images, labels = document[b"data"], document[label]
    if not (isinstance(images, _Array) and isinstance(images.dtype, _Dtype) and isinstance(images.content, bytes)):
        raise UsageError(f"{where}: 'data' is not an array of bytes: {again}")
    shape = images.shape
    if not isinstance(shape, tuple) or not all(type(side) is int for side in shape):
        raise UsageError(f"{where}: 'data' has no shape: {again}")
    if len(shape) != 2 or shape[1] != pixels:
        raise UsageError(f"{where}: 'data' has shape {shorten(shape)} instead of (images, {pixels}): {again}")
    if images.dtype.code not in ("u1", "|u1") or images.fortran or len(images.content) != shape[0] * pixels:
        raise UsageError(f"{where}: 'data' is not {shorten(shape)} single bytes, row by row: {again}")
    if not isinstance(labels, list) or not all(type(one) is int and abs(one) < 1 << 31 for one in labels):
        raise UsageError(f"{where}: {label.decode()!r} is not a list of whole numbers: {again}")
    if len(labels) != shape[0]:
        raise UsageError(f"{where} has {shape[0]:,} images and {len(labels):,} labels: {again}")
    return np.frombuffer(images.content, np.uint8).reshape(shape), np.array(labels, np.int64)
