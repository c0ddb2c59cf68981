"""The base class of the tables, and column types that behave alike in all databases."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isnan, nan
from typing import Annotated, Any

from sqlalchemy import DateTime, Dialect, Double, ForeignKeyConstraint, Index, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeDecorator
from typing_extensions import override


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC, also in databases that do not store time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class NanAsNull(TypeDecorator[float]):
    """A double that stores NaN as NULL: SQLite has no NaN, and SQL's aggregate functions ignore NULL."""

    impl = Double
    cache_ok = True

    @override
    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or isnan(value) else float(value)

    @override
    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        # SQLite also stores text in a column of numbers, if another program writes it.
        return nan if value is None else float(value)


NullableNumber = Annotated[float, mapped_column(NanAsNull, nullable=True)]
PrimaryKey = Annotated[int, mapped_column(primary_key=True, autoincrement=False)]
Name = Annotated[str, mapped_column(Text, primary_key=True)]


class Base(DeclarativeBase):
    """The base class of the models. Constraints are named, because a migration can only drop named ones."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, datetime: UtcTime, float: Double}  # noqa: RUF012  SQLAlchemy's own name


def part_of(table: str, *indices: Index) -> tuple[Any, ...]:
    """The `__table_args__` of a table whose rows belong to a candidate or an evaluation.

    SQLite stores such a table in the order of its key, which halves its size.

    Args:
        table: the parent table, "candidates" or "evaluations".
        indices: further indices of the table.
    """
    parent = ForeignKeyConstraint(["run_id", "number"], [f"{table}.run_id", f"{table}.number"])
    return (parent, *indices, {"sqlite_with_rowid": False})
