"""The counts in memory: a hash table of entities over dense columns, read while it is counted into.

One thread (the follower's) adds; any thread reads. Kernels run without the GIL under a `ReadWriteGuard`,
so no reader sees half of an increment. A batch is added, and a scan is read, in slices: nobody waits for
the guard longer than one slice takes; two entities of one answer may therefore differ by a slice.
Growth copies aside, then swaps under the guard. An entity costs 17 bytes and 4 per counter, or 2 per slot
of a windowed one, times up to 2 for the room to grow, and 24 bytes of hash slots. Refuses entities past
`entities_max` (counted, never an error).
Next: `kernels.py`, `row_kernels.py`; `parts.py` for large requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.chassis.columns.guard import ReadWriteGuard
from services.counter import kernels
from services.counter.counters import Counters
from services.counter.parts import Parts

ENTITIES_HARD_MAX = 1 << 30
# A slot holds its row as int32.
assert ENTITIES_HARD_MAX < 1 << 31


@dataclass(frozen=True, slots=True)
class TableLimits:
    """Bounds of a table."""

    entities_max: int
    """Entities that are counted; later ones are refused."""
    entities_initial: int = 1 << 16
    """Room at the start; grows by doubling."""
    add_slice: int = 20_000
    """Increments counted while readers wait."""
    scan_slice: int = 100_000
    """Rows scanned while the writer waits."""
    part_entities: int = 20_000
    """Entities of one request that are worth a thread."""
    read_threads: int = 1
    """Threads that help with large requests."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Whole rows, copied, aligned."""

    entities: NDArray[np.uint64]
    last_ms: NDArray[np.int64]
    """Time of the newest event, which the decayed values are of and the windows end at."""
    totals: NDArray[np.uint32]
    """Shape (row, total)."""
    decayed: NDArray[np.float32]
    """Shape (row, decayed)."""
    cells: NDArray[np.uint16]
    """Shape (row, cell): the slots of all windowed counters."""


class CounterTable:
    """Counts of entities by counter."""

    def __init__(self, counters: Counters, limits: TableLimits) -> None:
        if not 1 <= limits.entities_max <= ENTITIES_HARD_MAX:
            raise ValueError(f"entities_max is {limits.entities_max}, must be 1 to {ENTITIES_HARD_MAX}")
        self._counters = counters
        self._limits = limits
        self._parts = Parts(part_entities=limits.part_entities, threads=limits.read_threads)
        self._guard = ReadWriteGuard()
        self._count = 0
        self._table = _empty(counters, limits.entities_initial)

    @property
    def entity_count(self) -> int:
        """Entities that have a row."""
        return self._count

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays, room to grow included."""
        table = self._table
        hashed = (table.slot_keys, table.slot_rows, table.entities, table.marks)
        return sum(array.nbytes for array in (*hashed, *table.columns))

    def add(
        self, entities: NDArray[np.uint64], actions: NDArray[np.uint8], times_ms: NDArray[np.int64]
    ) -> tuple[Rows, int]:
        """Count aligned increments in order; returns the rows that changed, and how many were refused.

        For one thread. No entity is 0, no action is `ACTION_COUNT` or more.
        """
        changed: list[NDArray[np.int64]] = []
        refused_count = 0
        for start in range(0, len(entities), self._limits.add_slice):
            part = slice(start, start + self._limits.add_slice)
            dirty, refused = self._add_slice(
                np.ascontiguousarray(entities[part]),
                np.ascontiguousarray(actions[part]),
                np.ascontiguousarray(times_ms[part]),
            )
            changed.append(dirty)
            refused_count += refused
        rows = np.unique(np.concatenate(changed)) if changed else np.empty(0, np.int64)
        return self._copy(rows), refused_count

    def load(self, loaded: Rows) -> int:
        """Append rows of entities that have none yet; returns how many did not fit. For start-up.

        Single-threaded by nature: nobody reads before the service is ready.
        """
        count = min(len(loaded.entities), self._limits.entities_max - self._count)
        self._grow(self._count + count)
        table, start, end = self._table, self._count, self._count + count
        table.entities[start:end] = loaded.entities[:count]
        columns = table.columns
        columns.last_ms[start:end] = loaded.last_ms[:count]
        columns.totals[start:end] = loaded.totals[:count]
        columns.decayed[start:end] = loaded.decayed[:count]
        columns.cells[start:end] = loaded.cells[:count]
        kernels.place_rows(table, np.int64(start), np.int64(end))
        self._count = end
        return len(loaded.entities) - count

    def counts(
        self, asked: NDArray[np.uint64], columns: NDArray[np.int32], *, now_ms: int
    ) -> tuple[NDArray[np.float16], int]:
        """Counts of shape (asked, columns) clipped at 65,504, zeros for the unknown; and how many are known.

        float16 has 11 bits: whole counts are exact to 2,048, above it they are right to 0.05%. A large
        request is shared with other threads; the answer has the same bits.
        """
        bits = np.empty((len(asked), len(columns)), np.uint16)

        def gather(part: slice) -> int:
            found: int = kernels.gather(
                table, self._counters.rules, asked[part], columns, np.int64(now_ms), bits[part]
            )
            return found

        with self._guard.read():
            table = self._table
            found_count = self._parts.sum(len(asked), gather)
        return bits.view(np.float16), found_count

    def column(self, column: int, *, now_ms: int) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """Every entity and its value of one counter, in order of arrival; entities that come meanwhile are
        left out."""
        with self._guard.read():
            count = self._count
        entities = np.empty(count, np.uint64)
        values = np.empty(count, np.float32)
        for start in range(0, count, self._limits.scan_slice):
            part = slice(start, min(start + self._limits.scan_slice, count))
            with self._guard.read():
                table = self._table
                entities[part] = table.entities[part]
                kernels.column_values(
                    table,
                    self._counters.rules,
                    np.int64(start),
                    np.int32(column),
                    np.int64(now_ms),
                    values[part],
                )
        return entities, values

    def close(self) -> None:
        """End the threads of large requests."""
        self._parts.close()

    def _add_slice(
        self, entities: NDArray[np.uint64], actions: NDArray[np.uint8], times_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], int]:
        self._grow(min(self._count + len(entities), self._limits.entities_max))
        dirty = np.empty(len(entities), np.int64)
        increments = kernels.Increments(entities, actions, times_ms)
        rows = kernels.Rows(np.int64(self._count), np.int64(self._limits.entities_max))
        with self._guard.write():
            count, dirty_count, refused_count = kernels.add(
                self._table, increments, self._counters.rules, rows, dirty
            )
            self._count = int(count)
        return dirty[:dirty_count], int(refused_count)

    def _copy(self, rows: NDArray[np.int64]) -> Rows:
        # Without the guard: the only writer is the thread that is here.
        held = self._table
        return Rows(held.entities[rows], *(column[rows] for column in held.columns))

    def _grow(self, count: int) -> None:
        """Make room for `count` rows. Readers go on with the old arrays until the swap."""
        if count <= len(self._table.entities):
            return
        grown, old, used = _empty(self._counters, count), self._table, slice(0, self._count)
        grown.entities[used] = old.entities[used]
        for to, held in zip(grown.columns, old.columns, strict=True):
            to[used] = held[used]
        kernels.place_rows(grown, np.int64(0), np.int64(self._count))
        with self._guard.write():
            self._table = grown


def warm(counters: Counters) -> None:
    """Compile, or load from the cache, every kernel with the dtypes of a real table."""
    table = CounterTable(counters, TableLimits(entities_max=4, entities_initial=1))
    # Three entities, so that it grows once.
    table.add(np.arange(1, 4, dtype=np.uint64), np.ones(3, np.uint8), np.ones(3, np.int64))
    # Requests come as read-only arrays, which are another type to numba than writable ones.
    asked = np.ones(1, np.uint64)
    asked.flags.writeable = False
    columns = counters.columns(counters.names)
    table.counts(asked, columns, now_ms=1)
    table.column(int(columns[0]), now_ms=1)


def _empty(counters: Counters, room: int) -> kernels.Table:
    bits = max(room - 1, 1).bit_length()
    capacity, slots = 1 << bits, 1 << (bits + 1)
    return kernels.Table(
        slot_keys=np.zeros(slots, np.uint64),
        slot_rows=np.zeros(slots, np.int32),
        shift=np.uint64(64 - (bits + 1)),
        entities=np.zeros(capacity, np.uint64),
        marks=np.zeros(capacity, np.uint8),
        columns=counters.rows(capacity),
    )
