"""What tables share: their base, and types of columns, of which databases do not agree on some."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isnan, nan
from typing import Annotated, Any

from sqlalchemy import DateTime, Dialect, Double, ForeignKeyConstraint, Index, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC, on databases that keep time zones and on those that do not."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """See SQLAlchemy."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """See SQLAlchemy."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class NanAsNull(TypeDecorator[float]):
    """A double in which NaN is kept as NULL: SQLite has no NaN, and SQL's aggregates pass over NULL."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """See SQLAlchemy."""
        return None if value is None or isnan(value) else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        """See SQLAlchemy."""
        # SQLite keeps text in a column of numbers too, if another program writes it.
        return nan if value is None else float(value)


NullableNumber = Annotated[float, mapped_column(NanAsNull, nullable=True)]
PrimaryKey = Annotated[int, mapped_column(primary_key=True, autoincrement=False)]
Name = Annotated[str, mapped_column(Text, primary_key=True)]


class Base(DeclarativeBase):
    """Base of the models. Constraints are named, because a migration can only drop what has a name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, datetime: UtcTime, float: Double}  # noqa: RUF012  SQLAlchemy's own name


def part_of(table: str, *indices: Index) -> tuple[Any, ...]:
    """Arguments of a table whose rows belong to a candidate or an evaluation.

    Such a table is stored in the order of its key on SQLite, which halves its size.
    """
    parent = ForeignKeyConstraint(["run_id", "number"], [f"{table}.run_id", f"{table}.number"])
    return (parent, *indices, {"sqlite_with_rowid": False})
