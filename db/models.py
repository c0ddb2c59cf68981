"""The tables, as SQLAlchemy models.

Every fact has a column, so that plain SQL can query it. `number` is the index of a candidate in its run (`index` is a
keyword of SQL), `run_id` and `number` together identify it in every table, and `position` keeps the order of the rows
that belong to it. Changing a table requires a new file in `migrations/versions`.

Tables and indices grow at their ends, or at the ends of a few groups. An index on values in random order, such as
scores, would dirty another page with every row, so that recording would slow down as a run grows; sorting the hundred
thousand scores of a run on request takes hundredths of a second.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from evonas.db.column_types import Base, Name, NullableNumber, PrimaryKey, part_of


class Run(Base):
    """A run. `config` and `environment` are JSON; other columns repeat parts of them for queries."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    created: Mapped[datetime]
    updated: Mapped[datetime]
    elapsed: Mapped[float]
    space: Mapped[str]
    strategy: Mapped[str]
    seed: Mapped[str]  # as text, because a seed may exceed a database's integers
    config: Mapped[str]
    environment: Mapped[str]


class RunTime(Base):
    """Seconds of wall time that a run has spent on one activity of `evonas.records.timekeeping`."""

    __tablename__ = "run_times"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[PrimaryKey] = mapped_column(ForeignKey("runs.id"), primary_key=True, autoincrement=False)
    activity: Mapped[Name]
    seconds: Mapped[float]


class CandidateRow(Base):
    """A candidate. `expression` is its canonical form as text, NULL if that is too long.

    `start` is a sketch of its output at the start of training, NULL in a run that does not compare twins.
    """

    __tablename__ = "candidates"
    # `parent` has no foreign key, because the contract lets a caller record candidates in any order.

    run_id: Mapped[PrimaryKey] = mapped_column(ForeignKey("runs.id"), primary_key=True, autoincrement=False)
    number: Mapped[PrimaryKey]
    kind: Mapped[str]
    parent: Mapped[int | None]
    key: Mapped[str]
    functional_key: Mapped[str]
    graph: Mapped[str]
    expression: Mapped[str | None]
    start: Mapped[bytes | None]


class Mutation(Base):
    """A description of one of the mutations between a candidate and its parent."""

    __tablename__ = "mutations"
    __table_args__ = part_of("candidates")

    run_id: Mapped[PrimaryKey]
    number: Mapped[PrimaryKey]
    position: Mapped[PrimaryKey]
    mutation: Mapped[str]


class Drawing(Base):
    """What one cheap filter discarded, and its core-seconds, while a candidate was drawn; NULL for nothing."""

    __tablename__ = "drawing"
    # The index covers the queries for totals by filter.
    __table_args__ = part_of(
        "candidates", Index("ix_drawing_by_filter", "run_id", "filter", "number", "discarded", "timed", "seconds")
    )

    run_id: Mapped[PrimaryKey]
    number: Mapped[PrimaryKey]
    position: Mapped[PrimaryKey]
    filter: Mapped[str]
    discarded: Mapped[int | None]
    timed: Mapped[bool]
    seconds: Mapped[NullableNumber]


class EvaluationRow(Base):
    """An evaluation. `mean` is the mean score, NULL unless scored; `wall` is in seconds, NULL in old runs."""

    __tablename__ = "evaluations"
    __table_args__ = part_of("candidates")

    run_id: Mapped[PrimaryKey]
    number: Mapped[PrimaryKey]
    status: Mapped[str]
    mean: Mapped[NullableNumber]
    reason: Mapped[str]
    attempts: Mapped[int]
    wall: Mapped[float | None]


class Score(Base):
    """The accuracy of a scored candidate on one anchor."""

    __tablename__ = "scores"
    __table_args__ = part_of("evaluations")

    run_id: Mapped[PrimaryKey]
    number: Mapped[PrimaryKey]
    position: Mapped[PrimaryKey]
    objective: Mapped[str]
    score: Mapped[NullableNumber]


class Measure(Base):
    """One further objective of a scored candidate, in its own unit."""

    __tablename__ = "measures"
    __table_args__ = part_of("evaluations")

    run_id: Mapped[PrimaryKey]
    number: Mapped[PrimaryKey]
    position: Mapped[PrimaryKey]
    objective: Mapped[str]
    value: Mapped[NullableNumber]


class TrainingRow(Base):
    """Core-seconds that training a candidate on one anchor took."""

    __tablename__ = "training"
    __table_args__ = part_of("evaluations")

    run_id: Mapped[PrimaryKey]
    number: Mapped[PrimaryKey]
    position: Mapped[PrimaryKey]
    anchor: Mapped[str]
    seconds: Mapped[NullableNumber]


class Outcome(Base):
    """One filter's verdict. If `measured`, a NULL `value` means NaN; otherwise the filter measured nothing."""

    __tablename__ = "filter_outcomes"
    __table_args__ = part_of(
        "evaluations",
        Index(
            "ix_filter_outcomes_by_filter", "run_id", "filter", "accepted", "reason", "number", "position", "seconds"
        ),
    )

    run_id: Mapped[PrimaryKey]
    number: Mapped[PrimaryKey]
    position: Mapped[PrimaryKey]
    filter: Mapped[str]
    accepted: Mapped[bool]
    reason: Mapped[str]
    measured: Mapped[bool]
    value: Mapped[NullableNumber]
    seconds: Mapped[NullableNumber]


class ReferenceLayer(Base):
    """A published layer that was scored under a run's protocol."""

    __tablename__ = "reference_layers"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[PrimaryKey] = mapped_column(ForeignKey("runs.id"), primary_key=True, autoincrement=False)
    layer: Mapped[Name]
    position: Mapped[int]


class ReferenceScore(Base):
    """A reference layer's score on one anchor."""

    __tablename__ = "reference_scores"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "layer"], ["reference_layers.run_id", "reference_layers.layer"]),
        {"sqlite_with_rowid": False},
    )

    run_id: Mapped[PrimaryKey]
    layer: Mapped[Name]
    position: Mapped[PrimaryKey]
    anchor: Mapped[str]
    score: Mapped[NullableNumber]


class CheckpointRow(Base):
    """What a published layer has at one filter of a run (`evonas.settings.checkpoint_value`)."""

    __tablename__ = "checkpoint_values"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[PrimaryKey] = mapped_column(ForeignKey("runs.id"), primary_key=True, autoincrement=False)
    layer: Mapped[Name]
    position: Mapped[PrimaryKey]
    checkpoint: Mapped[str]
    value: Mapped[float | None]
    reason: Mapped[str]
    chance: Mapped[float | None]
    images: Mapped[int | None] = mapped_column(BigInteger)


class CoordinatorRow(Base):
    """The process that works on a run (`evonas.records.coordinator`)."""

    __tablename__ = "coordinators"

    run_id: Mapped[PrimaryKey] = mapped_column(ForeignKey("runs.id"), primary_key=True, autoincrement=False)
    token: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int] = mapped_column(BigInteger)
    place: Mapped[str]
    started: Mapped[str]
    since: Mapped[datetime]
    heard: Mapped[datetime]


class RetrainingRow(Base):
    """A training that followed a run's search.

    `layer` is the candidate's number as text or the name of a published layer, whose `number` is NULL.
    """

    __tablename__ = "retrainings"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "number"], ["candidates.run_id", "candidates.number"]),
        Index(None, "run_id", "number"),
        {"sqlite_with_rowid": False},
    )

    run_id: Mapped[PrimaryKey] = mapped_column(ForeignKey("runs.id"), primary_key=True, autoincrement=False)
    layer: Mapped[Name]
    stage: Mapped[Name]
    anchor: Mapped[Name]
    steps: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    held_out: Mapped[float] = mapped_column(primary_key=True)
    seed: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int | None]
    score: Mapped[NullableNumber]
    seconds: Mapped[float]
    reason: Mapped[str]
