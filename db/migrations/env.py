"""Runs migrations on the connection that `evonas.db.migrations` passes to Alembic."""

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from evonas.db.migrations import VERSION_TABLE
from evonas.db.models import Run  # its metadata has all tables


def plain_type(kind: str, item: Any, autogen_context: object) -> str | Literal[False]:
    """Write our own column types as the SQL types that they wrap, so that a migration does not depend on them."""
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Run.metadata,
    version_table=VERSION_TABLE,
    render_item=plain_type,
    render_as_batch=True,  # SQLite supports few changes to a table, so Alembic copies it
    transactional_ddl=True,  # on SQLite as well, where the store begins transactions itself
)
with context.begin_transaction():
    context.run_migrations()
