"""What published layers have at the filters of a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    op.create_table(
        "checkpoint_values",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("chance", sa.Double(), nullable=True),
        sa.Column("images", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_checkpoint_values_runs"),
        sa.PrimaryKeyConstraint("run_id", "layer", "position", name="pk_checkpoint_values"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("checkpoint_values")
