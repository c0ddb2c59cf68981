"""Who is at work on a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    op.create_table(
        "coordinators",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("place", "started")),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("since", "heard")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_coordinators_runs"),
        sa.PrimaryKeyConstraint("run_id", name="pk_coordinators"),
    )


def downgrade() -> None:
    op.drop_table("coordinators")
