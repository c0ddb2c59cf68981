"""Trainings that follow a run's search."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    op.create_table(
        "retrainings",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("layer", "stage", "anchor")),
        sa.Column("steps", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("held_out", sa.Double(), nullable=False),
        sa.Column("seed", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_retrainings_runs"),
        sa.ForeignKeyConstraint(
            ["run_id", "number"], ["candidates.run_id", "candidates.number"], name="fk_retrainings_candidates"
        ),
        sa.PrimaryKeyConstraint(
            "run_id", "layer", "stage", "anchor", "steps", "held_out", "seed", name="pk_retrainings"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_retrainings_run_id_number", "retrainings", ["run_id", "number"])


def downgrade() -> None:
    op.drop_table("retrainings")
