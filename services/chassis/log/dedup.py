"""The last record ids of every partition, so that a retried Publish counts once.

The window is exact: the last `window` distinct ids of a partition, in offset order, so two replicas that
have applied the same offset drop the same duplicates. In memory: per partition an open-addressing table
and a ring, 24 bytes for each id of the window rounded up to a power of two (8,192: 192 KiB a partition,
12 MiB a topic of 64), touched only as it fills. On disk: one row of packed ids per partition and batch,

    family `system`:  "dedup|" topic "|" partition >H, offset after the batch >Q  ->  ids, packed uint64

written in the batch that applies the records, deleted when younger rows cover the window.
Does not guarantee anything beyond the window: a retry that comes later counts again.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.chassis.columns.packed import pack_u64, unpack_u64
from services.chassis.log.log import TopicPartition
from services.chassis.log.offsets import SYSTEM
from services.chassis.storage.batch import Batch
from services.chassis.storage.store import Store

_PLACE = struct.Struct(">H")
_OFFSET = struct.Struct(">Q")


class RecentIds:
    """Windows of the partitions in `places`; a row index is a place's index in it. For one thread."""

    def __init__(self, places: Sequence[TopicPartition], *, window: int) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        rows = len(places)
        self._prefixes = [_prefix(place) for place in places]
        self._window = window
        table = 1 << (2 * window - 1).bit_length()
        assert table >= 2 * window, "probing needs free slots: a full table would never end a search"
        self._tables = np.zeros((rows, table), dtype=np.uint64)
        self._rings = np.zeros((rows, window), dtype=np.uint64)
        self._heads = np.zeros(rows, dtype=np.int64)
        self._counts = np.zeros(rows, dtype=np.int64)
        # Rows on disk, oldest first: (key, ids in it). Small ints and short keys, at most `window` of them.
        self._saved: list[deque[tuple[bytes, int]]] = [deque() for _ in range(rows)]
        self._saved_counts = [0] * rows
        self.admit(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64))

    def load(self, store: Store) -> None:
        """Read the windows back, as they were after the last written batch."""
        for row, prefix in enumerate(self._prefixes):
            for key, value in store.scan_prefix(SYSTEM, prefix):
                ids = unpack_u64(value, field="dedup")
                self.admit(np.full(ids.size, row, dtype=np.int64), ids)
                self._saved[row].append((key, ids.size))
                self._saved_counts[row] += ids.size

    def admit(self, rows: NDArray[np.int64], ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Add ids in order; True where the id was not in its row's window, False for a duplicate."""
        fresh = np.empty(ids.size, dtype=np.bool_)
        _admit(self._tables, self._rings, self._heads, self._counts, rows, ids, fresh)
        return fresh

    def save(self, batch: Batch, *, row: int, ids: NDArray[np.uint64], next_offset: int) -> None:
        """Put the ids that were admitted for `row` into the batch that applies their records."""
        if not ids.size:
            return
        key = self._prefixes[row] + _OFFSET.pack(next_offset)
        batch.put(SYSTEM, key, pack_u64(ids))
        saved = self._saved[row]
        saved.append((key, ids.size))
        count = self._saved_counts[row] + ids.size
        while count - saved[0][1] >= self._window:
            old_key, old_count = saved.popleft()
            batch.delete(SYSTEM, old_key)
            count -= old_count
        self._saved_counts[row] = count


def _prefix(place: TopicPartition) -> bytes:
    topic, partition = place
    return b"dedup|" + topic.encode() + b"|" + _PLACE.pack(partition)


@njit(cache=True, nogil=True)
def _admit(tables, rings, heads, counts, rows, ids, fresh):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Linear probing with deletion by backward shift; 0 marks a free slot, so id 0 is kept as 1."""
    mask = np.int64(tables.shape[1] - 1)
    window = rings.shape[1]
    for i in range(ids.size):
        row = rows[i]
        table = tables[row]
        id = ids[i]
        if id == np.uint64(0):
            id = np.uint64(1)
        slot = np.int64(id & np.uint64(mask))
        while table[slot] != np.uint64(0) and table[slot] != id:
            slot = (slot + 1) & mask
        fresh[i] = table[slot] == np.uint64(0)
        if not fresh[i]:
            continue
        head = heads[row]
        if counts[row] == window:
            _remove(table, mask, rings[row, head])
            # The shift may have freed a slot nearer to the id's home.
            slot = np.int64(id & np.uint64(mask))
            while table[slot] != np.uint64(0):
                slot = (slot + 1) & mask
        else:
            counts[row] += 1
        table[slot] = id
        rings[row, head] = id
        heads[row] = (head + 1) % window


@njit(cache=True, nogil=True)
def _remove(table, mask, id):  # type: ignore[no-untyped-def]
    hole = np.int64(id & np.uint64(mask))
    while table[hole] != id:
        hole = (hole + 1) & mask
    slot = hole
    while True:
        slot = (slot + 1) & mask
        moved = table[slot]
        if moved == np.uint64(0):
            break
        home = np.int64(moved & np.uint64(mask))
        # Move back what would no longer be found past the hole: its home is not between hole and slot.
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            table[hole] = moved
            hole = slot
    table[hole] = np.uint64(0)
