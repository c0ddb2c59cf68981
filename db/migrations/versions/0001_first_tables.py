"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        _text("status"),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("elapsed", sa.Double(), nullable=False),
        _text("space"),
        _text("strategy"),
        _text("seed"),
        _text("config"),
        _text("environment"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_table(
        "candidates",
        *_keys("run_id", "number"),
        _text("kind"),
        sa.Column("parent", sa.Integer(), nullable=True),
        _text("key"),
        _text("functional_key"),
        _text("graph"),
        sa.Column("expression", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_candidates_runs"),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_candidates"),
    )
    op.create_index("ix_candidates_run_id_parent", "candidates", ["run_id", "parent"])
    op.create_index("ix_candidates_run_id_key", "candidates", ["run_id", "key"])
    _part("mutations", "candidates", _text("mutation"))
    _part(
        "drawing",
        "candidates",
        _text("filter"),
        sa.Column("discarded", sa.Integer(), nullable=True),
        sa.Column("timed", sa.Boolean(), nullable=False),
        _number("seconds"),
    )
    op.create_index("ix_drawing_totals", "drawing", ["run_id", "filter", "discarded", "timed", "seconds"])
    op.create_table(
        "evaluations",
        *_keys("run_id", "number"),
        _text("status"),
        _number("mean"),
        _text("reason"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _belongs("evaluations", "candidates", "run_id", "number"),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_evaluations"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_evaluations_run_id_status_mean", "evaluations", ["run_id", "status", "mean"])
    _part("scores", "evaluations", _text("objective"), _number("score"))
    _part("training", "evaluations", _text("anchor"), _number("seconds"))
    _part(
        "filter_outcomes",
        "evaluations",
        _text("filter"),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        _text("reason"),
        sa.Column("measured", sa.Boolean(), nullable=False),
        _number("value"),
        _number("seconds"),
    )
    op.create_index(
        "ix_filter_outcomes_totals",
        "filter_outcomes",
        ["run_id", "filter", "accepted", "reason", "position", "seconds"],
    )
    op.create_table(
        "reference_layers",
        *_keys("run_id"),
        _text("layer"),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_reference_layers_runs"),
        sa.PrimaryKeyConstraint("run_id", "layer", name="pk_reference_layers"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reference_scores",
        *_keys("run_id"),
        _text("layer"),
        *_keys("position"),
        _text("anchor"),
        _number("score"),
        _belongs("reference_scores", "reference_layers", "run_id", "layer"),
        sa.PrimaryKeyConstraint("run_id", "layer", "position", name="pk_reference_scores"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("reference_scores", "reference_layers", "filter_outcomes", "training", "scores"):
        op.drop_table(table)
    for table in ("evaluations", "drawing", "mutations", "candidates", "runs"):
        op.drop_table(table)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double(), nullable=True)


def _keys(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer(), autoincrement=False, nullable=False) for name in names]


def _belongs(table: str, parent: str, *columns: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(columns, [f"{parent}.{column}" for column in columns], name=f"fk_{table}_{parent}")


def _part(table: str, parent: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        table,
        *_keys("run_id", "number", "position"),
        *columns,
        _belongs(table, parent, "run_id", "number"),
        sa.PrimaryKeyConstraint("run_id", "number", "position", name=f"pk_{table}"),
        sqlite_with_rowid=False,
    )
