"""One column of a row as a value; a faulty one says what is expected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.cli.load.faults import RowFault

Row = Mapping[str, Any]


def text_of(row: Row, column: str) -> str:
    """Text; empty when absent."""
    written = row.get(column)
    if written is None:
        return ""
    if not isinstance(written, str | int | float):
        raise RowFault(f"{column} is {written!r}; it must be text")
    return str(written)


def list_of(row: Row, column: str) -> list[Any]:
    """A JSON list, or text with `;` between the items (CSV); empty when absent."""
    written = row.get(column)
    if written is None or written == "":
        return []
    if isinstance(written, str):
        return [part.strip() for part in written.split(";") if part.strip()]
    if isinstance(written, list):
        return written
    raise RowFault(f"{column} is {written!r}; it must be a list, or text with ; between the items")


def number_of(row: Row, column: str, *, least: float, most: float, default: float) -> float:
    """A finite number of `least` to `most`."""
    written = row.get(column)
    if written is None or written == "":
        return default
    try:
        number = float(written)
    except (TypeError, ValueError) as fault:
        raise RowFault(f"{column} is {written!r}; it must be a number") from fault
    if not least <= number <= most or not math.isfinite(number):
        raise RowFault(f"{column} is {written}; it must be a finite number of {least} to {most}")
    return number


def flag_of(row: Row, column: str) -> bool:
    """True or false; false when absent."""
    written = row.get(column)
    if written is None or written == "":
        return False
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    flag = known.get(str(written).lower())
    if flag is None:
        raise RowFault(f"{column} is {written!r}; it must be true or false")
    return flag


def time_of(row: Row, column: str, *, default_ms: int) -> int:
    """Milliseconds since 1970, from a number or ISO 8601."""
    written = row.get(column)
    if written is None or written == "":
        return default_ms
    if isinstance(written, int) or (isinstance(written, str) and written.isdecimal()):
        return int(written)
    try:
        parsed = datetime.fromisoformat(str(written))
    except ValueError as fault:
        raise RowFault(
            f"{column} is {written!r}; write milliseconds since 1970 or ISO 8601 (2026-03-01T12:00:00Z)"
        ) from fault
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def one_of(row: Row, *columns: str) -> str:
    """The one of these columns that is given."""
    given = [column for column in columns if row.get(column) not in (None, "")]
    if len(given) != 1:
        raise RowFault(f"{' and '.join(given) or 'none'} of {', '.join(columns)} is given; give one")
    return given[0]
