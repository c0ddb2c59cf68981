"""Text: the documentation that comes with Python, or the bytes of a user's own files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from evonas.errors import UsageError
from evonas.workers.data.dataset import DataSet
from evonas.workers.data.splits import Split

CONTEXT = 64
"""Tokens that a network reads of a window, unless `image_size` says otherwise."""
_PARTS = ("train", "valid", "test")
_SHARE = 0.1
"""Share of a text at its end that is the test split, and before that the validation split."""


def load_text(place: Path | None, context: int | None) -> DataSet:
    """Load text as windows of bytes, one after another.

    Args:
        place: a file; or a folder of files, in which those whose names begin with train, valid and test are these
            splits, or which all together are one text, in the order of their names. None for Python's own
            documentation (`pydoc_data.topics`), about 465,000 characters that differ a little between versions.
        context: tokens that a network reads of a window; None for `CONTEXT`.

    Returns:
        The data set. A token is a byte that occurs in the training split, by its place among these; all other bytes
        share one more. A split that is not there is the last tenth of the text, or of what is left of it.

    Raises:
        UsageError: there is no text, or too little for two windows in each split.
    """
    length = CONTEXT if context is None else context
    parts = {"train": _documentation()} if place is None else _read(place)
    for name in ("test", "valid"):
        if not parts.get(name):
            cut = len(parts["train"]) - round(_SHARE * len(parts["train"]))
            parts["train"], parts[name] = parts["train"][:cut], parts["train"][cut:]
    table, tokens = _tokens(parts["train"])
    splits = {name: _windows(table[_bytes(parts[name])], length) for name in _PARTS}
    short = [name for name, split in splits.items() if len(split) < 2]
    if short:
        raise UsageError(
            f"the text has {sum(map(len, parts.values())):,} bytes, too few for two windows of {length + 1} bytes in "
            f"each split ({', '.join(short)}): add text, or make windows shorter by --set protocol.image_size=16"
        )
    return DataSet("text", tokens, 1, splits["train"], splits["valid"], splits["test"], kind="text")


def _documentation() -> bytes:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics)).encode()


def _read(place: Path) -> dict[str, bytes]:
    files = sorted(one for one in place.iterdir() if one.is_file()) if place.is_dir() else [place]
    if not files:
        raise UsageError(f"there is no file in {str(place)!r}: put text there")
    named = {part: [one for one in files if one.name.lower().startswith(part)] for part in _PARTS}
    if named["train"]:
        return {part: b"\n".join(one.read_bytes() for one in some) for part, some in named.items()}
    return {"train": b"\n".join(one.read_bytes() for one in files)}


def _tokens(text: bytes) -> tuple[Tensor, int]:
    """The token of every byte, uint8 (256,), and how many tokens there are."""
    known = sorted(set(text))
    table = torch.full((256,), len(known), dtype=torch.int64)
    table[torch.tensor(known, dtype=torch.int64)] = torch.arange(len(known))
    return table.clamp_max(255).to(torch.uint8), min(len(known) + 1, 256)


def _bytes(text: bytes) -> Tensor:
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long() if text else torch.empty(0, dtype=torch.int64)


def _windows(tokens: Tensor, length: int) -> Split:
    """Cut tokens into windows that share their ends: the last token of each, which is asked for, begins the next."""
    count = max(0, (len(tokens) - 1) // length)
    windows = tokens[: count * length + 1].unfold(0, length + 1, length) if count else tokens[:0].view(0, length + 1)
    return Split(windows.reshape(count, 1, 1, length + 1).clone(), torch.zeros(count, dtype=torch.int64))
