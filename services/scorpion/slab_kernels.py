"""The index and the order of use of a slab, as numba kernels without the GIL.

An open-addressing table (linear probing, at most half full) leads from an id to its slot; slots hang in a
doubly linked list from the most to the least recently used. Slot 0 is the row of nobody: id 0 leads there,
it is never too old and never evicted. The place in the table comes from the upper bits of mix64: ids of one
shard share the lower ones.
Nothing is checked here, and nothing locked: see `slab.py`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from services.chassis.columns.mixing import mix64_kernel
from services.chassis.columns.prefetch import prefetch

COUNT, NEWEST, OLDEST = range(3)

ROW: Final = np.dtype(
    [
        ("id", "u8"),
        ("fetched_s", "f8"),  # when the row's fetch began, seconds of a monotonic clock
        ("cover", "i8"),  # under which token it was fetched (`covers.py`)
        ("earlier", "i4"),  # the slot that was used before it; 0: none
        ("later", "i4"),  # the slot that was used after it; 0: none
    ]
)
"""What the index knows of a slot: half a cache line."""
assert ROW.itemsize == 32

AHEAD: Final = 32
"""Look-ups whose cache lines are asked for before the first is needed."""


class Index(NamedTuple):
    """Arrays of one slab of `capacity` + 1 slots."""

    table: Any
    """int32, shape (a power of two,): a slot; 0: free."""
    shift: Any
    """uint64: 64 - log2 of the table's size."""
    rows: Any
    """`ROW`, shape (slot,)."""
    ends: Any
    """int64, shape (3,): slots in use, the most recently used one, the least recently used one."""


class Fresh(NamedTuple):
    """Which rows may be used."""

    since_s: Any
    """float64: those whose fetch began after this time."""
    first_cover: Any
    """int64: the cover of the first of `accepted`."""
    accepted: Any
    """bool, by cover; empty: any cover will do."""


@njit(cache=True, nogil=True)
def find(index: Any, ids: Any, fresh: Any, slots: Any) -> Any:
    """Fill `slots`, int32 (row,): where each id's row is, −1 where it is not, or not fresh enough.

    Rows that are found become the most recently used. Returns how many were found. In a large slab each
    look-up misses the processor's caches five times; asked for ahead, these misses overlap.
    """
    table, shift, rows, ends = index.table, index.shift, index.rows, index.ends
    since_s, first_cover, accepted = fresh.since_s, fresh.first_cover, fresh.accepted
    found = 0
    for start in range(0, len(ids), AHEAD):
        end = min(start + AHEAD, len(ids))
        _ask_ahead(table, shift, rows, ids[start:end])
        for row in range(start, end):
            slot = np.int32(0)
            if ids[row] != np.uint64(0):
                slot = table[_place(table, shift, rows, ids[row])]
                good = slot != 0 and rows[slot].fetched_s > since_s
                if good and len(accepted):
                    cover = rows[slot].cover - first_cover
                    good = 0 <= cover < len(accepted) and accepted[cover]
                if not good:
                    slots[row] = -1
                    continue
                _unlink(rows, ends, slot)
                _link(rows, ends, slot)
            slots[row] = slot
            found += 1
    return found


@njit(cache=True, nogil=True)
def _ask_ahead(table: Any, shift: Any, rows: Any, ids: Any) -> None:
    """Bring what `find` will read of these ids: the table, the slots, and their neighbours in order of use.

    Guesses that an id is where its hash says; a wrong guess costs a wait, nothing else.
    """
    for row in range(len(ids)):
        prefetch(table, np.int64(mix64_kernel(ids[row]) >> shift))
    for row in range(len(ids)):
        prefetch(rows, np.int64(table[mix64_kernel(ids[row]) >> shift]))
    for row in range(len(ids)):
        slot = table[mix64_kernel(ids[row]) >> shift]
        prefetch(rows, np.int64(rows[slot].earlier))
        prefetch(rows, np.int64(rows[slot].later))


@njit(cache=True, nogil=True)
def keep(index: Any, ids: Any, fetched_s: Any, cover: Any, slots: Any) -> Any:
    """Give each of the distinct ids, none of them 0, a slot in `slots`, int32; returns how many made room.

    The last one is the most recently used. There are not more ids than slots.
    """
    table, shift, rows, ends = index.table, index.shift, index.rows, index.ends
    evicted = 0
    for row in range(len(ids)):
        slot = table[_place(table, shift, rows, ids[row])]
        if slot != 0:
            _unlink(rows, ends, slot)
        elif ends[COUNT] + 1 < len(rows):
            ends[COUNT] += 1
            slot = np.int32(ends[COUNT])
        else:
            slot = np.int32(ends[OLDEST])
            _unlink(rows, ends, slot)
            _forget(table, shift, rows, slot)
            evicted += 1
        if rows[slot].id != ids[row]:
            # Looked up again: what was forgotten may have moved others into the free place.
            rows[slot].id = ids[row]
            table[_place(table, shift, rows, ids[row])] = slot
        _link(rows, ends, slot)
        rows[slot].fetched_s = fetched_s
        rows[slot].cover = cover
        slots[row] = slot
    return evicted


@njit(cache=True, nogil=True)
def _place(table: Any, shift: Any, rows: Any, id: Any) -> Any:
    """Where in the table the id's slot stands, or would stand."""
    mask = np.uint64(len(table) - 1)
    place = mix64_kernel(id) >> shift
    while table[place] != 0 and rows[table[place]].id != id:
        place = (place + np.uint64(1)) & mask
    return place


@njit(cache=True, nogil=True)
def _forget(table: Any, shift: Any, rows: Any, slot: Any) -> None:
    """Take a slot out of the table; those behind it move up, so that no look-up ends too early."""
    mask = np.uint64(len(table) - 1)
    hole = _place(table, shift, rows, rows[slot].id)
    place = hole
    while True:
        place = (place + np.uint64(1)) & mask
        if table[place] == 0:
            break
        home = mix64_kernel(rows[table[place]].id) >> shift
        # It may stay when its home lies behind the hole, on the way round to where it is.
        if ((place - home) & mask) >= ((place - hole) & mask):
            table[hole] = table[place]
            hole = place
    table[hole] = 0
    rows[slot].id = np.uint64(0)


@njit(cache=True, nogil=True)
def _unlink(rows: Any, ends: Any, slot: Any) -> None:
    earlier, later = rows[slot].earlier, rows[slot].later
    if earlier != 0:
        rows[earlier].later = later
    else:
        ends[OLDEST] = later
    if later != 0:
        rows[later].earlier = earlier
    else:
        ends[NEWEST] = earlier


@njit(cache=True, nogil=True)
def _link(rows: Any, ends: Any, slot: Any) -> None:
    """Make it the most recently used."""
    newest = np.int32(ends[NEWEST])
    rows[slot].earlier = newest
    rows[slot].later = 0
    if newest != 0:
        rows[newest].later = slot
    else:
        ends[OLDEST] = slot
    ends[NEWEST] = slot
