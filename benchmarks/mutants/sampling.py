"""A random sample of mutants, determined by a seed and spread over rooms, lines and kinds of change."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from math import sqrt
from pathlib import Path

from benchmarks.mutants.changes import Mutant, mutants_of


def sample(root: Path, paths: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Draw a sample of the mutants of files.

    The share of a room is proportional to the square root of its number of lines, so that no room dominates. Within a
    room, all lines are equally likely, and then all kinds of change to the line. A smaller sample with the same seed is
    a prefix of a larger one.

    Args:
        root: root of the checkout.
        paths: paths of the files, relative to the root.
        count: number of mutants; fewer are drawn if there are not enough.
        seed: seed of the sample.
    """
    rooms: dict[str, dict[tuple[str, int], list[Mutant]]] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        for mutant in mutants_of(root, path):
            rooms[mutant.room][path, mutant.line].append(mutant)
    draws = {room: _draws(root, lines, random.Random(f"{seed} {room}")) for room, lines in sorted(rooms.items())}
    shares = {room: sqrt(len(lines)) for room, lines in rooms.items()}
    return list(islice(_in_turns(draws, shares), count))


def _in_turns(draws: dict[str, Iterator[Mutant]], shares: dict[str, float]) -> Iterator[Mutant]:
    """Interleave the mutants of all rooms, so that every prefix matches the shares of the rooms closely."""
    drawn = dict.fromkeys(draws, 0)
    while draws:
        room = min(draws, key=lambda one: ((drawn[one] + 0.5) / shares[one], one))
        found = next(draws[room], None)
        if found is None:
            del draws[room]
        else:
            drawn[room] += 1
            yield found


def _draws(root: Path, lines: dict[tuple[str, int], list[Mutant]], rng: random.Random) -> Iterator[Mutant]:
    """Yield valid mutants of one room in random order: one of each line, then another of each, and so on."""
    contents: dict[str, bytes] = {}
    left = {place: list(mutants) for place, mutants in sorted(lines.items())}
    while left:
        for place in rng.sample(list(left), len(left)):
            mutants = left[place]
            while mutants:
                kind = rng.choice(sorted({mutant.kind for mutant in mutants}))
                mutant = rng.choice([mutant for mutant in mutants if mutant.kind == kind])
                mutants.remove(mutant)
                if mutant.path not in contents:
                    contents[mutant.path] = (root / mutant.path).read_bytes()
                if mutant.works(contents[mutant.path]):
                    yield mutant
                    break
            if not mutants:
                del left[place]
