"""Owns the way from a board's id to its row: an open-addressing table, as kernels.

`table` is an int32 array whose size is a power of two, of rows of the board array, -1 where empty; linear
probing. The place comes from the *high* bits of mix64, because the low ones are the shard: a process that
serves one shard of 64 would crowd one place in 64. Removal shifts entries back, so there are no
tombstones and a probe ends at the first empty place. The caller keeps the table at most half full.
Next: `arena_changes.py` (who writes), `retrieval_kernels.py` (who reads).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from services.chassis.columns.mixing import mix64_kernel

BOARD = np.dtype(
    [
        ("id", np.uint64),  # 0: the row is free
        ("owner", np.uint64),  # 0: unknown
        ("start", np.int64),  # first slot in the arena; of a free row, the next free row
        ("count", np.int32),  # pins, best key first
        ("capacity", np.int32),  # slots
    ]
)
assert BOARD.itemsize == 32, "two boards a cache line: a lookup costs one miss, not one for each field"


@njit(cache=True, nogil=True, inline="always")
def _home(table: Any, board: Any) -> Any:
    # The high 31 bits, scaled by the mask: table sizes stay under 2^31.
    return np.int64(mix64_kernel(np.uint64(board)) >> np.uint64(33)) & np.int64(table.size - 1)


@njit(cache=True, nogil=True)
def find_row(boards: Any, table: Any, board: Any) -> Any:
    """The row of a board (uint64), -1 when it is not known."""
    mask = table.size - 1
    place = _home(table, board)
    while table[place] >= 0:
        if boards[table[place]].id == board:
            return np.int64(table[place])
        place = (place + 1) & mask
    return np.int64(-1)


@njit(cache=True, nogil=True)
def enter_row(boards: Any, table: Any, row: Any) -> None:
    """Enter a row whose id is not in the table yet."""
    mask = table.size - 1
    place = _home(table, boards[row].id)
    while table[place] >= 0:
        place = (place + 1) & mask
    table[place] = row


@njit(cache=True, nogil=True)
def drop_row(boards: Any, table: Any, row: Any) -> None:
    """Take a row out of the table, while `boards[row].id` is still its id."""
    mask = table.size - 1
    hole = _home(table, boards[row].id)
    while table[hole] != row:
        hole = (hole + 1) & mask
    place = hole
    while True:
        place = (place + 1) & mask
        if table[place] < 0:
            break
        # An entry may fill the hole unless its home lies in the probe run after the hole.
        home = _home(table, boards[table[place]].id)
        if ((place - home) & mask) >= ((place - hole) & mask):
            table[hole] = table[place]
            hole = place
    table[hole] = -1


@njit(cache=True, nogil=True)
def enter_all(boards: Any, table: Any, row_count: Any) -> None:
    """Enter every row in use of the first `row_count` into an empty table."""
    for row in range(row_count):
        if boards[row].id != 0:
            enter_row(boards, table, row)
