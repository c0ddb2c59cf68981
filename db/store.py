"""The store in a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, and_, select

from evonas.db import comparing, coordinators, picking, resuming, retrainings, rows, runs
from evonas.db.failures import told_for_people
from evonas.db.interrupts import deferred_interrupts
from evonas.db.models import CandidateRow, EvaluationRow, Run
from evonas.db.totals import summarise
from evonas.records.coordinator_claim import Coordinator
from evonas.records.retraining import Retraining
from evonas.records.run_info import RunInfo, RunStatus, RunSummary
from evonas.records.store import Store, no_such_candidate
from evonas.settings.candidate import Candidate, Evaluation, Known, Status
from evonas.settings.run_config import RunConfig

if TYPE_CHECKING:
    from evonas.settings.objectives import Fitness


class DatabaseStore(Store):
    """A store in a database; `evonas.db.open_store` makes one.

    Each call is one transaction, and each read sees the state between two of the writer's. What
    `record` has returned from survives the death of the process, and, where the disk does not lie about
    what it has written, of the machine.

    Args:
        engine: connects to a database whose tables are up to date.
        place: the database as a person would name it, without a password.
    """

    def __init__(self, engine: Engine, place: str) -> None:
        # A read is several statements, which have to see one state; SQLite's transactions always do.
        sqlite = engine.dialect.name == "sqlite"
        self._reading = engine if sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        # The option makes SQLite take the lock for writing at once; see `evonas.db.sqlite`.
        self._writing = engine.execution_options(evonas_writes=True)
        self._place = place
        self._claimed: dict[int, str] = {}  # tokens of claims made through this store, by run

    def create_run(self, config: RunConfig, environment: Mapping[str, str]) -> RunInfo:
        """See `Store`."""
        with self._write() as connection:
            return runs.create(connection, config, environment)

    def run_ids(self) -> Sequence[int]:
        """See `Store`."""
        with self._read() as connection:
            return list(connection.execute(select(Run.id).order_by(Run.id)).scalars())

    def run(self, run_id: int) -> RunInfo:
        """See `Store`."""
        with self._read() as connection:
            return runs.info(connection, runs.run_row(connection, run_id))

    def claim(self, run_id: int, coordinator: Coordinator) -> None:
        """See `Store`."""
        with self._write() as connection:
            runs.run_row(connection, run_id, lock=True)
            coordinators.claim(connection, run_id, coordinator)
        self._claimed[run_id] = coordinator.token

    def renew(self, run_id: int, coordinator: Coordinator) -> None:
        """See `Store`."""
        with self._write() as connection:
            runs.run_row(connection, run_id)
            coordinators.renew(connection, run_id, coordinator.token)

    def release(self, run_id: int, coordinator: Coordinator) -> None:
        """See `Store`."""
        self._claimed.pop(run_id, None)
        with self._write() as connection:
            runs.run_row(connection, run_id)
            coordinators.release(connection, run_id, coordinator)

    def coordinator(self, run_id: int) -> Coordinator | None:
        """See `Store`."""
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return coordinators.coordinator(connection, run_id)

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
        """See `Store`."""
        drawn = {c.index: c for c in reversed(candidates)}  # of two with one index, the first stays
        ended = {e.index: e for e in reversed(evaluations)}
        with self._write() as connection:
            run = runs.run_row(connection, run_id, lock=True)
            if run_id in self._claimed:
                coordinators.renew(connection, run_id, self._claimed[run_id])
            missing = sorted(ended.keys() - drawn.keys() - picking.known(connection, CandidateRow, run_id, ended))
            if missing:
                raise no_such_candidate(run_id, missing[0], picking.count(connection, run_id))
            fresh = drawn.keys() - picking.known(connection, CandidateRow, run_id, drawn)
            rows.insert_rows(connection, rows.candidate_rows(run_id, run.space, (drawn[i] for i in sorted(fresh))))
            fresh = ended.keys() - picking.known(connection, EvaluationRow, run_id, ended)
            rows.insert_rows(connection, rows.evaluation_rows(run_id, (ended[i] for i in sorted(fresh))))
            runs.touch(connection, run_id, status, elapsed)
            if times is not None:
                rows.replace_times(connection, run_id, times)

    def record_reference(self, run_id: int, layer: str, scores: Mapping[str, float]) -> None:
        """See `Store`."""
        with self._write() as connection:
            runs.run_row(connection, run_id)
            runs.keep_reference(connection, run_id, layer, scores)
            runs.touch(connection, run_id)

    def record_retraining(self, run_id: int, retraining: Retraining) -> None:
        """See `Store`."""
        with self._write() as connection:
            runs.run_row(connection, run_id)
            retrainings.keep(connection, run_id, retraining)
            runs.touch(connection, run_id)

    def retrainings(self, run_id: int) -> Sequence[Retraining]:
        """See `Store`."""
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return retrainings.read(connection, run_id)

    def candidates(self, run_id: int, since: int = 0) -> Iterator[Candidate]:
        """See `Store`."""
        self._check_run(run_id)
        return self._by_chunks(run_id, CandidateRow, rows.read_candidates, since)

    def known(self, run_id: int) -> Iterator[Known]:
        """See `Store`."""
        self._check_run(run_id)
        return self._by_chunks(run_id, CandidateRow, resuming.read_known, 0, resuming.CHUNK)

    def unevaluated(self, run_id: int) -> Sequence[int]:
        """See `Store`."""
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return resuming.unevaluated(connection, run_id)

    def newest(self, run_id: int, before: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        """See `Store`."""
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return runs.pairs(connection, run_id, resuming.newest(connection, run_id, before, limit))

    def filter_values(self, run_id: int, name: str, before: int, limit: int) -> Sequence[float]:
        """See `Store`."""
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return resuming.filter_values(connection, run_id, name, before, limit)

    def candidate(self, run_id: int, index: int) -> Candidate:
        """See `Store`."""
        with self._read() as connection:
            runs.run_row(connection, run_id)
            found = rows.read_candidates(connection, picking.picked(run_id, [index]))
            if not found:
                raise no_such_candidate(run_id, index, picking.count(connection, run_id))
            return found[0]

    def evaluations(self, run_id: int, since: int = 0) -> Iterator[Evaluation]:
        """See `Store`."""
        self._check_run(run_id)
        return self._by_chunks(run_id, EvaluationRow, rows.read_evaluations, since)

    def evaluation(self, run_id: int, index: int) -> Evaluation | None:
        """See `Store`."""
        with self._read() as connection:
            runs.run_row(connection, run_id)
            found = rows.read_evaluations(connection, picking.picked(run_id, [index]))
            return found[0] if found else None

    def pairs(self, run_id: int, indices: Sequence[int]) -> Sequence[tuple[Candidate, Evaluation]]:
        """See `Store`."""
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return runs.pairs(connection, run_id, indices)

    def best(self, run_id: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        """See `Store`."""
        scored = and_(EvaluationRow.run_id == run_id, EvaluationRow.status == Status.SCORED.value)
        order = EvaluationRow.mean.desc().nulls_last(), EvaluationRow.number
        statement = select(EvaluationRow.number).where(scored).order_by(*order)
        with self._read() as connection:
            runs.run_row(connection, run_id)
            numbers = connection.scalars(statement.limit(min(max(limit, 0), picking.GREATEST))).all()
            return runs.pairs(connection, run_id, numbers)

    def objectives(self, run_id: int, names: Sequence[str]) -> tuple[Sequence[int], Fitness]:
        """See `Store`."""
        with self._read() as connection:
            runs.run_row(connection, run_id)
            return comparing.read_objectives(connection, run_id, names)

    def summary(self, run_id: int) -> RunSummary:
        """See `Store`."""
        with self._read() as connection:
            return summarise(connection, run_id, runs.run_row(connection, run_id).updated)

    def close(self) -> None:
        """See `Store`."""
        self._reading.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with told_for_people(self._place), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with deferred_interrupts(), told_for_people(self._place), self._writing.begin() as connection:
            yield connection

    def _check_run(self, run_id: int) -> None:
        with self._read() as connection:
            runs.run_row(connection, run_id)

    def _by_chunks(
        self, run_id: int, table: Any, read: Any, since: int = 0, size: int = picking.CHUNK
    ) -> Iterator[Any]:
        # A transaction for each chunk rather than for all: one that stays open while the caller thinks
        # would keep SQLite's log from being folded into the file.
        after = min(max(since, 0), picking.GREATEST) - 1
        while True:
            with self._read() as connection:
                later = and_(table.run_id == run_id, table.number > after)
                numbers = select(table.number).where(later).order_by(table.number).limit(size)
                chunk = connection.scalars(numbers).all()
                if not chunk:
                    return
                found = read(connection, picking.between(run_id, chunk[0], chunk[-1]))
            yield from found
            after = chunk[-1]
