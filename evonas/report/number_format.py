"""Durations, accuracies and sizes as text for people, in the report and on the command line."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A duration such as "1 h 05 min", "3 min 20 s", "12 s" or "0.4 s".

    Args:
        seconds: the duration, at least 0. From ten seconds on it is rounded to whole seconds, from one hour on the
            seconds are left out.
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def accuracy(value: float | None) -> str:
    """An accuracy with three decimals; a dash for None and NaN."""
    return "–" if value is None or value != value else f"{value:.3f}"


def mebibytes(size: float) -> str:
    """A number of bytes in MiB."""
    return f"{size / 2**20:,.0f} MiB"
