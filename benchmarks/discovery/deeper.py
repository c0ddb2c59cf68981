"""What small networks say of a deeper one: the best candidates of searches, trained again in a medium ResNet.

    python -m benchmarks.discovery.deeper FOLDER --data-dir ARCHIVE -o deeper.json

FOLDER has the databases of searches on CIFAR-10 with small networks alone (`benchmarks.discovery --variant
pictures-small`). The best of each by all their trainings in the search, and published layers, are trained once on the
target's ResNet: 1,000 steps on crops of 24×24; and once on the same ResNet as a search can afford it: 400 steps on
16×16 pixels, with the search's own rate. Rank correlations tell which of the two a search should choose by.
FOLDER/deeper_rows.jsonl keeps the trainings, and the command continues them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from benchmarks.discovery.searching import path_of
from benchmarks.markdown import markdown_table
from benchmarks.target.__main__ import target_protocol
from benchmarks.training_rows import Job, Row, complete, read
from evonas.front.result import Result
from evonas.records.evidence import best_known, ladder_of
from evonas.setup.assemble import configure, open_storage

PUBLISHED = ("bn-relu", "bn-swish", "evonorm-b0", "evonas-1")
NETWORK = "resnet-medium"
TARGET, AFFORDED = "target", "16 pixels, 400 steps"
SEEDS = {TARGET: 9001, AFFORDED: 9100}
"""Seeds that no search and no other study uses."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the best candidates of a search.

    Attributes:
        layer: its expression.
        promised: the accuracy on the last rung that its trainings in the search promise, on small networks, less its
            standard deviation, by which a search compares candidates.
    """

    layer: str
    promised: float


def best_of(result: Result, count: int) -> list[Candidate]:
    """Return the best candidates of a search by what its own trainings promise, best first."""
    store, run = result.store, result.run
    ladder = ladder_of(store, run)
    return [
        Candidate(candidate.graph.canonical.expression(), ladder.outlook(candidate.index).cautious)
        for candidate, *_ in best_known(store, run, count)
    ]


def deeper_jobs(layers: Sequence[str], data_dir: str) -> list[Job]:
    """Return the trainings of layers in the medium ResNet, as the target has them and as a search can afford them."""
    target = replace(target_protocol("image-folder", data_dir, SEEDS[TARGET]), anchors=(NETWORK,))
    search = configure(preset="pictures", protocol={"data_dir": data_dir}).protocol
    afforded = replace(
        search,
        anchors=(NETWORK,),
        seed=SEEDS[AFFORDED],
        steps=4 * search.steps,
        hurdle_steps=(),
        hurdle_ends=None,
        objectives=("anchors",),
    )
    named = ((TARGET, target), (AFFORDED, afforded))
    return [Job(layer, name, protocol, "validation") for name, protocol in named for layer in layers]


def summary(searches: Mapping[str, Sequence[Candidate]], rows: Sequence[Row]) -> dict[str, Any]:
    """Summarise: for each search, how well both evidences order its candidates as the target does.

    Returns:
        `layers`: the accuracies of each layer, by protocol; `searches`: of each search the candidates that were
        trained, the rank correlations of `small` (what its own trainings promise) and `medium` (the ResNet as a search
        can afford it) with the target, and the candidate that each evidence puts first, with its place by the target.
    """
    scores: dict[str, dict[str, float]] = {}
    for row in rows:
        scores.setdefault(row.layer, {})[row.protocol] = row.score
    whole = {layer: of for layer, of in scores.items() if len(of) == len(SEEDS)}
    found = {}
    for name, candidates in searches.items():
        known = [one for one in candidates if one.layer in whole]
        target = {one.layer: whole[one.layer][TARGET] for one in known}
        evidence = {
            "small": {one.layer: one.promised for one in known},
            "medium": {one.layer: whole[one.layer][AFFORDED] for one in known},
        }
        places = {layer: place for place, layer in enumerate(sorted(target, key=lambda one: -target[one]), 1)}
        found[name] = {"candidates": len(known)} | {
            kind: {
                "correlation": float(spearmanr([of[layer] for layer in target], list(target.values())).statistic),
                "chosen": (chosen := max(of, key=lambda layer: of[layer])),
                "score": target[chosen],
                "place": places[chosen],
            }
            for kind, of in evidence.items()
        }
    return {"layers": whole, "searches": found}


def table(document: Mapping[str, Any]) -> list[str]:
    """Return the correlations, and the accuracy on the target of what each evidence puts first."""
    swish = document["layers"]["bn-swish"][TARGET]
    lines = []
    for name, of in document["searches"].items():
        cells = [name, str(of["candidates"])]
        for kind in ("small", "medium"):
            cells += [f"{of[kind]['correlation']:.2f}", f"{of[kind]['score']:.3f} (place {of[kind]['place']})"]
        lines.append((*cells, f"{swish:.3f}"))
    heads = ("small networks", "its first", "medium ResNet, 16 pixels", "its first")
    return markdown_table(["search", "candidates", *heads, "BN-Swish"], lines)


def main() -> None:
    """Train what is missing, and print and write the summary."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discovery.deeper", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", required=True, help="CIFAR-10 as a folder of images or an archive of one")
    parser.add_argument("--seed", type=int, nargs="*", default=[0, 1, 2], help="seeds of the searches")
    parser.add_argument("--top", type=int, default=24, help="candidates of each search")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    searches = {}
    for seed in given.seed:
        with open_storage(path_of(given.folder, "pictures-small", seed), create=False) as store:
            searches[f"seed {seed}"] = best_of(Result(store, 1), given.top)
    layers = dict.fromkeys([*PUBLISHED, *(one.layer for some in searches.values() for one in some)])
    rows = given.folder / "deeper_rows.jsonl"
    complete(deeper_jobs(list(layers), given.data_dir), rows, given.workers, deadline=3600.0)
    document = summary(searches, read(rows))
    print("\n".join(table(document)))
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
