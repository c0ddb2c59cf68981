"""Where a run's time went, what candidates respond at the start of training, and indices that grow at their ends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    op.create_table(
        "run_times",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("activity", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_times_runs"),
        sa.PrimaryKeyConstraint("run_id", "activity", name="pk_run_times"),
        sqlite_with_rowid=False,
    )
    op.add_column("candidates", sa.Column("start", sa.LargeBinary(), nullable=True))
    op.add_column("evaluations", sa.Column("wall", sa.Double(), nullable=True))
    op.drop_index("ix_candidates_run_id_key", "candidates")
    op.drop_index("ix_candidates_run_id_parent", "candidates")
    op.drop_index("ix_evaluations_run_id_status_mean", "evaluations")
    op.drop_index("ix_drawing_totals", "drawing")
    op.create_index("ix_drawing_by_filter", "drawing", ["run_id", "filter", "number", "discarded", "timed", "seconds"])
    op.drop_index("ix_filter_outcomes_totals", "filter_outcomes")
    op.create_index(
        "ix_filter_outcomes_by_filter",
        "filter_outcomes",
        ["run_id", "filter", "accepted", "reason", "number", "position", "seconds"],
    )


def downgrade() -> None:
    op.drop_index("ix_filter_outcomes_by_filter", "filter_outcomes")
    op.create_index(
        "ix_filter_outcomes_totals",
        "filter_outcomes",
        ["run_id", "filter", "accepted", "reason", "position", "seconds"],
    )
    op.drop_index("ix_drawing_by_filter", "drawing")
    op.create_index("ix_drawing_totals", "drawing", ["run_id", "filter", "discarded", "timed", "seconds"])
    op.create_index("ix_evaluations_run_id_status_mean", "evaluations", ["run_id", "status", "mean"])
    op.create_index("ix_candidates_run_id_parent", "candidates", ["run_id", "parent"])
    op.create_index("ix_candidates_run_id_key", "candidates", ["run_id", "key"])
    op.drop_column("evaluations", "wall")
    op.drop_column("candidates", "start")
    op.drop_table("run_times")
