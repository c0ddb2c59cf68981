"""Types of columns that databases do not agree on, and short names for those that tables share."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isnan, nan
from typing import Annotated

from sqlalchemy import DateTime, Dialect, Double, Text
from sqlalchemy.orm import mapped_column
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


Number = Annotated[float, mapped_column(NanAsNull, nullable=True)]
Key = Annotated[int, mapped_column(primary_key=True, autoincrement=False)]
Name = Annotated[str, mapped_column(Text, primary_key=True)]
