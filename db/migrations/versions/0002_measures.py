"""Further objectives of scored candidates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    op.create_table(
        "measures",
        *(
            sa.Column(name, sa.Integer(), autoincrement=False, nullable=False)
            for name in ("run_id", "number", "position")
        ),
        sa.Column("objective", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id", "number"], ["evaluations.run_id", "evaluations.number"], name="fk_measures_evaluations"
        ),
        sa.PrimaryKeyConstraint("run_id", "number", "position", name="pk_measures"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("measures")
