"""The tables, as SQLAlchemy models.

Every fact has a column, so that plain SQL can ask for it: `number` is the index of a candidate in its run
(`index` is a word of SQL), `run_id` and `number` together name it in every table, and `position` keeps the
order of what belongs to it. Changing a table means a new file in `migrations/versions`.

Tables and indices grow at their ends, or at the ends of a few groups. An index by what is anywhere, such as a
score, makes every row dirty a page of its own, so that recording slows down as a run grows; sorting a run's
hundred thousand scores when somebody asks takes hundredths of a second.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from evonas.db.columns import Base, Name, NullableNumber, PrimaryKey, part_of


class Run(Base):
    """A run. `config` and `environment` are JSON; the columns beside them repeat what one asks for."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    created: Mapped[datetime]
    updated: Mapped[datetime]
    elapsed: Mapped[float]
    space: Mapped[str]
    strategy: Mapped[str]
    seed: Mapped[str]  # as text: a seed may be wider than a database's integers
    config: Mapped[str]
    environment: Mapped[str]


class RunTime(Base):
    """Seconds of wall time that a run has spent on one activity, by the names of `evonas.records.timekeeping`."""

    __tablename__ = "run_times"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[PrimaryKey] = mapped_column(ForeignKey("runs.id"), primary_key=True, autoincrement=False)
    activity: Mapped[Name]
    seconds: Mapped[float]


class CandidateRow(Base):
    """A candidate. `expression` is its canonical form for people; NULL where that is too long to write.

    `start` is a sketch of its response at the start of training, NULL where that was not asked for.
    """

    __tablename__ = "candidates"
    # `parent` has no foreign key: the contract lets a caller record candidates in any order.

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
    """What one mutation replaced on the way from a candidate's parent to it."""

    __tablename__ = "mutations"
    __table_args__ = part_of("candidates")

    run_id: Mapped[PrimaryKey]
    number: Mapped[PrimaryKey]
    position: Mapped[PrimaryKey]
    mutation: Mapped[str]


class Drawing(Base):
    """What one cheap filter did while a candidate was drawn; NULL where it discarded or took nothing."""

    __tablename__ = "drawing"
    # The index holds all that totals need, by filter.
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
    """An evaluation. `mean` is the mean score of a scored one, else NULL; `wall` is in seconds, NULL in old runs."""

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
    """One score: accuracy on an anchor."""

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
    """One filter's verdict. Where it is `measured`, a NULL `value` is NaN; else it measured nothing."""

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


class CoordinatorRow(Base):
    """The process that works on a run (`evonas.records.coordinator_claim`); no row where none does."""

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
    """A training that followed a run's search. `layer` is the candidate's number as text, or a published name.

    `number` is the candidate's, NULL for a published layer.
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
