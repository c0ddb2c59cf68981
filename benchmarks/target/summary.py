"""The result of the target as JSON: what every layer comes to, and how far that can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.proxies.agreement import rank_correlation
from benchmarks.training_rows import Row
from evonas.records.environment import environment


def summary(
    layers: Sequence[Mapping[str, str]], rows: Sequence[Row], anchors: Sequence[str], unseen: str
) -> dict[str, Any]:
    """Summarise the trainings of the layers that have been trained on every network.

    Args:
        layers: the layers with their origins.
        rows: trainings; all networks of a layer count with the seeds that all of them have.
        anchors: the networks whose mean is the target.
        unseen: another network, which the mean leaves out.

    Returns:
        `layers`: with `accuracy` (the mean over `anchors`), the mean on each network, the number of seeds, and how many
        trainings diverged, best first. `between_seeds`: the rank correlation of the accuracies with the first seed and
        with the second, over all layers with both and over the better half of them: no proxy can be expected to agree
        with one training of the target by more. `between_networks`: that of each network with the mean over the others.
    """
    of: dict[str, dict[str, dict[int, Row]]] = {}
    for row in rows:
        of.setdefault(row.layer, {}).setdefault(row.anchor, {})[row.seed] = row
    networks = (*anchors, unseen)
    found: list[dict[str, Any]] = []
    by_seed: dict[str, list[float]] = {}
    for layer in layers:
        on = of.get(layer["layer"], {})
        seeds = sorted(set.intersection(*(set(on.get(name, {})) for name in networks)))
        if not seeds:
            continue
        means = {name: fmean(on[name][seed].score for seed in seeds) for name in networks}
        by_seed[layer["layer"]] = [fmean(on[name][seed].score for name in anchors) for seed in seeds]
        found.append(
            {
                **layer,
                "accuracy": fmean(means[name] for name in anchors),
                "networks": means,
                "seeds": len(seeds),
                "diverged": sum(on[name][seed].diverged for name in networks for seed in seeds),
                "core_seconds": sum(on[name][seed].seconds for name in networks for seed in seeds),
            }
        )
    found.sort(key=lambda one: -one["accuracy"])
    twice = [by_seed[one["layer"]] for one in found if len(by_seed[one["layer"]]) > 1]
    first, second = ([scores[place] for scores in twice] for place in (0, 1))
    half = len(twice) // 2
    return {
        "environment": dict(environment()),
        "anchors": list(anchors),
        "unseen": unseen,
        "layers": found,
        "between_seeds": {"layers": len(twice)}
        | (
            {"all": rank_correlation(first, second), "better half": rank_correlation(first[:half], second[:half])}
            if len(twice) > 3
            else {}
        ),
        "between_networks": {
            name: rank_correlation(
                [one["networks"][name] for one in found],
                [fmean(one["networks"][other] for other in anchors if other != name) for one in found],
            )
            for name in networks
        },
    }


def table(document: Mapping[str, Any]) -> str:
    """Return the layers for a terminal, best first."""
    lines = []
    for one in document["layers"]:
        scores = "  ".join(f"{one['networks'][name]:.3f}" for name in (*document["anchors"], document["unseen"]))
        lines.append(f"{one['accuracy']:.4f}  {scores}  {one['seeds']} seeds  {one['origin']:33}  {one['layer']}")
    lines.append(f"rank correlation between seeds: {document['between_seeds']}")
    lines.append(f"of each network with the others: {document['between_networks']}")
    return "\n".join(lines)
