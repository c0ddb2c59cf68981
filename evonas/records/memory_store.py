"""A store in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isnan
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from evonas.records.coordinator import Coordinator, held_by_another, taken_over
from evonas.records.retraining import RERUNS, Retraining
from evonas.records.run_info import RunInfo, RunStatus, RunSummary
from evonas.records.running_totals import RunningTotals
from evonas.records.store import Store, no_such_candidate, no_such_run, sorted_retrainings
from evonas.settings.candidate import Candidate, CandidateKeys, Ending, Evaluation, Status
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.objectives import fitness
from evonas.settings.run_config import RunConfig

if TYPE_CHECKING:
    from evonas.settings.objectives import Fitness

T = TypeVar("T")


class MemoryStore(Store):
    """A store that lives as long as the process, for tests and for searches that need no lasting record."""

    def __init__(self) -> None:
        self._runs: dict[int, RunInfo] = {}
        self._candidates: dict[int, dict[int, Candidate]] = {}
        self._evaluations: dict[int, dict[int, Evaluation]] = {}
        self._retrainings: dict[int, dict[object, Retraining]] = {}
        self._touched: dict[int, datetime] = {}
        self._coordinators: dict[int, tuple[Coordinator, float]] = {}  # with the time of the last renewal
        self._claimed: dict[int, Coordinator] = {}  # through this store, even if taken over since

    @override
    def create_run(self, config: RunConfig, environment: Mapping[str, str]) -> RunInfo:
        info = RunInfo(len(self._runs) + 1, config, RunStatus.RUNNING, datetime.now(UTC), dict(environment))
        self._runs[info.id] = info
        self._touched[info.id] = info.created
        self._candidates[info.id], self._evaluations[info.id], self._retrainings[info.id] = {}, {}, {}
        return info

    @override
    def run_ids(self) -> Sequence[int]:
        return list(self._runs)

    @override
    def run(self, run_id: int) -> RunInfo:
        if run_id not in self._runs:
            raise no_such_run(run_id, list(self._runs))
        return self._runs[run_id]

    @override
    def claim(self, run_id: int, coordinator: Coordinator) -> None:
        self.run(run_id)
        other, heard = self._coordinators.get(run_id, (coordinator, 0.0))
        silent = monotonic() - heard
        if other.token != coordinator.token and not other.gone(silent):
            raise held_by_another(run_id, other, silent)
        self._coordinators[run_id] = coordinator, monotonic()
        self._claimed[run_id] = coordinator

    @override
    def renew(self, run_id: int, coordinator: Coordinator) -> None:
        other = self.coordinator(run_id)
        if other is None or other.token != coordinator.token:
            raise taken_over(run_id, other)
        self._coordinators[run_id] = coordinator, monotonic()

    @override
    def release(self, run_id: int, coordinator: Coordinator) -> None:
        other = self.coordinator(run_id)
        if other is not None and other.token == coordinator.token:
            del self._coordinators[run_id]
        self._claimed.pop(run_id, None)

    @override
    def coordinator(self, run_id: int) -> Coordinator | None:
        self.run(run_id)
        return self._coordinators[run_id][0] if run_id in self._coordinators else None

    @override
    def record(
        self,
        run_id: int,
        *,
        candidates: Sequence[Candidate] = (),
        evaluations: Sequence[Evaluation] = (),
        status: RunStatus | None = None,
        elapsed: float | None = None,
        times: Mapping[str, float] | None = None,
    ) -> None:
        info = self.run(run_id)
        if run_id in self._claimed:
            self.renew(run_id, self._claimed[run_id])
        drawn, recorded = {candidate.index for candidate in candidates}, self._candidates[run_id]
        for evaluation in evaluations:  # before anything is recorded, so that a call is recorded whole or not at all
            if evaluation.index not in drawn and evaluation.index not in recorded:
                raise no_such_candidate(run_id, evaluation.index, len(self._candidates[run_id]))
        for candidate in candidates:
            self._candidates[run_id].setdefault(candidate.index, candidate)
        for evaluation in evaluations:
            self._evaluations[run_id].setdefault(evaluation.index, evaluation)
        self._touched[run_id] = datetime.now(UTC)
        self._runs[run_id] = replace(
            info,
            status=info.status if status is None else status,
            elapsed=info.elapsed if elapsed is None else elapsed,
            times=info.times if times is None else dict(times),
        )

    @override
    def record_reference(self, run_id: int, layer: str, scores: Mapping[str, float]) -> None:
        info = self.run(run_id)
        self._touched[run_id] = datetime.now(UTC)
        self._runs[run_id] = replace(info, references={**info.references, layer: dict(scores)})

    @override
    def record_checkpoint_values(self, run_id: int, layer: str, values: Sequence[CheckpointValue]) -> None:
        info = self.run(run_id)
        self._touched[run_id] = datetime.now(UTC)
        by_name = sorted({**info.checkpoints, layer: tuple(values)}.items())
        self._runs[run_id] = replace(info, checkpoints=dict(by_name))

    @override
    def record_retraining(self, run_id: int, retraining: Retraining) -> None:
        self.run(run_id)
        if isinstance(retraining.layer, int):
            self.candidate(run_id, retraining.layer)
        kept = self._retrainings[run_id]
        if retraining.key not in kept or kept[retraining.key].failed:
            kept[retraining.key] = retraining
        self._touched[run_id] = datetime.now(UTC)

    @override
    def retrainings(self, run_id: int) -> Sequence[Retraining]:
        self.run(run_id)
        return sorted_retrainings(one for one in self._retrainings[run_id].values() if one.stage in RERUNS)

    @override
    def rung_trainings(self, run_id: int) -> Sequence[Retraining]:
        self.run(run_id)
        return sorted_retrainings(one for one in self._retrainings[run_id].values() if one.stage not in RERUNS)

    @override
    def candidates(self, run_id: int, since: int = 0) -> Iterator[Candidate]:
        self.run(run_id)
        kept = self._candidates[run_id]
        return (kept[index] for index in sorted(kept) if index >= since)

    @override
    def candidate_keys(self, run_id: int) -> Iterator[CandidateKeys]:
        return (CandidateKeys(c.key, c.functional_key, c.start) for c in self.candidates(run_id))

    @override
    def endings(self, run_id: int, before: int) -> Iterator[Ending]:
        ended = (evaluation for evaluation in self.evaluations(run_id) if evaluation.index < before)
        kept = self._candidates[run_id]
        return (Ending(e.index, kept[e.index].start, e.status, e.stopped_by, e.quality) for e in ended)

    @override
    def unevaluated(self, run_id: int) -> Sequence[int]:
        self.run(run_id)
        return sorted(self._candidates[run_id].keys() - self._evaluations[run_id].keys())

    @override
    def newest_scored(self, run_id: int, before: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        scored = [e for e in self.evaluations(run_id) if e.index < before and e.status is Status.SCORED]
        return [(self._candidates[run_id][e.index], e) for e in _last(scored, limit)]

    @override
    def filter_values(self, run_id: int, name: str, before: int, limit: int) -> Sequence[float]:
        outcomes = [o for e in self.evaluations(run_id) if e.index < before for o in e.filters if o.name == name]
        return _last([o.value for o in outcomes if o.value is not None and not isnan(o.value)], limit)

    @override
    def candidate(self, run_id: int, index: int) -> Candidate:
        self.run(run_id)
        kept = self._candidates[run_id]
        if index not in kept:
            raise no_such_candidate(run_id, index, len(kept))
        return kept[index]

    @override
    def evaluations(self, run_id: int, since: int = 0) -> Iterator[Evaluation]:
        self.run(run_id)
        kept = self._evaluations[run_id]
        return (kept[index] for index in sorted(kept) if index >= since)

    @override
    def evaluation(self, run_id: int, index: int) -> Evaluation | None:
        self.run(run_id)
        return self._evaluations[run_id].get(index)

    @override
    def pairs(self, run_id: int, indices: Sequence[int]) -> Sequence[tuple[Candidate, Evaluation]]:
        self.run(run_id)
        return [(self._candidates[run_id][i], self._evaluations[run_id][i]) for i in indices]

    @override
    def best(self, run_id: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        scored = [e for e in self.evaluations(run_id) if e.status is Status.SCORED]
        scored.sort(key=lambda e: (1, 0.0, e.index) if isnan(e.mean) else (0, -e.mean, e.index))
        return [(self._candidates[run_id][e.index], e) for e in scored[: max(limit, 0)]]

    @override
    def objectives(self, run_id: int, names: Sequence[str]) -> tuple[Sequence[int], Fitness]:
        scored = [e for e in self.evaluations(run_id) if e.status is Status.SCORED]
        return [e.index for e in scored], fitness(scored, names, self.run(run_id).config.protocol.plugins)

    @override
    def summary(self, run_id: int) -> RunSummary:
        totals = RunningTotals()
        for candidate in self.candidates(run_id):
            totals.drawn(candidate)
        for evaluation in self.evaluations(run_id):
            totals.evaluated(evaluation)
        for one in self.rung_trainings(run_id):
            totals.trained_longer(one.seconds)
        return totals.summary(self._touched[run_id])

    @override
    def close(self) -> None:
        pass


def _last(items: list[T], limit: int) -> list[T]:
    return items[max(0, len(items) - max(limit, 0)) :]
