"""Owns iteration: every iterator of the engine lives in a `Cursor`, and no service ever holds one.

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
from collections.abc import Iterator
from typing import Any

from services.chassis.errors import StorageFault
from services.chassis.storage.options import Family, scan_options

# Rows are taken in growing groups, so a caller who wants one row pays for few and a long scan for none.
ROWS_FIRST = 16
ROWS_GROWTH = 4
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
        self._cursors: set[Cursor] = set()

    def open(
        self, rdict: Any, family: Family, *, start: bytes, end: bytes | None, reverse: bool = False
    ) -> Cursor:
        """Return a cursor before the first row of [start, end), or behind the last one when `reverse`."""
        # One step with its registration: a close that comes between would miss it, and the files
        # would stay locked for as long as the scan lasts.
        with self._lock:
            cursor = Cursor(rdict, family, start=start, end=end, reverse=reverse)
            self._cursors.add(cursor)
        return cursor

    def rows(self, cursor: Cursor) -> Iterator[Row]:
        """Yield the rows of a cursor, and close it at the end, or when the consumer turns away."""
        wanted = ROWS_FIRST
        try:
            while rows := cursor.take(wanted):
                yield from rows
                wanted = min(wanted * ROWS_GROWTH, ROWS_MAX)
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


class Cursor:
    """One engine iterator with the bytes that it points to. Its lock is held while rows are read."""

    __slots__ = ("_bound", "_is_table", "_iterator", "_lock", "_reverse", "_sought", "_start")

    def __init__(self, rdict: Any, family: Family, *, start: bytes, end: bytes | None, reverse: bool) -> None:
        self._lock = threading.Lock()
        self._start = start
        self._bound = end
        self._reverse = reverse
        self._is_table = family.is_table
        self._sought = False
        one_prefix = not reverse and not family.is_table and _has_one_prefix(family, start, end)
        self._iterator: Any = rdict.iter(scan_options(upper_bound=end, one_prefix=one_prefix))

    def take(self, rows_max: int) -> list[Row]:
        """Return the next rows; an empty list is the end. Checks the engine's status there."""
        with self._lock:
            iterator = self._iterator
            if iterator is None:
                raise StorageFault("the store was closed, or opened again, during a scan")
            if not self._sought:
                self._seek(iterator)
                self._sought = True
            return self._take_back(iterator, rows_max) if self._reverse else _take_ahead(iterator, rows_max)

    def _seek(self, iterator: Any) -> None:
        if self._reverse and self._bound is not None:
            iterator.seek_for_prev(self._bound)
        elif self._reverse:
            iterator.seek_to_last()
        elif self._is_table:
            # A plain table cannot seek in total order, only start at its first key.
            iterator.seek_to_first()
            while iterator.valid() and iterator.key() < self._start:
                iterator.next()
        else:
            iterator.seek(self._start)

    def _take_back(self, iterator: Any, rows_max: int) -> list[Row]:
        rows: list[Row] = []
        size_bytes = 0
        while len(rows) < rows_max and size_bytes < GROUP_BYTES_MAX:
            if not iterator.valid():
                iterator.status()
                break
            key = iterator.key()
            if key < self._start:
                break
            value = iterator.value()
            rows.append((key, value))
            size_bytes += len(value)
            iterator.prev()
        return rows

    def close(self) -> None:
        """Drop the iterator, then the bound that it points to."""
        with self._lock:
            self._iterator = None
            self._bound = None


def _take_ahead(iterator: Any, rows_max: int) -> list[Row]:
    # The inner loop of every scan: bound methods and no branch that a row does not need.
    rows: list[Row] = []
    size_bytes = 0
    valid, key_of, value_of, step, keep = (
        iterator.valid,
        iterator.key,
        iterator.value,
        iterator.next,
        rows.append,
    )
    for _ in range(rows_max):
        if not valid():
            iterator.status()
            break
        value = value_of()
        keep((key_of(), value))
        step()
        size_bytes += len(value)
        if size_bytes >= GROUP_BYTES_MAX:
            break
    return rows


def _has_one_prefix(family: Family, start: bytes, end: bytes | None) -> bool:
    size = family.prefix_bytes
    if not size or len(start) < size or end is None:
        return False
    head = start[:size]
    return end[:size] == head or end == successor(head)
