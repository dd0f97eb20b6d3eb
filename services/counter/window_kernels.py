"""Counts of the last hours, as a ring of slots in each row: what one event does to it, and its sum.

Time is cut into slots of `slot_ms` since 1970; slot n lies in cell n mod the ring's slots. The ring ends at
the slot of the row's newest event, `last_ms`, so it needs no position of its own. When a newer event comes,
the cells between are emptied; a late one goes to its own slot, or nowhere when the ring no longer reaches
it. At time t the answer is the sum of t's slot and of those before it that the ring has: with 12 slots of two
hours, of the last 22 to 24 hours, never of more. An event stamped ahead moves the ring on, so the slot that
it takes is missing until its time has come.

Cells are uint16 and stop at 65,535: two bytes a slot instead of four, and nothing is lost in float16, which
ends at 65,504 anyway. In float32 (`GetTop`) it shows.
"""
# ruff: noqa: PLR0917  kernels take their columns by position

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

CELL_MAX = np.int64(0xFFFF)


@njit(cache=True, nogil=True, inline="always")
def count_in_ring(cells: Any, row: Any, ring: Any, last_ms: Any, time_ms: Any, weight: Any) -> None:
    """Add `weight` (int64, not below 0) to the slot of `time_ms` in the row's ring, which ends at `last_ms`.

    `cells` is uint16 of shape (row, cell), `ring` is (first cell, slots, slot_ms). The caller moves the row's
    `last_ms` on afterwards, also for an event of weight 0.
    """
    first, slot_count, slot_ms = ring
    newest, slot = last_ms // slot_ms, time_ms // slot_ms
    if slot > newest:
        for emptied in range(max(newest + 1, slot - slot_count + 1), slot + 1):
            cells[row, first + emptied % slot_count] = 0
    if weight > 0 and slot > newest - slot_count:
        cell = first + slot % slot_count
        held = np.int64(cells[row, cell])
        cells[row, cell] = held + min(weight, CELL_MAX - held)


@njit(cache=True, nogil=True, inline="always")
def ring_sum(cells: Any, row: Any, ring: Any, last_ms: Any, now_ms: Any) -> Any:
    """What the window holds at `now_ms`, int64. Events after `now_ms` count as if they were now.

    For a time before the newest event, what the ring has let go since is missing.
    """
    first, slot_count, slot_ms = ring
    newest = last_ms // slot_ms
    kept = slot_count - max(now_ms // slot_ms - newest, 0)
    total = np.int64(0)
    if kept > 0:
        # The newest `kept` slots, in one piece or two.
        start = (newest + slot_count + 1 - kept) % slot_count
        for cell in range(first + start, first + min(start + kept, slot_count)):
            total += np.int64(cells[row, cell])
        for cell in range(first, first + start + kept - slot_count):
            total += np.int64(cells[row, cell])
    return total
