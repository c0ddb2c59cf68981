"""Where a run's time went, and what candidates respond at the start of training."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"


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


def downgrade() -> None:
    op.drop_column("evaluations", "wall")
    op.drop_column("candidates", "start")
    op.drop_table("run_times")
