"""The result of the study as JSON and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.discovery.testing import Yardstick, by_seed, comparisons, found_before, winner_of
from benchmarks.training_rows import Row
from evonas.front.result import Result
from evonas.judging.hypervolume import Hypervolume
from evonas.records.evidence import best_known, ladder_of
from evonas.report.funnel import funnel


def summary(
    results: Mapping[str, Mapping[int, Result]], rows: Sequence[Row], by: Sequence[Yardstick]
) -> dict[str, Any]:
    """Summarise searches by variant and seed, and the trainings of their winners by some yardsticks."""
    first = next(iter(next(iter(results.values())).values())).run
    return {
        "environment": dict(first.environment),
        "yardsticks": {
            one.name: {
                "anchors": list(one.anchors),
                "unseen": one.unseen,
                "steps": one.protocol.steps,
                "seeds": one.seeds,
                "layers": {layer: layer_summary(rows, layer, one) for layer in _layers(rows, one)},
            }
            for one in by
        },
        "searches": [
            {"variant": label, "seed": seed, **_search(result, rows, by)}
            for label, of_label in results.items()
            for seed, result in of_label.items()
        ],
    }


def _layers(rows: Sequence[Row], by: Yardstick) -> list[str]:
    return list(dict.fromkeys(row.layer for row in rows if row.protocol == by.task))


def _search(result: Result, rows: Sequence[Row], by: Sequence[Yardstick]) -> dict[str, Any]:
    run, totals, winner = result.run, result.summary, winner_of(result)
    verdict = result.verdict
    return {
        "budget": run.config.budget,
        "judged": totals.evaluations,
        "scored": sum(count for status, count in totals.statuses.items() if status.value == "scored"),
        "minutes": run.elapsed / 60,
        "core_minutes": totals.core_seconds / 60,
        "verification_core_minutes": sum(one.seconds for one in result.store.retrainings(run.id)) / 60,
        "rejections": [
            {
                "filter": one.name,
                "cheap": one.cheap,
                "judged": one.judged,
                "rejected": one.rejected,
                "seconds": one.seconds,
            }
            for one in funnel(totals)
        ],
        "hypervolume": _hypervolume(result),
        "best_new": _best_new(result),
        **diversity(result),
        "verdict": None if verdict is None else str(verdict),
        "winner": winner,
        "tests": {} if winner is None else {one.name: _test(rows, winner, one) for one in by},
    }


def _test(rows: Sequence[Row], winner: str, by: Yardstick) -> dict[str, Any]:
    unseen = comparisons(rows, by.task, winner, [by.unseen]) if by.unseen else []
    before = {name: layer for name, layer in found_before(rows, by.task).items() if layer != winner}
    found = comparisons(rows, by.task, winner, by.anchors, list(before.values()))
    named = [{**one, "published": name} for name, one in zip(before, found, strict=True)]
    return {"test": comparisons(rows, by.task, winner, by.anchors), "unseen": unseen, "found": named}


def _hypervolume(result: Result) -> float:
    anchors = result.run.config.protocol.anchors
    found = Hypervolume(len(anchors))
    for scores in result.store.objectives(result.run_id, anchors)[1].tolist():
        found.add(scores)
    return found.value


def _best_new(result: Result) -> dict[str, Any] | None:
    """Return the best layer by the longest training of the search of those without a name, and how many there are."""
    longest = max((1, *result.run.config.rungs)) * result.run.config.protocol.steps
    new = [row for row in result.best(10_000) if row.name is None]
    trained = [row for row in new if longest in row.longer]
    if not trained:
        return None
    best = max(trained, key=lambda row: row.longer[longest])
    score = {"layer": best.expression, "steps": longest, "score": best.longer[longest]}
    return {**score, "trained": len(trained), "scored": len(new)}


def diversity(result: Result) -> dict[str, Any]:
    """Count families among the ten best layers of a search, and roots among the fifty best."""
    best, ladder = best_known(result.store, result.run, 50), ladder_of(result.store, result.run)
    rows = result.best(10)
    return {
        "families_of_ten": len({row.family for row in rows}),
        "roots_of_fifty": len({ladder.root(known[0].index) for known in best}),
        "families": dict(Counter(row.family for row in result.best(50))),
        "best": [row.expression for row in rows],
    }


def layer_summary(rows: Sequence[Row], layer: str, by: Yardstick) -> dict[str, Any]:
    """Summarise the trainings of a layer by a yardstick: its accuracies over seeds, and by network."""
    on = {name: by_seed(rows, by.task, layer, [name]) for name in by.protocol.anchors}
    overall = by_seed(rows, by.task, layer, by.anchors)
    return {
        "mean": fmean(overall.values()) if overall else None,
        "deviation": stdev(overall.values()) if len(overall) > 1 else None,
        "seeds": len(overall),
        "anchors": {name: fmean(scores.values()) for name, scores in on.items() if scores},
        "diverged": sum(row.diverged for row in rows if row.layer == layer and row.protocol == by.task),
    }


def table(document: Mapping[str, Any]) -> str:
    """Return the result for a terminal: by each yardstick all layers, and for each search its winner's lead."""
    lines = []
    for name, by in document["yardsticks"].items():
        lines.append(f"{name}: {by['steps']} steps, {', '.join(by['anchors'])}; unseen {by['unseen']}")
        for layer, of in sorted(by["layers"].items(), key=lambda item: -(item[1]["mean"] or 0.0)):
            scores = "  ".join(f"{score:.4f}" for score in of["anchors"].values())
            mean = "   none" if of["mean"] is None else f"{of['mean']:.4f}"
            lines.append(f"{mean}  {scores}  {of['seeds']:2} seeds  {layer}")
        lines.append("")
    for search in document["searches"]:
        lines.append(
            f"{search['variant']}, seed {search['seed']}: {search['judged']} judged, {search['scored']} scored, "
            f"{search['core_minutes']:.1f} core-minutes, hypervolume {search['hypervolume']:.4f}, "
            f"{search['families_of_ten']} families of ten, {search['roots_of_fifty']} roots of fifty"
        )
        lines.append(f"  winner {search['winner']}")
        for name, test in search["tests"].items():
            for where, compared in test.items():
                there = [one for one in compared if one["difference"] is not None]
                lines.append(f"  {name}, {where}: {'  '.join(map(_difference, there))}")
        lines.append("")
    return "\n".join(lines)


def _difference(one: Mapping[str, Any]) -> str:
    p = "" if one["p"] is None else f" (p {one['p']:.4f})"
    return f"{one['published']} {one['difference']:+.4f}{p}"
