"""The store in a database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, and_, delete, insert, select, update

from evonas.candidate import Candidate, Evaluation, Known, Status
from evonas.config import RunConfig
from evonas.db import comparing, coordinators, picking, resuming, retrainings, rows
from evonas.db.failures import told_for_people
from evonas.db.models import CandidateRow, EvaluationRow, ReferenceLayer, ReferenceScore, Run, RunTime
from evonas.db.totals import summarise
from evonas.errors import StorageError
from evonas.lease import Coordinator
from evonas.retraining import Retraining
from evonas.store import RunInfo, RunStatus, RunSummary, Store, no_such_candidate, no_such_run

if TYPE_CHECKING:
    from evonas.objectives import Fitness


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
        now = datetime.now(UTC)
        values = {
            "status": RunStatus.RUNNING.value,
            "created": now,
            "updated": now,
            "elapsed": 0.0,
            "space": config.space.name,
            "strategy": config.strategy,
            "seed": str(config.seed),
            "config": config.to_json(),
            "environment": json.dumps(dict(environment)),
        }
        with self._write() as connection:
            run_id = connection.execute(insert(Run).values(values).returning(Run.id)).scalar_one()
        return RunInfo(run_id, config, RunStatus.RUNNING, now, dict(environment))

    def run_ids(self) -> Sequence[int]:
        """See `Store`."""
        with self._read() as connection:
            return list(connection.execute(select(Run.id).order_by(Run.id)).scalars())

    def run(self, run_id: int) -> RunInfo:
        """See `Store`."""
        with self._read() as connection:
            return _info(connection, _run_row(connection, run_id))

    def claim(self, run_id: int, coordinator: Coordinator) -> None:
        """See `Store`."""
        with self._write() as connection:
            _run_row(connection, run_id, lock=True)
            coordinators.claim(connection, run_id, coordinator)
        self._claimed[run_id] = coordinator.token

    def renew(self, run_id: int, coordinator: Coordinator) -> None:
        """See `Store`."""
        with self._write() as connection:
            _run_row(connection, run_id)
            coordinators.renew(connection, run_id, coordinator.token)

    def release(self, run_id: int, coordinator: Coordinator) -> None:
        """See `Store`."""
        self._claimed.pop(run_id, None)
        with self._write() as connection:
            _run_row(connection, run_id)
            coordinators.release(connection, run_id, coordinator)

    def coordinator(self, run_id: int) -> Coordinator | None:
        """See `Store`."""
        with self._read() as connection:
            _run_row(connection, run_id)
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
            run = _run_row(connection, run_id, lock=True)
            if run_id in self._claimed:
                coordinators.renew(connection, run_id, self._claimed[run_id])
            missing = sorted(ended.keys() - drawn.keys() - picking.known(connection, CandidateRow, run_id, ended))
            if missing:
                raise no_such_candidate(run_id, missing[0], picking.count(connection, run_id))
            fresh = drawn.keys() - picking.known(connection, CandidateRow, run_id, drawn)
            rows.insert_rows(connection, rows.candidate_rows(run_id, run.space, (drawn[i] for i in sorted(fresh))))
            fresh = ended.keys() - picking.known(connection, EvaluationRow, run_id, ended)
            rows.insert_rows(connection, rows.evaluation_rows(run_id, (ended[i] for i in sorted(fresh))))
            changed: dict[str, Any] = {"updated": datetime.now(UTC)}
            if status is not None:
                changed["status"] = status.value
            if elapsed is not None:
                changed["elapsed"] = float(elapsed)
            connection.execute(update(Run).where(Run.id == run_id).values(changed))
            if times is not None:
                rows.replace_times(connection, run_id, times)

    def record_reference(self, run_id: int, layer: str, scores: Mapping[str, float]) -> None:
        """See `Store`."""
        at = {"run_id": run_id, "layer": rows.storable(layer)}
        with self._write() as connection:
            _run_row(connection, run_id)
            of_run = ReferenceLayer.run_id == run_id
            known = connection.scalars(select(ReferenceLayer.layer).where(of_run)).all()
            if at["layer"] not in known:
                connection.execute(insert(ReferenceLayer).values(**at, position=len(known)))
            earlier = and_(ReferenceScore.run_id == run_id, ReferenceScore.layer == at["layer"])
            connection.execute(delete(ReferenceScore).where(earlier))
            rows.insert_rows(connection, {ReferenceScore: rows.numbered(at, "anchor", "score", scores)})
            connection.execute(update(Run).where(Run.id == run_id).values(updated=datetime.now(UTC)))

    def record_retraining(self, run_id: int, retraining: Retraining) -> None:
        """See `Store`."""
        with self._write() as connection:
            _run_row(connection, run_id)
            retrainings.keep(connection, run_id, retraining)
            connection.execute(update(Run).where(Run.id == run_id).values(updated=datetime.now(UTC)))

    def retrainings(self, run_id: int) -> Sequence[Retraining]:
        """See `Store`."""
        with self._read() as connection:
            _run_row(connection, run_id)
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
            _run_row(connection, run_id)
            return resuming.unevaluated(connection, run_id)

    def newest(self, run_id: int, before: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        """See `Store`."""
        with self._read() as connection:
            _run_row(connection, run_id)
            return _pairs(connection, run_id, resuming.newest(connection, run_id, before, limit))

    def filter_values(self, run_id: int, name: str, before: int, limit: int) -> Sequence[float]:
        """See `Store`."""
        with self._read() as connection:
            _run_row(connection, run_id)
            return resuming.filter_values(connection, run_id, name, before, limit)

    def candidate(self, run_id: int, index: int) -> Candidate:
        """See `Store`."""
        with self._read() as connection:
            _run_row(connection, run_id)
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
            _run_row(connection, run_id)
            found = rows.read_evaluations(connection, picking.picked(run_id, [index]))
            return found[0] if found else None

    def pairs(self, run_id: int, indices: Sequence[int]) -> Sequence[tuple[Candidate, Evaluation]]:
        """See `Store`."""
        with self._read() as connection:
            _run_row(connection, run_id)
            return _pairs(connection, run_id, indices)

    def best(self, run_id: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        """See `Store`."""
        scored = and_(EvaluationRow.run_id == run_id, EvaluationRow.status == Status.SCORED.value)
        order = EvaluationRow.mean.desc().nulls_last(), EvaluationRow.number
        statement = select(EvaluationRow.number).where(scored).order_by(*order)
        with self._read() as connection:
            _run_row(connection, run_id)
            numbers = connection.scalars(statement.limit(min(max(limit, 0), picking.GREATEST))).all()
            return _pairs(connection, run_id, numbers)

    def objectives(self, run_id: int, names: Sequence[str]) -> tuple[Sequence[int], Fitness]:
        """See `Store`."""
        with self._read() as connection:
            _run_row(connection, run_id)
            return comparing.read_objectives(connection, run_id, names)

    def summary(self, run_id: int) -> RunSummary:
        """See `Store`."""
        with self._read() as connection:
            return summarise(connection, run_id, _run_row(connection, run_id).updated)

    def close(self) -> None:
        """See `Store`."""
        self._reading.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with told_for_people(self._place), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with told_for_people(self._place), self._writing.begin() as connection:
            yield connection

    def _check_run(self, run_id: int) -> None:
        with self._read() as connection:
            _run_row(connection, run_id)

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


def _pairs(connection: Connection, run_id: int, numbers: Sequence[int]) -> list[tuple[Candidate, Evaluation]]:
    """Candidates with their evaluations, in the order of their numbers in the list."""
    pairs: list[tuple[Candidate, Evaluation]] = []
    for chunk in picking.chunks(numbers):
        within = picking.picked(run_id, chunk)
        candidates = {c.index: c for c in rows.read_candidates(connection, within)}
        evaluations = {e.index: e for e in rows.read_evaluations(connection, within)}
        for number in chunk:
            if number not in candidates or number not in evaluations:
                raise StorageError(f"candidate {number} of run {run_id} is damaged: a part of it is missing")
            pairs.append((candidates[number], evaluations[number]))
    return pairs


def _run_row(connection: Connection, run_id: int, *, lock: bool = False) -> Any:
    """The run's row; with `lock`, no other may write to the run until the transaction ends."""
    if 0 < run_id <= picking.GREATEST:
        found = select(Run.__table__).where(Run.id == run_id)
        # SQLite has no such clause, and lets one transaction write at a time anyway.
        row = connection.execute(found.with_for_update() if lock else found).one_or_none()
        if row is not None:
            return row
    raise no_such_run(run_id, connection.scalars(select(Run.id).order_by(Run.id)).all())


def _info(connection: Connection, row: Any) -> RunInfo:
    layers = select(ReferenceLayer.layer).where(ReferenceLayer.run_id == row.id)
    references: dict[str, dict[str, float]] = {
        layer: {} for layer in connection.scalars(layers.order_by(ReferenceLayer.position))
    }
    scores = select(ReferenceScore.__table__).where(ReferenceScore.run_id == row.id)
    for score in connection.execute(scores.order_by(ReferenceScore.position)):
        references[score.layer][score.anchor] = score.score
    try:
        status, environment = RunStatus(row.status), json.loads(row.environment)
    except ValueError as error:
        raise StorageError(f"run {row.id} is damaged: {error}") from error
    config = RunConfig.from_json(row.config)
    spent = connection.execute(select(RunTime.activity, RunTime.seconds).where(RunTime.run_id == row.id))
    times = {row.activity: row.seconds for row in spent}
    return RunInfo(row.id, config, status, row.created, environment, references, row.elapsed, times)
