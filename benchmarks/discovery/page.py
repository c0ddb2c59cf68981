"""The tables of docs/SCIENCE.md about whole searches, generated from the JSON of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.discovery.testing import PUBLISHED
from benchmarks.markdown import markdown_table

Document = Mapping[str, Any]


def tables(document: Document) -> dict[str, list[str]]:
    """Return the lines of each table, by a short name.

    Args:
        document: the JSON written by `python -m benchmarks.discovery`.
    """
    default = [one for one in document["searches"] if one["variant"] == "default"]
    found = {"searches": searches(document["searches"]), "winners": winners(document["searches"])}
    found |= {"rejections": rejections(default)} if default else {}
    for name, by in document["yardsticks"].items():
        found[f"layers, {name}"] = layers(by)
        for where in ("test", "unseen"):
            if lines := leads(document["searches"], name, where):
                found[f"{where}, {name}"] = lines
        names = list(dict.fromkeys(each["published"] for one in default for each in _compared(one, name, "found")))
        if names and (lines := leads(default, name, "found", names)):
            found[f"found, {name}"] = lines
    return found


def searches(some: Sequence[Document]) -> list[str]:
    """Format what each search cost and what variety it ended with."""
    rows = [
        [
            _name(one),
            f"{one['judged']:,}",
            str(one["scored"]),
            f"{one['core_minutes']:.0f} + {one['verification_core_minutes']:.0f}",
            f"{one['hypervolume']:.4f}",
            str(one["families_of_ten"]),
            str(one["roots_of_fifty"]),
        ]
        for one in some
    ]
    header = ["search", "judged", "scored", "core-minutes", "hypervolume", "families of ten", "roots of fifty"]
    return markdown_table(header, rows)


def winners(some: Sequence[Document]) -> list[str]:
    """Format the layer that each search ended with."""
    return markdown_table(["search", "layer"], [[_name(one), f"`{one['winner']}`"] for one in some if one["winner"]])


def rejections(some: Sequence[Document]) -> list[str]:
    """Format what each filter of some searches with the same filters rejected, added up."""
    rows = []
    for place, one in enumerate(some[0]["rejections"]):
        every = [search["rejections"][place] for search in some]
        judged, rejected, seconds = (sum(each[key] for each in every) for key in ("judged", "rejected", "seconds"))
        rows.append([one["filter"], f"{judged:,}", f"{rejected / max(1, judged):.0%}", f"{seconds:,.0f}"])
    return markdown_table(["filter", "judged", "rejected", "core-seconds"], rows)


def layers(by: Document) -> list[str]:
    """Format the accuracies of all layers by a yardstick, the best first."""
    rows = [
        [
            f"`{layer}`",
            f"{of['mean']:.3f} ± {of['deviation']:.3f}" if of["deviation"] is not None else f"{of['mean']:.3f}",
            *(f"{score:.3f}" for score in of["anchors"].values()),
        ]
        for layer, of in sorted(by["layers"].items(), key=lambda item: -(item[1]["mean"] or 0.0))
        if of["mean"] is not None
    ]
    anchors = [*by["anchors"], *([by["unseen"]] if by["unseen"] else ())]
    return markdown_table(["layer", "mean", *anchors], rows)


def leads(some: Sequence[Document], yardstick: str, where: str, names: Sequence[str] = PUBLISHED) -> list[str]:
    """Format the lead of each winner over layers with names in points, with intervals; no lines if there are none.

    Args:
        some: the searches.
        yardstick: the name of what the winners are compared by.
        where: "test", the mean over the networks that count; "unseen", the network that no search saw; or "found", the
            former, over layers that earlier searches found.
        names: of the layers.
    """
    rows = []
    for one in some:
        compared = {each["published"]: each for each in _compared(one, yardstick, where)}
        if any(each["pairs"] for each in compared.values()):
            rows.append([_name(one), *(_lead(compared[name]) if name in compared else "" for name in names)])
    return markdown_table(["search", *names], rows) if rows else []


def _compared(search: Document, yardstick: str, where: str) -> Sequence[Document]:
    found: Sequence[Document] = search["tests"].get(yardstick, {}).get(where, [])
    return found


def _name(search: Document) -> str:
    return f"{search['variant']}, seed {search['seed']}"


def _lead(compared: Document) -> str:
    """Format a lead; it is bold if it holds with p < 0.01, and in italics if it is a loss that does."""
    if compared["interval"] is None:
        return ""
    low, high = compared["interval"]
    text = f"{100 * compared['difference']:+.1f} ± {50 * (high - low):.1f}"
    if compared["p"] is None or compared["p"] >= 0.01:
        return text
    return f"**{text}**" if compared["difference"] > 0 else f"*{text}*"
