"""Runs migrations on the connection that `evonas.db.migrations` hands over."""

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from evonas.db.migrations import VERSION_TABLE
from evonas.db.models import Run  # with all tables


def plain_type(kind: str, item: Any, autogen_context: object) -> str | Literal[False]:
    """Write our own column types as what they are in SQL: a migration must outlive them."""
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Run.metadata,
    version_table=VERSION_TABLE,
    render_item=plain_type,
    render_as_batch=True,  # SQLite cannot alter most of a table; Alembic then copies it
    transactional_ddl=True,  # also on SQLite, where the store begins transactions itself
)
with context.begin_transaction():
    context.run_migrations()
