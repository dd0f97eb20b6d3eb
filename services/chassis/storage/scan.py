"""Owns iteration: every iterator of the engine lives in a `_Cursor`, and none leaves this module.

What the engine's iterators do wrong when used plainly, and what is done here:
    a bound is a pointer to bytes that nobody keeps alive   the cursor keeps iterator and bound together
    "lower bound" sets the upper bound                      never used: seek, and compare on the way back
    an open iterator keeps the database open after close    `LiveScans.close` drops them, running or not
    iteration ends quietly at a corrupt block               the status is read at the end of every scan
    a prefix filter hides rows of a wider range             total order unless the range has one prefix
A scan that is cut off by a close raises StorageFault: rows are never left out in silence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from services.chassis.errors import StorageFault
from services.chassis.storage.options import Family, scan_options

# Rows are taken in growing groups, so a caller who wants one row pays for few and a long scan for none.
ROWS_FIRST = 8
ROWS_MAX = 256
GROUP_BYTES_MAX = 1 << 20

Row = tuple[bytes, bytes]


def successor(prefix: bytes) -> bytes | None:
    """Return the first key after all that start with `prefix`; None when it is empty or all 0xFF."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else None


class LiveScans:
    """The cursors that are open now, so that a close can end them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursors: set[_Cursor] = set()

    def rows(
        self, open_cursor: Callable[[], _Cursor], fault: Callable[[Exception], Exception]
    ) -> Iterator[Row]:
        """Yield the rows of a cursor that is opened now, at the first `next`, and closed at the end."""
        cursor = open_cursor()
        with self._lock:
            self._cursors.add(cursor)
        wanted = ROWS_FIRST
        try:
            while True:
                try:
                    rows = cursor.take(wanted)
                except Exception as error:
                    raise fault(error) from error
                if not rows:
                    return
                yield from rows
                wanted = min(wanted * 2, ROWS_MAX)
        finally:
            cursor.close()
            with self._lock:
                self._cursors.discard(cursor)

    def close(self) -> None:
        """End every open scan; its consumer gets StorageFault at the next row group."""
        with self._lock:
            cursors = list(self._cursors)
        for cursor in cursors:
            cursor.close()

    def __len__(self) -> int:
        with self._lock:
            return len(self._cursors)


class _Cursor:
    """One engine iterator with the bytes that it points to. Its lock is held while rows are read."""

    __slots__ = ("_bound", "_end", "_iterator", "_lock", "_rest", "_reverse", "_start")

    def __init__(
        self, rdict: Any, family: Family, *, start: bytes, end: bytes | None, reverse: bool = False
    ) -> None:
        self._lock = threading.Lock()
        self._start = start
        self._end = end
        self._reverse = reverse
        self._rest = False
        self._bound = end
        one_prefix = not reverse and not family.is_table and _has_one_prefix(family, start, end)
        self._iterator: Any = rdict.iter(scan_options(upper_bound=end, one_prefix=one_prefix))
        if reverse and end is not None:
            self._iterator.seek_for_prev(end)
        elif reverse:
            self._iterator.seek_to_last()
        elif family.is_table:
            # A plain table cannot seek in total order, only start at its first key.
            self._iterator.seek_to_first()
            self._rest = True
        else:
            self._iterator.seek(start)

    def take(self, rows_max: int) -> list[Row]:
        """Return the next rows; an empty list is the end. Checks the engine's status there."""
        with self._lock:
            iterator = self._iterator
            if iterator is None:
                raise StorageFault("the store was closed during a scan")
            rows: list[Row] = []
            size_bytes = 0
            valid, key_of, value_of = iterator.valid, iterator.key, iterator.value
            step = iterator.prev if self._reverse else iterator.next
            while valid():
                key = key_of()
                if self._reverse and key < self._start:
                    return rows
                if self._rest and key < self._start:
                    step()
                    continue
                value = value_of()
                rows.append((key, value))
                step()
                size_bytes += len(value)
                if len(rows) >= rows_max or size_bytes >= GROUP_BYTES_MAX:
                    return rows
            iterator.status()
            return rows

    def close(self) -> None:
        """Drop the iterator, then the bound that it points to."""
        with self._lock:
            self._iterator = None
            self._bound = None


def open_cursor(
    rdict: Any, family: Family, *, start: bytes, end: bytes | None, reverse: bool = False
) -> _Cursor:
    """Return a cursor before the first row of [start, end), or behind the last one when `reverse`."""
    return _Cursor(rdict, family, start=start, end=end, reverse=reverse)


def _has_one_prefix(family: Family, start: bytes, end: bytes | None) -> bool:
    size = family.prefix_bytes
    if not size or len(start) < size or end is None:
        return False
    head = start[:size]
    return end[:size] == head or end == successor(head)
