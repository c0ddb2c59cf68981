"""The store in a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, and_, select
from typing_extensions import override

from evonas.db import checkpoint_values, conditions, coordinators, objective_values, resume_queries, retrainings, runs
from evonas.db.conditions import recorded_numbers
from evonas.db.error_messages import as_storage_errors
from evonas.db.interrupts import deferred_interrupts
from evonas.db.models import CandidateRow, EvaluationRow, Run
from evonas.db.row_conversion import (
    candidate_rows,
    evaluation_rows,
    insert_rows,
    read_candidates,
    read_evaluations,
    replace_times,
)
from evonas.db.run_summary import summarise
from evonas.records.coordinator import Coordinator
from evonas.records.retraining import RERUNS, Retraining, RetrainingStage
from evonas.records.run_info import RunInfo, RunStatus, RunSummary
from evonas.records.store import Store, no_such_candidate
from evonas.settings.candidate import Candidate, CandidateKeys, Ending, Evaluation, Status
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.run_config import RunConfig

if TYPE_CHECKING:
    from evonas.settings.objectives import Fitness


class DatabaseStore(Store):
    """A store in a database; `evonas.db.open_store` makes one.

    Each call is one transaction, and each read sees the state between two transactions of the writer. What `record`
    wrote survives the end of the process and, if the disk really writes what it acknowledges, that of the machine.

    Args:
        engine: an engine on a database whose tables are up to date.
        place: the name of the database for messages, without a password.
    """

    def __init__(self, engine: Engine, place: str) -> None:
        # A read is several statements that must see one state; in SQLite every transaction does.
        sqlite = engine.dialect.name == "sqlite"
        self._reading = engine if sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        # The option makes SQLite take the write lock at once; see `evonas.db.sqlite`.
        self._writing = engine.execution_options(evonas_writes=True)
        self._place = place
        self._claimed: dict[int, str] = {}  # tokens of the claims made through this store, by run

    @override
    def create_run(self, config: RunConfig, environment: Mapping[str, str]) -> RunInfo:
        with self._write() as connection:
            return runs.create(connection, config, environment)

    @override
    def run_ids(self) -> Sequence[int]:
        with self._read() as connection:
            return list(connection.execute(select(Run.id).order_by(Run.id)).scalars())

    @override
    def run(self, run_id: int) -> RunInfo:
        with self._read() as connection:
            return runs.run_info(connection, runs.run_row(connection, run_id))

    @override
    def claim(self, run_id: int, coordinator: Coordinator) -> None:
        with self._write() as connection:
            runs.run_row(connection, run_id, lock=True)
            coordinators.claim(connection, run_id, coordinator)
        self._claimed[run_id] = coordinator.token

    @override
    def renew(self, run_id: int, coordinator: Coordinator) -> None:
        with self._write() as connection:
            runs.run_row(connection, run_id)
            coordinators.renew(connection, run_id, coordinator.token)

    @override
    def release(self, run_id: int, coordinator: Coordinator) -> None:
        self._claimed.pop(run_id, None)
        with self._write() as connection:
            runs.run_row(connection, run_id)
            coordinators.release(connection, run_id, coordinator)

    @override
    def coordinator(self, run_id: int) -> Coordinator | None:
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return coordinators.coordinator(connection, run_id)

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
        drawn = {c.index: c for c in reversed(candidates)}  # of two with the same index the first is kept
        ended = {e.index: e for e in reversed(evaluations)}
        with self._write() as connection:
            run = runs.run_row(connection, run_id, lock=True)
            if run_id in self._claimed:
                coordinators.renew(connection, run_id, self._claimed[run_id])
            missing = sorted(ended.keys() - drawn.keys() - recorded_numbers(connection, CandidateRow, run_id, ended))
            if missing:
                raise no_such_candidate(run_id, missing[0], conditions.count_candidates(connection, run_id))
            fresh = drawn.keys() - recorded_numbers(connection, CandidateRow, run_id, drawn)
            insert_rows(connection, candidate_rows(run_id, run.space, (drawn[i] for i in sorted(fresh))))
            fresh = ended.keys() - recorded_numbers(connection, EvaluationRow, run_id, ended)
            insert_rows(connection, evaluation_rows(run_id, (ended[i] for i in sorted(fresh))))
            runs.touch(connection, run_id, status, elapsed)
            if times is not None:
                replace_times(connection, run_id, times)

    @override
    def record_reference(self, run_id: int, layer: str, scores: Mapping[str, float]) -> None:
        with self._write() as connection:
            runs.run_row(connection, run_id)
            runs.record_reference(connection, run_id, layer, scores)
            runs.touch(connection, run_id)

    @override
    def record_checkpoint_values(self, run_id: int, layer: str, values: Sequence[CheckpointValue]) -> None:
        with self._write() as connection:
            runs.run_row(connection, run_id)
            checkpoint_values.record(connection, run_id, layer, values)
            runs.touch(connection, run_id)

    @override
    def record_retraining(self, run_id: int, retraining: Retraining) -> None:
        with self._write() as connection:
            runs.run_row(connection, run_id)
            retrainings.record(connection, run_id, retraining)
            runs.touch(connection, run_id)

    @override
    def retrainings(self, run_id: int) -> Sequence[Retraining]:
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return retrainings.read(connection, run_id, RERUNS)

    @override
    def rung_trainings(self, run_id: int) -> Sequence[Retraining]:
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return retrainings.read(connection, run_id, [RetrainingStage.RUNG])

    @override
    def candidates(self, run_id: int, since: int = 0) -> Iterator[Candidate]:
        self._require_run(run_id)
        return self._by_chunks(run_id, CandidateRow, read_candidates, since)

    @override
    def candidate_keys(self, run_id: int) -> Iterator[CandidateKeys]:
        self._require_run(run_id)
        return self._by_chunks(run_id, CandidateRow, resume_queries.read_keys, 0, resume_queries.CHUNK)

    @override
    def endings(self, run_id: int, before: int) -> Iterator[Ending]:
        self._require_run(run_id)
        ended = self._by_chunks(run_id, EvaluationRow, resume_queries.read_endings, 0, resume_queries.CHUNK)
        return takewhile(lambda ending: ending.index < before, ended)

    @override
    def unevaluated(self, run_id: int) -> Sequence[int]:
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return resume_queries.unevaluated(connection, run_id)

    @override
    def newest_scored(self, run_id: int, before: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return runs.pairs(connection, run_id, resume_queries.newest_scored(connection, run_id, before, limit))

    @override
    def filter_values(self, run_id: int, name: str, before: int, limit: int) -> Sequence[float]:
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return resume_queries.filter_values(connection, run_id, name, before, limit)

    @override
    def candidate(self, run_id: int, index: int) -> Candidate:
        with self._read() as connection:
            runs.run_row(connection, run_id)
            found = read_candidates(connection, conditions.with_numbers(run_id, [index]))
            if not found:
                raise no_such_candidate(run_id, index, conditions.count_candidates(connection, run_id))
            return found[0]

    @override
    def evaluations(self, run_id: int, since: int = 0) -> Iterator[Evaluation]:
        self._require_run(run_id)
        return self._by_chunks(run_id, EvaluationRow, read_evaluations, since)

    @override
    def evaluation(self, run_id: int, index: int) -> Evaluation | None:
        with self._read() as connection:
            runs.run_row(connection, run_id)
            found = read_evaluations(connection, conditions.with_numbers(run_id, [index]))
            return found[0] if found else None

    @override
    def pairs(self, run_id: int, indices: Sequence[int]) -> Sequence[tuple[Candidate, Evaluation]]:
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return runs.pairs(connection, run_id, indices)

    @override
    def best(self, run_id: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        scored = and_(EvaluationRow.run_id == run_id, EvaluationRow.status == Status.SCORED.value)
        order = EvaluationRow.mean.desc().nulls_last(), EvaluationRow.number
        statement = select(EvaluationRow.number).where(scored).order_by(*order)
        with self._read() as connection:
            runs.run_row(connection, run_id)
            numbers = connection.scalars(statement.limit(min(max(limit, 0), conditions.MAX_NUMBER))).all()
            return runs.pairs(connection, run_id, numbers)

    @override
    def objectives(self, run_id: int, names: Sequence[str]) -> tuple[Sequence[int], Fitness]:
        with self._read() as connection:
            plugins = RunConfig.from_json(runs.run_row(connection, run_id).config).protocol.plugins
            return objective_values.read_objectives(connection, run_id, names, plugins)

    @override
    def summary(self, run_id: int) -> RunSummary:
        with self._read() as connection:
            return summarise(connection, run_id, runs.run_row(connection, run_id).updated)

    @override
    def close(self) -> None:
        self._reading.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with as_storage_errors(self._place), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with deferred_interrupts(), as_storage_errors(self._place), self._writing.begin() as connection:
            yield connection

    def _require_run(self, run_id: int) -> None:
        with self._read() as connection:
            runs.run_row(connection, run_id)

    def _by_chunks(
        self, run_id: int, table: Any, read: Any, since: int = 0, size: int = conditions.CHUNK
    ) -> Iterator[Any]:
        # One transaction for each chunk: one that stayed open while the caller works would keep SQLite from
        # checkpointing its log into the file.
        after = min(max(since, 0), conditions.MAX_NUMBER) - 1
        while True:
            with self._read() as connection:
                later = and_(table.run_id == run_id, table.number > after)
                numbers = select(table.number).where(later).order_by(table.number).limit(size)
                chunk = connection.scalars(numbers).all()
                if not chunk:
                    return
                found = read(connection, conditions.between(run_id, chunk[0], chunk[-1]))
            yield from found
            after = chunk[-1]
