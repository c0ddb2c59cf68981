"""Rows for people to read, and their summary."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from math import exp, log
from typing import Any

from benchmarks.kernels.contenders import COMPILED, NATIVE, NATIVE_NORM, WAYS
from benchmarks.kernels.shapes import MAIN, Shape

Row = Mapping[str, Any]
_BANDWIDTH_BOUND = 64e6
"""From this number of bytes of x on, the speed of a kernel is limited by the bandwidth of memory."""


def printed(row: Row) -> str:
    """A row as one line: microseconds, shares of the bandwidth of a copy, ratios to our time."""
    head = row["key"]
    if "failed" in row and isinstance(row["failed"], str):
        return f"{head}: {row['failed']}"
    match row.get("part"):
        case "correctness":
            return f"{head}: {'; '.join(row['wrong']) or 'right'}"
        case "prepare":
            return f"{head}: {row['done']} of {row['tasks']} tasks, {len(row['failed'])} failed"
        case "layers" | "compiled" | "rows":
            return f"{head}: {'; '.join(_contenders(row))}"
        case "launches":
            return f"{head}: {'; '.join(_kernel(kernel) for kernel in row['kernels'])}"
        case "networks":
            memory = f", {row['peak_bytes'] / 2**30:.1f} GiB" if "peak_bytes" in row else ""
            return f"{head}: {1e3 * row['step']:.1f} ms a step{memory}"
        case "host":
            found = (
                f"{w} {1e6 * row[w]['host_forward']:.0f}/{1e6 * row[w]['host_both']:.0f} us" for w in ("ours", NATIVE)
            )
            replay = f"replay {1e6 * row['graph']['seconds']:.1f} us, off {row['graph']['off']:.2g}"
            return f"{head}: {', '.join(found)}, {replay}"
        case "variants":
            return f"{head}: {'; '.join(_variant(found) for found in _best(row))}"
        case "machine":
            copies = ", ".join(f"{size} MiB {rate / 1e12:.2f}" for size, rate in row["copy_bandwidth"].items())
            return f"{head}: copies in TB/s: {copies}; batch norm {row['batch_norm']}"
    return str(head)


def _contenders(row: Row) -> Iterable[str]:
    for way in (*WAYS, NATIVE_NORM, *COMPILED):
        if way in row:
            found = row[way]
            yield (
                f"{way}: {found['failed']}"
                if "failed" in found
                else (
                    f"{way} {1e6 * found['forward']:.0f} us ({found['share_forward']:.0%}), "
                    f"both {1e6 * found['both']:.0f} us ({found['share_both']:.0%})"
                )
            )


def _kernel(kernel: Row) -> str:
    return f"{kernel['kernel']} {1e6 * kernel['seconds']:.0f} us ({kernel['share']:.0%})"


def _best(row: Row) -> list[Row]:
    """The tile that launches choose, and the fastest one, each with constant sizes and without."""
    best: dict[str, Row] = {}
    for found in row["found"]:
        if "seconds" in found:
            best.setdefault(found["sizes"], found)
            if found["chosen"]:
                best.setdefault(f"{found['sizes']}, chosen", found)
    return list(best.values())


def _variant(found: Row) -> str:
    tile = "x".join(str(found.get(name, "")) for name in ("R", "BLOCK", "num_warps"))
    which = f"{found['sizes']}{', chosen' * found['chosen']} [{tile}]"
    return f"{which} {1e6 * found['seconds']:.0f} us ({found['share']:.0%})"


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """The identity, the rows by part, and their summary as one object.

    Returns:
        `wrong`: the checks that found differences, by key; `failed`: the reasons why items could not be measured, by
        key; `means`: the result of `means` over the shapes of `MAIN`; `means_of_all`: the same over all measured
        shapes; and the rows of each part.
    """
    known = {row["key"]: row for row in rows}
    document: dict[str, Any] = {"identity": known.pop("identity", {})}
    parts: dict[str, list[Row]] = {}
    for row in known.values():
        parts.setdefault(row["part"], []).append(row)
    checks = parts.pop("correctness", [])
    document["checked"] = len(checks)
    document["wrong"] = {row["key"]: row["wrong"] for row in checks if row.get("wrong")}
    document["failed"] = {key: row["failed"] for key, row in known.items() if isinstance(row.get("failed"), str)}
    return document | {"means": means(parts, MAIN), "means_of_all": means(parts)} | parts


def text(document: Mapping[str, Any]) -> str:
    """A summary as JSON, with one row to a line and four digits to a figure, as timings are no more accurate."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(_rounded(row))}" for row in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(_rounded(value))}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def means(parts: Mapping[str, list[Row]], shapes: Collection[Shape] | None = None) -> list[dict[str, Any]]:
    """For each layer, type and format: geometric means over the given shapes, or over all measured shapes.

    `shares` are the shares of a copy's bandwidth that our kernels reach, counting the fewest bytes that have to be
    moved, on tensors of 64 MB and more. `faster` says how many times as long each contender takes on the same shapes.
    """
    cases: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    natives: dict[tuple[str, str, str], Row] = {}
    for row in (*parts.get("layers", []), *parts.get("compiled", [])):
        if "failed" in row or (shapes is not None and tuple(row["shape"]) not in shapes):
            continue
        case, shape = (row["layer"], row["dtype"], row["format"]), str(row["shape"])
        cases.setdefault(case, {}).setdefault(shape, {}).update(row)
        if NATIVE in row:
            natives[(shape, *case[1:])] = row
    found = []
    for (layer, dtype, form), by_shape in cases.items():
        whole = [row for row in by_shape.values() if "forward" in row.get("ours", {})]
        large = [row for row in whole if row["bytes_of_x"] >= _BANDWIDTH_BOUND]
        one: dict[str, Any] = {"layer": layer, "dtype": dtype, "format": form, "shapes": len(whole)}
        for way in ("forward", "both"):
            one[f"shares_{way}"] = _mean(row["ours"][f"share_{way}"] for row in large)
            for other in (*WAYS[1:], *COMPILED):
                beside = [
                    (natives.get((str(row["shape"]), dtype, form), row), row)
                    if other.startswith(NATIVE)
                    else (row, row)
                    for row in whole
                ]
                ratios = [a[other][way] / b["ours"][way] for a, b in beside if way in a.get(other, {})]
                if ratios:
                    one.setdefault(f"faster_{way}", {})[other] = {"mean": _mean(ratios), "least": min(ratios)}
        found.append(one)
    return found


def _mean(values: Iterable[float]) -> float | None:
    logs = [log(value) for value in values]
    return exp(sum(logs) / len(logs)) if logs else None
