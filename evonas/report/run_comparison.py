"""Compares runs: the settings that differ, and what each run had found at equal compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from evonas.records.run_info import RunStatus
from evonas.records.store import Store
from evonas.report.progress import at_compute, progress
from evonas.settings.candidate import Status
from evonas.settings.run_config import RunConfig


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the runs that are compared.

    Attributes:
        run: the run's number.
        status: the run's status.
        settings: the settings that are not the same in all runs, by name; None if this run has no such setting.
        candidates, scored: the number of candidates that were judged, and that were scored.
        best: the highest score on each anchor of the run.
        mean: the highest mean score; None without a scored layer.
        hypervolume: the hypervolume, over the anchors that all runs share, when the run's workers had spent `compute`,
            or, for runs with the same settings, when `after` candidates were judged.
        mean_then: the highest mean over those anchors at that time.
        compute: the compute at which runs are compared, which is that of the run that spent the least, in
            core-seconds.
        after: the number of candidates at which runs are compared if all have the same settings, and so judge the same
            candidates and differ in speed alone: that of the run with the fewest. None for other runs.
        core_seconds: the core-seconds that the run's workers spent in all.
        elapsed: the wall time of the run's coordinators, in seconds.
    """

    run: int
    status: RunStatus
    settings: Mapping[str, Any]
    candidates: int
    scored: int
    best: Mapping[str, float]
    mean: float | None
    hypervolume: float | None
    mean_then: float | None
    compute: float
    after: int | None
    core_seconds: float
    elapsed: float

    @property
    def per_core_minute(self) -> float | None:
        """Candidates judged per core-minute; None before workers have spent any time."""
        return 60 * self.candidates / self.core_seconds if self.core_seconds else None

    @property
    def per_second(self) -> float | None:
        """Candidates judged per second of wall time; None before any time has elapsed."""
        return self.candidates / self.elapsed if self.elapsed else None

    def as_dict(self) -> dict[str, Any]:
        """The run as a dictionary for JSON."""
        known = dataclasses.asdict(self) | {"status": self.status.value}
        return known | {"per_core_minute": self.per_core_minute, "per_second": self.per_second}


def compare_runs(store: Store, run_ids: Sequence[int]) -> list[ComparedRun]:
    """Compares runs of a store.

    Compute is counted candidate by candidate in the order of drawing, so that each run is judged as if it had stopped
    at that point. Runs with the same settings are compared after as many candidates instead. Runs without a common
    anchor have no hypervolume to compare.

    Args:
        store: the store that holds the runs.
        run_ids: the numbers of the runs, at least one.

    Returns:
        The runs in the order given.

    Raises:
        UsageError: if the store has no such run.
    """
    runs = [store.run(run_id) for run_id in run_ids]
    evaluations = [list(store.evaluations(run_id)) for run_id in run_ids]
    own = runs[0].config.protocol.anchors
    shared = [anchor for anchor in own if all(anchor in run.config.protocol.anchors for run in runs)]
    compute = min(sum(e.core_seconds for e in mine) for mine in evaluations)
    differing = differences([run.config for run in runs])
    after = None if differing[0] else min(map(len, evaluations))
    rows = []
    for run, mine, settings in zip(runs, evaluations, differing, strict=True):
        scored = [e for e in mine if e.status is Status.SCORED]
        anchors = run.config.protocol.anchors
        found = progress(mine[:after], shared) if shared else []
        then = at_compute(found, compute if after is None else inf) if found else None
        rows.append(
            ComparedRun(
                run.id,
                run.status,
                settings,
                len(mine),
                len(scored),
                {a: max(e.scores[a] for e in scored) for a in anchors} if scored else {},
                max((e.mean for e in scored), default=None),
                then.hypervolume if then else None,
                then.best if then and then.best else None,
                compute,
                after,
                sum(e.core_seconds for e in mine),
                run.elapsed,
            )
        )
    return rows


def differences(configs: Sequence[RunConfig]) -> list[dict[str, Any]]:
    """For each configuration, the settings that are not the same in all of them, by dotted name."""
    flat = [_flat(dataclasses.asdict(config)) for config in configs]
    names = dict.fromkeys(name for one in flat for name in one)
    # The protocol's seed follows from the run's.
    unlike = [n for n in names if n != "protocol.seed" and any(one.get(n) != flat[0].get(n) for one in flat)]
    return [{name: one.get(name) for name in unlike} for one in flat]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = list(value) if isinstance(value, tuple) else value
    return found
