"""The command line of `benchmarks.science`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.science import counting, pictures, searching
from benchmarks.science.census import published, read, subjects
from benchmarks.science.runs import REFERENCES, VARIANTS, plan, recorded
from benchmarks.science.take_census import take
from evonas.cli.baseline import comparison_table
from evonas.front.result import Result
from evonas.language.graph import Graph
from evonas.records.environment import environment, usable_cores
from evonas.reruns.baseline import baseline
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import open_storage

FRESH_SEEDS = range(1000, 1005)
"""Seeds of the final trainings, which no search uses."""

console = Console()


def on_test_split(runs: Sequence[tuple[str, Result]], top: int, workers: int | None) -> list[dict[str, Any]]:
    """Train the best layers of every run, and published ones, with fresh seeds, and score them on the test split."""
    found: dict[str, tuple[str, Graph]] = {}
    for label, result in runs:
        for row in result.best(top):
            found.setdefault(row.graph.key, (f"{label}, seed {result.run.config.seed}", row.graph))
    layers: list[Graph | str] = [*REFERENCES, *(graph for _, graph in found.values())]
    origins = [*("published" for _ in REFERENCES), *(origin for origin, _ in found.values())]
    compared = baseline(layers, protocol=EvaluationProtocol(), seeds=FRESH_SEEDS, split="test", workers=workers)
    console.print(comparison_table(compared, EvaluationProtocol().anchors, "test accuracy, five fresh seeds"))
    rows: list[dict[str, Any]] = []
    for origin, comparison in zip(origins, compared, strict=True):
        numbers: dict[str, Any] = {"layer": comparison.layer, "from": origin, "failures": list(comparison.failures)}
        numbers["scores"] = {anchor: list(values) for anchor, values in comparison.scores.items()}
        if all(comparison.scores.values()):
            numbers |= {"mean": comparison.mean(), "spread": comparison.spread()}
        rows.append(numbers)
    return rows


def document(runs: Sequence[tuple[str, Result]], core_minutes: float, census: Path) -> dict[str, Any]:
    """Collect all measurements except those on the test split, for JSON."""
    accounts = [searching.account(label, result, core_minutes) for label, result in runs]
    results = [result for _, result in runs]
    records = list(read(census).values())
    return {
        "environment": environment(),
        "protocol": asdict(EvaluationProtocol()),
        "core_minutes": core_minutes,
        "runs": accounts,
        "strategies": searching.by_label(accounts),
        "anchors": searching.anchors_agree(results),
        "hurdles": searching.hurdles(results),
        "census": counting.census_numbers(records, EvaluationProtocol()) if records else {},
    }


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science", description="See docs/FIRST_STUDY.md.")
    parser.add_argument("--storage", default="science.db", help="database of the runs")
    parser.add_argument("--census", type=Path, default=Path("census.jsonl"), help="records of the census")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--core-minutes", type=float, default=10.0, help="compute of each run")
    parser.add_argument("--random", type=int, default=300, help="random candidates in the census")
    parser.add_argument("--evolved", type=int, default=150, help="evolved candidates in the census")
    parser.add_argument("--top", type=int, default=1, help="layers of each run to score on the test split")
    parser.add_argument("--workers", type=int)
    parser.add_argument(
        "--so-far", action="store_true", help="make numbers and pictures of recorded runs only; run nothing"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "science.json"
    store = open_storage(arguments.storage)
    if arguments.so_far:
        finished = list(recorded(store, VARIANTS, arguments.seeds, arguments.core_minutes))
    else:
        finished = list(plan(store, VARIANTS, arguments.seeds, arguments.core_minutes, arguments.workers))
        of_pareto = [result.run_id for variant, result in finished if variant.label == "pareto"]
        everyone = subjects(store, of_pareto, arguments.random, arguments.evolved)
        take(arguments.census, everyone, EvaluationProtocol(), arguments.workers or usable_cores(), console)
    runs = [(variant.label, result) for variant, result in finished]
    measured = document(runs, arguments.core_minutes, arguments.census)
    if arguments.so_far:
        before = json.loads(file.read_text()) if file.exists() else {}
        measured |= {name: before[name] for name in ("test", "published", "repeated") if name in before}
    else:
        measured["published"] = published(EvaluationProtocol())
        file.write_text(json.dumps(measured) + "\n")  # the trainings below take minutes
        measured["test"] = on_test_split(runs, arguments.top, arguments.workers)
    file.write_text(json.dumps(measured) + "\n")
    for path in pictures.draw(measured, arguments.output):
        console.print(f"drew {path}")


if __name__ == "__main__":
    main()
