"""Candidates and evaluations: converting them to rows of the tables, and reading them back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, insert, select

from evonas.db.column_types import Base
from evonas.db.conditions import RowCondition
from evonas.db.models import (
    CandidateRow,
    Drawing,
    EvaluationRow,
    Measure,
    Mutation,
    Outcome,
    RunTime,
    Score,
    TrainingRow,
)
from evonas.errors import EvonasError, GraphError, StorageError
from evonas.language.graph import Graph
from evonas.settings.candidate import Candidate, Evaluation, FilterOutcome, Origin, OriginKind, Status

T = TypeVar("T")
TableRow = dict[str, Any]
RowsByTable = dict[type[Base], list[TableRow]]
"""Rows by table, in an order in which they can be inserted."""


def insert_rows(connection: Connection, rows: RowsByTable) -> None:
    """Insert rows, with one statement per table."""
    for table, of_table in rows.items():
        if of_table:
            connection.execute(insert(table), of_table)


def candidate_rows(run_id: int, space: str, candidates: Iterable[Candidate]) -> RowsByTable:
    """The rows of candidates.

    Args:
        run_id: their run.
        space: the name of the search space for their graphs' JSON.
        candidates: the candidates.
    """
    rows: RowsByTable = {CandidateRow: [], Mutation: [], Drawing: []}
    for candidate in candidates:
        at = {"run_id": run_id, "number": int(candidate.index)}
        rows[CandidateRow].append(
            at
            | {
                "kind": candidate.origin.kind.value,
                "parent": _integer(candidate.origin.parent),
                "key": candidate.key,
                "functional_key": candidate.functional_key,
                "graph": candidate.graph.to_json(space),
                "expression": _expression(candidate.graph),
                "start": candidate.start,
            }
        )
        for position, mutation in enumerate(candidate.origin.mutations):
            rows[Mutation].append(at | {"position": position, "mutation": storable(mutation)})
        for position, name in enumerate({**candidate.seconds, **candidate.discarded}):
            rows[Drawing].append(
                at
                | {
                    "position": position,
                    "filter": storable(name),
                    "discarded": _integer(candidate.discarded.get(name)),
                    "timed": name in candidate.seconds,
                    "seconds": candidate.seconds.get(name),
                }
            )
    return rows


def evaluation_rows(run_id: int, evaluations: Iterable[Evaluation]) -> RowsByTable:
    """The rows of evaluations of one run."""
    rows: RowsByTable = {EvaluationRow: [], Score: [], Measure: [], TrainingRow: [], Outcome: []}
    for evaluation in evaluations:
        at = {"run_id": run_id, "number": int(evaluation.index)}
        rows[EvaluationRow].append(
            at
            | {
                "status": evaluation.status.value,
                "mean": evaluation.mean if evaluation.status is Status.SCORED else None,
                "reason": storable(evaluation.reason),
                "attempts": int(evaluation.attempts),
                "wall": float(evaluation.wall),
            }
        )
        rows[Score] += numbered(at, "objective", "score", evaluation.scores)
        rows[Measure] += numbered(at, "objective", "value", evaluation.measures)
        rows[TrainingRow] += numbered(at, "anchor", "seconds", evaluation.seconds)
        for position, outcome in enumerate(evaluation.filters):
            rows[Outcome].append(
                at
                | {
                    "position": position,
                    "filter": storable(outcome.name),
                    "accepted": bool(outcome.accepted),
                    "reason": storable(outcome.reason),
                    "measured": outcome.value is not None,
                    "value": outcome.value,
                    "seconds": outcome.seconds,
                }
            )
    return rows


def replace_times(connection: Connection, run_id: int, times: Mapping[str, float]) -> None:
    """Replace the recorded times of a run, in seconds by activity."""
    connection.execute(delete(RunTime).where(RunTime.run_id == run_id))
    of_run = [{"run_id": run_id, "activity": storable(name), "seconds": float(s)} for name, s in times.items()]
    insert_rows(connection, {RunTime: of_run})


def numbered(at: TableRow, name: str, value: str, values: Mapping[str, float]) -> list[TableRow]:
    """One row for each item of a mapping, in its order.

    Args:
        at: the columns that all rows share.
        name, value: the columns of an item's key and of its value.
        values: the mapping.
    """
    return [
        at | {"position": position, name: storable(key), value: number}
        for position, (key, number) in enumerate(values.items())
    ]


def storable(text: str) -> str:
    """`text` with the characters that a database cannot store, NUL and lone surrogates, replaced by U+FFFD.

    They occur in the output of workers that crashed, which must not stop a search.
    """
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_candidates(connection: Connection, condition: RowCondition) -> list[Candidate]:
    """The candidates that the condition selects, in order of index.

    Raises:
        StorageError: a row is damaged.
    """
    mutations = _grouped(connection, condition, Mutation, "mutation")
    drawing = _grouped(connection, condition, Drawing, "filter", "discarded", "timed", "seconds")
    found = connection.execute(
        select(CandidateRow.__table__).where(condition(CandidateRow)).order_by(CandidateRow.number)
    )

    def build(row: Any) -> Candidate:
        drawn = drawing[row.number]
        return Candidate(
            index=row.number,
            graph=Graph.from_json(row.graph),
            key=row.key,
            functional_key=row.functional_key,
            origin=Origin(OriginKind(row.kind), row.parent, tuple(m.mutation for m in mutations[row.number])),
            discarded={d.filter: d.discarded for d in drawn if d.discarded is not None},
            seconds={d.filter: d.seconds for d in drawn if d.timed},
            start=row.start,
        )

    return [_checked(row, build) for row in found]


def read_evaluations(connection: Connection, condition: RowCondition) -> list[Evaluation]:
    """The evaluations of the candidates that the condition selects, in order of index.

    Raises:
        StorageError: a row is damaged.
    """
    scores = _grouped(connection, condition, Score, "objective", "score")
    measures = _grouped(connection, condition, Measure, "objective", "value")
    training = _grouped(connection, condition, TrainingRow, "anchor", "seconds")
    outcomes = _grouped(connection, condition, Outcome, "filter", "accepted", "reason", "measured", "value", "seconds")
    found = connection.execute(
        select(EvaluationRow.__table__).where(condition(EvaluationRow)).order_by(EvaluationRow.number)
    )

    def build(row: Any) -> Evaluation:
        return Evaluation(
            index=row.number,
            status=Status(row.status),
            scores={s.objective: s.score for s in scores[row.number]},
            measures={m.objective: m.value for m in measures[row.number]},
            filters=tuple(
                FilterOutcome(o.filter, o.accepted, o.reason, o.value if o.measured else None, o.seconds)
                for o in outcomes[row.number]
            ),
            seconds={t.anchor: t.seconds for t in training[row.number]},
            reason=row.reason,
            attempts=row.attempts,
            wall=row.wall or 0.0,
        )

    return [_checked(row, build) for row in found]


def _grouped(
    connection: Connection, condition: RowCondition, table: type[Base], *names: str
) -> Mapping[int, Sequence[Any]]:
    """The rows of a table by candidate number, in the order of their positions."""
    columns = table.__table__.c
    statement = select(columns.number, *(columns[name] for name in names)).where(condition(table))
    groups: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(statement.order_by(columns.number, columns.position)).all():
        groups[row.number].append(row)
    return groups


def _checked(row: Any, build: Callable[[Any], T]) -> T:
    try:
        return build(row)
    except (EvonasError, ValueError) as error:
        # We wrote it, so this happens only if the database was damaged or edited.
        raise StorageError(f"candidate {row.number} of run {row.run_id} is damaged: {error}") from error


def _expression(graph: Graph) -> str | None:
    try:
        return graph.canonical.expression()
    except GraphError:  # too long to write out
        return None


def _integer(value: int | None) -> int | None:
    # Database drivers do not accept NumPy's integers, which random draws produce.
    return None if value is None else int(value)
