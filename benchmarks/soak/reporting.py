"""The report of a soak test: numbers, log and picture."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.soak.checking import Checked, check
from benchmarks.soak.running import RUN
from evonas.db import open_store
from evonas.records.environment import environment

MIB = 2**20
ROLES = ("coordinator", "worker", "raylet", "other")


def report(folder: Path, results: Path, sample: int) -> bool:
    """Write soak.json, soak.log and soak.svg to `results`, and return whether the run is correct."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    with open_store(str(folder / "soak.db")) as store:
        run, checked = store.run(RUN), check(store, RUN, sample)
    counts = [tuple(one["recorded"]) for one in samples if one["recorded"]]
    fell = [later for earlier, later in pairwise(counts) if any(map(int.__lt__, later, earlier))]
    unexpected = [event for event in events if "NOT REFUSED" in event["told"]]
    document = {
        "environment": environment(),
        "run": {**run.environment, "created": run.created.isoformat(), "seed": run.config.seed},
        "minutes": round(events[-1]["at"] / 60, 1),
        "faults": dict(Counter(e["kind"] for e in events if e["kind"] not in ("soak", "started", "ended"))),
        "coordinators": sum(event["kind"] == "started" for event in events),
        "exit codes": dict(Counter(e["told"].rpartition(" ")[2] for e in events if e["kind"] == "ended")),
        "check": {**asdict(checked), "failed": {str(k): v for k, v in checked.failed.items()}},
        "whole": checked.whole and not fell and not unexpected,
        "counts that fell": fell,
        "second coordinators that were not refused": len(unexpected),
        "memory in MiB": _memory(samples),
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / "soak.json").write_text(json.dumps(document, indent=2) + "\n")
    (results / "soak.log").write_text("".join(_line(event, folder) for event in events))
    _draw(samples, events, checked, results / "soak.svg")
    print(json.dumps({k: v for k, v in document.items() if k not in ("environment", "run")}, indent=2))
    return bool(document["whole"])


def _line(event: dict[str, Any], folder: Path) -> str:
    text = event["told"].replace(str(folder), "OUT")
    return f"{event['at']:8.1f} s  {event['kind']:22s} {text}\n"


def _memory(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median resident memory per process in the second and the last sixth of the run, and the maximum.

    The medians only include processes older than a minute, because memory grows while a process starts.
    """
    end = samples[-1]["at"]
    born: dict[int, float] = {}
    early: dict[str, list[int]] = defaultdict(list)
    late: dict[str, list[int]] = defaultdict(list)
    most: dict[str, int] = defaultdict(int)
    for sample in samples:
        for role, pid, resident in sample["memory"]:
            most[role] = max(most[role], resident)
            if sample["at"] - born.setdefault(pid, sample["at"]) < 60:
                continue
            if end / 6 <= sample["at"] < end / 3:
                early[role].append(resident)
            elif sample["at"] >= 5 * end / 6:
                late[role].append(resident)
    return {
        role: {
            "second sixth": round(median(early[role]) / MIB, 1) if early[role] else None,
            "last sixth": round(median(late[role]) / MIB, 1) if late[role] else None,
            "most": round(most[role] / MIB, 1),
        }
        for role in ROLES
    }


def _draw(samples: list[dict[str, Any]], events: list[dict[str, Any]], checked: Checked, path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "evonas"  # the same picture from the same samples
    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for role, colour in (("worker", "tab:blue"), ("coordinator", "tab:red"), ("raylet", "tab:gray")):
        seen = [(s["at"] / 60, size / MIB) for s in samples for kind, _, size in s["memory"] if kind == role]
        if seen:
            upper.plot(*zip(*seen, strict=True), ".", markersize=3, color=colour, label=role)
    for event in events:
        if event["kind"] not in ("soak", "started", "ended"):
            for axes in (upper, lower):
                axes.axvline(event["at"] / 60, color="black", alpha=0.12, linewidth=1)
    upper.set_ylabel("resident memory of a process / MiB")
    upper.set_ylim(bottom=0)
    upper.legend(loc="lower right")
    upper.set_title(
        f"{checked.candidates:,} candidates, {checked.retries} retries; each vertical line is a fault", fontsize=10
    )
    counted = [(s["at"] / 60, s["recorded"][1]) for s in samples if s["recorded"]]
    if counted:
        lower.plot(*zip(*counted, strict=True), color="tab:green")
    lower.set_ylabel("candidates judged")
    lower.set_xlabel("minutes")
    figure.savefig(path, metadata={"Date": None})
