"""Owns the kernels that tidy the arena: laying it out anew without waste, and cutting the longest boards.

`lay_out` reads the old arena and fills a new one, so it runs while readers go on reading the old one.
`cut_boards` shortens boards from their worst end, in place, under the writer's lock.
Next: `arena.py`.
"""

# ruff: noqa: PLR0917  kernels take their columns by position
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from services.polaris.arena_changes import PIN_COUNT, copy_slots


@njit(cache=True, nogil=True)
def lay_out(
    pins: Any, boards: Any, row_count: Any, new_pins: Any, new_boards: Any, pins_per_board_max: Any
) -> Any:
    """Copy every board into `new_pins` with room for a fourth more; return the first free slot.

    `new_boards` is a copy of `boards`, of which starts and capacities are set. The caller made the new
    arena large enough: 5/4 of the pins and 4 slots a board.
    """
    tail = np.int64(0)
    for row in range(row_count):
        if boards[row].id == 0:
            continue
        count = np.int64(boards[row].count)
        capacity = np.int64(0)
        if count:
            capacity = min(count + (count >> 2) + 4, max(count, pins_per_board_max))
        copy_slots(pins, boards[row].start, new_pins, tail, count)
        new_boards[row].start = tail
        new_boards[row].capacity = capacity
        tail += capacity
    return tail


@njit(cache=True, nogil=True)
def cut_boards(
    pins: Any, boards: Any, counters: Any, level: Any, cut_boards_out: Any, cut_pins_out: Any
) -> Any:
    """Take the worst pins off boards with more than `level`; return how many were taken.

    The taken pins and their boards are written to the two uint64 arrays; it stops when these are full.
    """
    cut = 0
    for row in range(counters[0]):
        if boards[row].id == 0:
            continue
        while boards[row].count > level:
            if cut == cut_pins_out.size:
                return cut
            boards[row].count -= 1
            cut_boards_out[cut] = boards[row].id
            cut_pins_out[cut] = pins.ids[boards[row].start + boards[row].count]
            counters[PIN_COUNT] -= 1
            cut += 1
    return cut
