"""Moments and spans of time as text, for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = ((86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes"))


def moment(time_ms: int) -> str:
    """A time, to the minute."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def day(time_ms: int) -> str:
    """The day of a time."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")


def span(length_ms: float) -> str:
    """A length of time in the largest unit of which it has two: `2.5 days`, `36.0 hours`, `7 seconds`."""
    for unit_ms, words in _UNITS:
        if length_ms >= 2 * unit_ms:
            return f"{length_ms / unit_ms:.1f} {words}"
    return f"{length_ms / 1000:.0f} seconds"
