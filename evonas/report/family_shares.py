"""Which families the scored candidates of a run belong to, and how far each of them came."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from evonas.judging.families import Family, family_of
from evonas.settings.candidate import Candidate, Evaluation

_MOST = 2000  # candidates whose families are looked at: each takes a quarter of a millisecond
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class FamilyShare:
    """A family, or the rest of the families together.

    Attributes:
        name: what its layers do, or how many families are the rest.
        share: its share of the scored candidates that were looked at, from 0 to 1.
        best: the highest mean score in the search.
        longer: how many of its candidates were trained longer.
    """

    name: str
    share: float
    best: float
    longer: int


@dataclass(frozen=True, slots=True)
class FamilyShares:
    """The families of a run.

    Attributes:
        shares: the largest families, largest first, and the rest as one at the end.
        families: the number of families.
        looked_at: the number of scored candidates that were looked at: all, or every so manieth of a large run.
    """

    shares: Sequence[FamilyShare]
    families: int
    looked_at: int


def family_shares(
    candidates: Mapping[int, Candidate], scored: Sequence[Evaluation], longer: Collection[int]
) -> FamilyShares:
    """Counts the families of scored candidates; `longer` has the indices of those that were trained longer."""
    looked_at = scored[:: -(-len(scored) // _MOST) or 1]
    found: dict[Family, list[Evaluation]] = {}
    for one in looked_at:
        found.setdefault(family_of(candidates[one.index].graph), []).append(one)

    def share(name: str, members: Sequence[Evaluation]) -> FamilyShare:
        best, trained = max(one.mean for one in members), sum(one.index in longer for one in members)
        return FamilyShare(name, len(members) / len(looked_at), best, trained)

    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), str(item[0])))
    shown = len(ordered) if len(ordered) <= _SHOWN + 1 else _SHOWN
    shares = [share(str(family), members) for family, members in ordered[:shown]]
    rest = [one for _, members in ordered[shown:] for one in members]
    if rest:
        shares.append(share(f"{len(ordered) - shown} other families", rest))
    return FamilyShares(shares, len(ordered), len(looked_at))
