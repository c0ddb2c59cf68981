"""Numbers for people to read."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds as "1 h 05 min", "3 min 20 s", "12 s" or "0.4 s"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def number(value: float | None) -> str:
    """An accuracy with three digits; a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.3f}"


def megabytes(size: float) -> str:
    """Bytes in MiB."""
    return f"{size / 2**20:,.0f} MiB"
