"""A sample of mutants that a seed determines, spread over rooms, lines and sorts of change."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from math import sqrt
from pathlib import Path

from benchmarks.mutants.changes import Mutant, mutants_of


def sample(root: Path, paths: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Draws mutants of files.

    A room has a share in proportion to the square root of its lines, so that none dominates; in
    a room each line is as likely as any other, then each sort of change to it. A smaller sample of the same seed is
    the beginning of a larger one.

    Args:
        root: of the checkout.
        paths: of the files, relative to it.
        count: how many, fewer where there are no more.
        seed: of the draw.
    """
    rooms: dict[str, dict[tuple[str, int], list[Mutant]]] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        for mutant in mutants_of(root, path):
            rooms[mutant.room][path, mutant.line].append(mutant)
    draws = {room: _draws(root, lines, random.Random(f"{seed} {room}")) for room, lines in sorted(rooms.items())}
    shares = {room: sqrt(len(lines)) for room, lines in rooms.items()}
    return list(islice(_in_turns(draws, shares), count))


def _in_turns(draws: dict[str, Iterator[Mutant]], shares: dict[str, float]) -> Iterator[Mutant]:
    """Mutants of all rooms, each room as often as its share says, as near as can be at every moment."""
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
    """Mutants of one room that work, in random order: one of each line, then another of each, and so on."""
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
