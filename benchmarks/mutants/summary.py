"""The result of judging mutants, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.mutants.changes import Mutant
from benchmarks.mutants.judging import CAUGHT, CUT_SHORT, EQUIVALENT, SURVIVED, Verdict, document

COLUMNS = (CAUGHT, SURVIVED, CUT_SHORT, EQUIVALENT)


def report(
    mutants: Sequence[Mutant],
    verdicts: Mapping[str, Verdict],
    reasons: Mapping[str, str],
    facts: Mapping[str, Any],
    output: Path | None,
) -> bool:
    """List the mutants that were not caught, count verdicts by room, and write everything to a file, if given.

    Args:
        mutants: the mutants that were judged.
        verdicts: verdicts by the keys of mutants.
        reasons: why a mutant is not a fault, by key.
        facts: settings and versions of the measurement.
        output: the JSON file.

    Returns:
        Whether all faults were caught.
    """
    found = [verdicts[mutant.key] for mutant in mutants if mutant.key not in reasons]
    missed = [verdict for verdict in found if verdict.verdict != CAUGHT]
    for verdict in missed:
        unrun = "; no test is known to run the line" if verdict.unrun else ""
        left = f" with {verdict.left} tests left" if verdict.left else ""
        print(f"\n{verdict.path}:{verdict.line}  {verdict.verdict}{left}: {verdict.kind}{unrun}")
        print(f"    {' '.join(verdict.text.split())}\n    {verdict.change}")
    counts = _counts(mutants, verdicts, reasons)
    Console().print(_table(counts))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        equivalent = [
            {"path": m.path, "line": m.line, "change": m.change, "reason": reasons[m.key]}
            for m in mutants
            if m.key in reasons
        ]
        rooms = {room: {**counted, "share": share(counted)} for room, counted in counts.items()}
        whole = {**facts, "rooms": rooms, "equivalent": equivalent, "verdicts": document(found)}
        output.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    return not missed


def _counts(
    mutants: Sequence[Mutant], verdicts: Mapping[str, Verdict], reasons: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    """Count the verdicts in each room, and in total."""
    counts: dict[str, Counter[str]] = {}
    for mutant in mutants:
        verdict = EQUIVALENT if mutant.key in reasons else verdicts[mutant.key].verdict
        for room in (mutant.room, "all"):
            counts.setdefault(room, Counter())[verdict] += 1
    order = [*sorted(room for room in counts if room != "all"), *(["all"] if counts else [])]
    return {room: {verdict: counts[room][verdict] for verdict in COLUMNS} for room in order}


def share(counted: Mapping[str, int]) -> float | None:
    """Return the share of faults that were caught; None if there are no faults."""
    faults = sum(counted[verdict] for verdict in (CAUGHT, SURVIVED, CUT_SHORT))
    return round(counted[CAUGHT] / faults, 4) if faults else None


def _table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    grid = Table()
    for heading in ("", *COLUMNS, "share caught"):
        grid.add_column(heading, justify="right" if heading else "left")
    for room, counted in counts.items():
        part = share(counted)
        cells = [str(counted[verdict]) for verdict in COLUMNS]
        grid.add_row(room, *cells, "" if part is None else f"{part:.1%}", end_section=room == "all")
    return grid
