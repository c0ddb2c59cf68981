"""Random generators that follow from a key, so that every stream of random numbers is reproducible on its own."""

from __future__ import annotations

import hashlib

import torch


def seeded_generator(*key: object) -> torch.Generator:
    """Return a CPU generator whose seed is a hash of the key's text; a key may mix names and numbers.

    Hashing keeps the streams of neighbouring keys unrelated, which seeding with ``seed + index`` would not.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big", signed=True))
