"""The index and the order of use of a slab, as numba kernels without the GIL.

An open-addressing table (linear probing, at most half full) leads from an id to its slot; slots hang in a
doubly linked list from the most to the least recently used. Slot 0 is the row of nobody: id 0 leads there,
it is never too old and never evicted. The place in the table comes from the upper bits of mix64: ids of one
shard share the lower ones.
Nothing is checked here, and nothing locked: see `slab.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from services.chassis.columns.mixing import mix64_kernel

COUNT, NEWEST, OLDEST = range(3)
EARLIER, LATER = range(2)


class Index(NamedTuple):
    """Arrays of one slab of `capacity` + 1 slots."""

    table: Any
    """int32, shape (a power of two,): a slot; 0: free."""
    shift: Any
    """uint64: 64 - log2 of the table's size."""
    ids: Any
    """uint64, shape (slot,)."""
    fetched_s: Any
    """float64, shape (slot,): when the row's fetch began, seconds of a monotonic clock."""
    covers: Any
    """int64, shape (slot,): under which token it was fetched (`covers.py`)."""
    links: Any
    """int32, shape (slot, 2): the slot used before it, the one used after it; 0: none."""
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

    Rows that are found become the most recently used. Returns how many were found.
    """
    table, shift, own = index.table, index.shift, index.ids
    fetched_s, covers, links, ends = index.fetched_s, index.covers, index.links, index.ends
    since_s, first_cover, accepted = fresh.since_s, fresh.first_cover, fresh.accepted
    found = 0
    for row in range(len(ids)):
        slot = np.int32(0)
        if ids[row] != np.uint64(0):
            slot = table[_place(table, shift, own, ids[row])]
            good = slot != 0 and fetched_s[slot] > since_s
            if good and len(accepted):
                cover = covers[slot] - first_cover
                good = 0 <= cover < len(accepted) and accepted[cover]
            if not good:
                slots[row] = -1
                continue
            _unlink(links, ends, slot)
            _link(links, ends, slot)
        slots[row] = slot
        found += 1
    return found


@njit(cache=True, nogil=True)
def keep(index: Any, ids: Any, fetched_s: Any, cover: Any, slots: Any) -> Any:
    """Give each of the distinct ids, none of them 0, a slot in `slots`, int32; returns how many made room.

    The last one is the most recently used. There are not more ids than slots.
    """
    table, shift, own, links, ends = index.table, index.shift, index.ids, index.links, index.ends
    evicted = 0
    for row in range(len(ids)):
        slot = table[_place(table, shift, own, ids[row])]
        if slot != 0:
            _unlink(links, ends, slot)
        elif ends[COUNT] + 1 < len(own):
            ends[COUNT] += 1
            slot = np.int32(ends[COUNT])
        else:
            slot = np.int32(ends[OLDEST])
            _unlink(links, ends, slot)
            _forget(table, shift, own, slot)
            evicted += 1
        if own[slot] != ids[row]:
            # Looked up again: what was forgotten may have moved others into the free place.
            own[slot] = ids[row]
            table[_place(table, shift, own, ids[row])] = slot
        _link(links, ends, slot)
        index.fetched_s[slot] = fetched_s
        index.covers[slot] = cover
        slots[row] = slot
    return evicted


@njit(cache=True, nogil=True)
def _place(table: Any, shift: Any, own: Any, id: Any) -> Any:
    """Where in the table the id's slot stands, or would stand."""
    mask = np.uint64(len(table) - 1)
    place = mix64_kernel(id) >> shift
    while table[place] != 0 and own[table[place]] != id:
        place = (place + np.uint64(1)) & mask
    return place


@njit(cache=True, nogil=True)
def _forget(table: Any, shift: Any, own: Any, slot: Any) -> None:
    """Take a slot out of the table; those behind it move up, so that no look-up ends too early."""
    mask = np.uint64(len(table) - 1)
    hole = _place(table, shift, own, own[slot])
    place = hole
    while True:
        place = (place + np.uint64(1)) & mask
        if table[place] == 0:
            break
        home = mix64_kernel(own[table[place]]) >> shift
        # It may stay when its home lies behind the hole, on the way round to where it is.
        if ((place - home) & mask) >= ((place - hole) & mask):
            table[hole] = table[place]
            hole = place
    table[hole] = 0
    own[slot] = np.uint64(0)


@njit(cache=True, nogil=True)
def _unlink(links: Any, ends: Any, slot: Any) -> None:
    earlier, later = links[slot, EARLIER], links[slot, LATER]
    if earlier != 0:
        links[earlier, LATER] = later
    else:
        ends[OLDEST] = later
    if later != 0:
        links[later, EARLIER] = earlier
    else:
        ends[NEWEST] = earlier


@njit(cache=True, nogil=True)
def _link(links: Any, ends: Any, slot: Any) -> None:
    """Make it the most recently used."""
    newest = ends[NEWEST]
    links[slot, EARLIER] = newest
    links[slot, LATER] = 0
    if newest != 0:
        links[newest, LATER] = slot
    else:
        ends[OLDEST] = slot
    ends[NEWEST] = slot
