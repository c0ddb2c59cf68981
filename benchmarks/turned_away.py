"""What do the filters of a search turn away that would have been good? From the database of a recorded search.

`python -m benchmarks.turned_away RUN.db --rows ROWS.jsonl -o turned_away.json` draws some of the candidates that each
filter rejected, and some that were scored, and trains them without any filter for as many steps as the search trains
its best candidates, with a seed of their own. A layer that has then less than half of BN-ReLU's accuracy on the first
network does not learn, and is trained on no other. ROWS keeps one line of JSON for each training, so that the command
continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.discovery.testing import Yardstick, as_long, by_seed
from benchmarks.markdown import markdown_table
from benchmarks.training_rows import Job, Row, complete, read
from evonas.judging.hurdles import is_hurdle
from evonas.records.environment import environment
from evonas.records.store import Store
from evonas.settings.candidate import Evaluation, OriginKind, Status
from evonas.setup.assemble import open_storage

SEED = 30_000
"""Of the trainings, and of the draw."""
DEADLINE = 1800.0
"""Seconds after which a training counts as hung."""
SCORED = "scored"
REFERENCE = "bn-relu"
LEARNS = 0.5
"""The share of the reference's accuracy on the first network from which on a layer counts as learning."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Candidates that ended in one way, and those of them that were drawn.

    Attributes:
        ended: the name of the filter that rejected them, or "scored".
        candidates: how many there were.
        layers: the expressions of those that were drawn, in random order.
    """

    ended: str
    candidates: int
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """What became of the drawn candidates that ended in one way.

    Attributes:
        ended: the name of the filter that rejected them, or "scored".
        candidates: how many candidates of the search ended so.
        drawn: how many of them were trained.
        learned: how many of these learned on the first network.
        better: how many have a higher mean accuracy over all networks than BN-ReLU.
        best: the highest mean accuracy; None if none learned.
        mean: the mean accuracy of those that learned; None if none did.
    """

    ended: str
    candidates: int
    drawn: int
    learned: int
    better: int
    best: float | None
    mean: float | None


def drawn(store: Store, run_id: int, count: int) -> list[Drawn]:
    """Return up to so many of the candidates of each ending, in the order of the filters; scored ones come last.

    Published layers, which a search starts from, are left out. The hurdles count as one filter.
    """
    ended: dict[str, list[str]] = {}
    evaluations = {one.index: one for one in store.evaluations(run_id)}
    for candidate in store.candidates(run_id):
        evaluation = evaluations.get(candidate.index)
        if evaluation is None or evaluation.status is Status.FAILED or candidate.origin.kind is OriginKind.SEED:
            continue
        name = evaluation.stopped_by or SCORED
        expression = candidate.graph.canonical.expression()
        ended.setdefault("hurdle" if is_hurdle(name) else name, []).append(expression)
    names = [name for name in _filters(evaluations.values()) if name in ended] + [SCORED] * (SCORED in ended)
    rng, found = random.Random(SEED), []
    for name in names:
        layers = rng.sample(ended[name], min(count, len(ended[name])))
        found.append(Drawn(name, len(ended[name]), tuple(layers)))
    return found


def _filters(evaluations: Iterable[Evaluation]) -> list[str]:
    """The names of the filters that candidates met, those that come early first."""
    places: dict[str, int] = {}
    for evaluation in evaluations:
        for place, outcome in enumerate(evaluation.filters):
            name = "hurdle" if is_hurdle(outcome.name) else outcome.name
            places[name] = max(places.get(name, 0), place)
    return sorted(places, key=lambda name: places[name])


def groups(some: Sequence[Drawn], rows: Sequence[Row], by: Yardstick) -> list[Group]:
    """Return what became of the layers of which there are rows."""
    trained, learning, mean = _on_first(rows, by).keys(), learners(rows, by), means(rows, by)
    found = []
    for one in some:
        known = [layer for layer in one.layers if layer in trained]
        learned = [layer for layer in known if layer in learning]
        scores = [mean[layer] for layer in learned if layer in mean]
        found.append(
            Group(
                one.ended,
                one.candidates,
                len(known),
                len(learned),
                sum(score > mean[REFERENCE] for score in scores),
                max(scores, default=None),
                fmean(scores) if scores else None,
            )
        )
    return found


def _on_first(rows: Sequence[Row], by: Yardstick) -> dict[str, float]:
    return {row.layer: row.score for row in rows if row.anchor == by.anchors[0] and row.protocol == by.task}


def learners(rows: Sequence[Row], by: Yardstick) -> set[str]:
    """Return the layers that learn on the first network; the reference must be among the rows."""
    first = _on_first(rows, by)
    return {layer for layer, score in first.items() if score >= LEARNS * first[REFERENCE]}


def means(rows: Sequence[Row], by: Yardstick) -> dict[str, float]:
    """Return the mean accuracy of each layer that was trained on all networks."""
    layers = {row.layer for row in rows if row.protocol == by.task}
    found = {layer: by_seed(rows, by.task, layer, by.anchors) for layer in layers}
    return {layer: fmean(scores.values()) for layer, scores in found.items() if scores}


def main() -> None:
    """Draw, train, and summarise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turned_away", description=__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("--run", type=int, default=1)
    parser.add_argument("--count", type=int, default=20, help="candidates of each ending")
    parser.add_argument("--rows", type=Path, default=Path("turned_away_rows.jsonl"))
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    store = open_storage(given.database, read_only=True)
    config = store.run(given.run).config
    by, some = as_long(config), drawn(store, given.run, given.count)
    by = replace(by, protocol=replace(by.protocol, seed=SEED))
    layers = [REFERENCE, *dict.fromkeys(layer for one in some for layer in one.layers)]
    complete(_jobs(layers, by, by.anchors[:1]), given.rows, given.workers, DEADLINE)
    learning = learners(read(given.rows), by)
    learned = [layer for layer in layers if layer in learning]
    complete(_jobs(learned, by, by.anchors[1:]), given.rows, given.workers, DEADLINE)
    document = summary(some, read(given.rows), by)
    print(json.dumps(document, indent=1))
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n")


def summary(some: Sequence[Drawn], rows: Sequence[Row], by: Yardstick) -> Mapping[str, Any]:
    """Return the result as JSON."""
    return {
        "environment": dict(environment()),
        "steps": by.protocol.steps,
        "anchors": list(by.anchors),
        "reference": means(rows, by)[REFERENCE],
        "groups": [asdict(group) for group in groups(some, rows, by)],
    }


def table(document: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of docs/SCIENCE.md, from the JSON of the study."""
    rows = []
    for one in document["groups"]:
        scores = ["" if one[name] is None else f"{one[name]:.3f}" for name in ("mean", "best")]
        counts = [f"{one[name]:,}" for name in ("candidates", "drawn", "learned", "better")]
        rows.append([one["ended"], *counts, *scores])
    header = ["ended at", "candidates", "trained", "learn", "better than BN-ReLU", "mean of learners", "best"]
    return markdown_table(header, rows)


def _jobs(layers: Sequence[str], by: Yardstick, anchors: Sequence[str]) -> list[Job]:
    protocol = replace(by.protocol, anchors=tuple(anchors))
    return [Job(layer, by.task, protocol, "validation") for layer in layers]


if __name__ == "__main__":
    main()
