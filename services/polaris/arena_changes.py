"""Owns the kernels that change the arena: one slice of changes in one call, without the GIL.

A board's pins lie in consecutive slots in order of key, best first; a change shifts the slots behind it.
A board that outgrows its slots moves to the arena's tail and leaves its old slots as waste until the
arena is rebuilt. When there is no room (tail, rows or table), `apply_changes` stops before the change
that needs it and says where: the caller rebuilds and calls again.
Refuses nothing: values were checked when the record was decoded. Next: `arena.py`, which calls these.
"""

# ruff: noqa: PLR0917  kernels take their columns by position
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.polaris.board_table import drop_row, enter_row, find_row

SAVE, REMOVE, PUT_BOARD, DELETE_BOARD = 1, 2, 3, 4
"""What a change does."""

IGNORED, APPLIED = 0, 1
"""What became of a change: ignored ones are older than what is there."""

ROW_COUNT, FREE_ROW, TAIL, PIN_COUNT, BOARD_COUNT = 0, 1, 2, 3, 4
"""Places of the arena's counters: rows ever used, first free row or -1, first free slot, pins, boards."""
COUNTERS = 5


class Pins(NamedTuple):
    """The arena: 20 bytes a slot."""

    ids: NDArray[np.uint64]
    keys: NDArray[np.float32]
    saved_at: NDArray[np.uint32]
    flags: NDArray[np.uint32]


class Changes(NamedTuple):
    """Changes in order, as aligned columns; a column that a kind does not need holds 0."""

    kinds: NDArray[np.uint8]
    boards: NDArray[np.uint64]
    pins: NDArray[np.uint64]
    keys: NDArray[np.float32]
    saved_at: NDArray[np.uint32]
    flags: NDArray[np.uint32]
    owners: NDArray[np.uint64]


@njit(cache=True, nogil=True)
def apply_changes(
    pins: Any,
    boards: Any,
    table: Any,
    counters: Any,
    changes: Any,
    first: Any,
    pins_per_board_max: Any,
    results: Any,
    displaced: Any,
) -> Any:
    """Apply changes from `first` on; return the index of the first one that found no room, else the count.

    Args:
        results: uint8 per change, set to IGNORED or APPLIED.
        displaced: uint64 per change, set to the pin that fell off a full board, 0 where none did. It can
            be the saved pin itself.
    """
    for at in range(first, changes.kinds.size):
        kind = changes.kinds[at]
        board = changes.boards[at]
        results[at] = APPLIED
        displaced[at] = np.uint64(0)
        row = find_row(boards, table, board)
        if kind in (SAVE, PUT_BOARD):
            if row < 0:
                row = _new_row(boards, table, counters, board)
                if row < 0:
                    return at
            if kind == PUT_BOARD:
                boards[row].owner = changes.owners[at]
                continue
            fits = _save(pins, boards, counters, row, changes, at, pins_per_board_max, results, displaced)
            if not fits:
                _free_if_empty(boards, table, counters, row)
                return at
        elif row >= 0:
            if kind == DELETE_BOARD:
                counters[PIN_COUNT] -= boards[row].count
                boards[row].count = 0
                boards[row].owner = 0
            else:
                _remove(pins, boards, counters, row, changes, at, results)
            _free_if_empty(boards, table, counters, row)
    return changes.kinds.size


@njit(cache=True, nogil=True)
def _save(
    pins: Any,
    boards: Any,
    counters: Any,
    row: Any,
    changes: Any,
    at: Any,
    pins_per_board_max: Any,
    results: Any,
    displaced: Any,
) -> Any:
    start, count = boards[row].start, np.int64(boards[row].count)
    key = changes.keys[at]
    position = _position_of(pins.ids, start, count, changes.pins[at])
    if position >= 0:
        if pins.saved_at[start + position] > changes.saved_at[at]:
            results[at] = IGNORED
            return True
        _take_out(pins, start, count, position)
        count -= 1
    else:
        if count >= pins_per_board_max:
            worst = start + count - 1
            if key <= pins.keys[worst]:
                displaced[at] = changes.pins[at]
                return True
            displaced[at] = pins.ids[worst]
            count -= 1
        elif count == boards[row].capacity:
            if not _move_to_tail(pins, boards, counters, row, pins_per_board_max):
                return False
            start = boards[row].start
        if displaced[at] == 0:
            counters[PIN_COUNT] += 1
    place = _place_for(pins.keys, start, count, key)
    _make_room(pins, start, count, place)
    slot = start + place
    pins.ids[slot] = changes.pins[at]
    pins.keys[slot] = key
    pins.saved_at[slot] = changes.saved_at[at]
    pins.flags[slot] = changes.flags[at]
    boards[row].count = count + 1
    return True


@njit(cache=True, nogil=True)
def _remove(pins: Any, boards: Any, counters: Any, row: Any, changes: Any, at: Any, results: Any) -> None:
    start, count = boards[row].start, np.int64(boards[row].count)
    position = _position_of(pins.ids, start, count, changes.pins[at])
    if position < 0:
        return
    if pins.saved_at[start + position] > changes.saved_at[at]:
        results[at] = IGNORED
        return
    _take_out(pins, start, count, position)
    boards[row].count = count - 1
    counters[PIN_COUNT] -= 1


@njit(cache=True, nogil=True)
def _new_row(boards: Any, table: Any, counters: Any, board: Any) -> Any:
    """A row for a new board without slots; -1 when the table or the rows are full."""
    if 2 * (counters[BOARD_COUNT] + 1) > table.size:
        return np.int64(-1)
    row = counters[FREE_ROW]
    if row >= 0:
        counters[FREE_ROW] = boards[row].start
    else:
        row = counters[ROW_COUNT]
        if row == boards.size:
            return np.int64(-1)
        counters[ROW_COUNT] += 1
    boards[row].id = board
    boards[row].owner = 0
    boards[row].start = 0
    boards[row].count = 0
    boards[row].capacity = 0
    counters[BOARD_COUNT] += 1
    enter_row(boards, table, row)
    return row


@njit(cache=True, nogil=True)
def _free_if_empty(boards: Any, table: Any, counters: Any, row: Any) -> None:
    """A board is known while it has an owner or a pin, in memory as after a restart."""
    if boards[row].count or boards[row].owner:
        return
    drop_row(boards, table, row)
    boards[row].id = 0
    boards[row].capacity = 0
    boards[row].start = counters[FREE_ROW]
    counters[FREE_ROW] = row
    counters[BOARD_COUNT] -= 1


@njit(cache=True, nogil=True)
def _move_to_tail(pins: Any, boards: Any, counters: Any, row: Any, pins_per_board_max: Any) -> Any:
    start, count = boards[row].start, np.int64(boards[row].count)
    capacity = min(count + (count >> 1) + 4, pins_per_board_max)
    tail = counters[TAIL]
    if tail + capacity > pins.ids.size:
        return False
    copy_slots(pins, start, pins, tail, count)
    boards[row].start = tail
    boards[row].capacity = capacity
    counters[TAIL] = tail + capacity
    return True


@njit(cache=True, nogil=True)
def copy_slots(source: Any, source_start: Any, target: Any, target_start: Any, count: Any) -> None:
    """Copy slots between arenas, or within one where they do not overlap."""
    for i in range(count):
        target.ids[target_start + i] = source.ids[source_start + i]
    for i in range(count):
        target.keys[target_start + i] = source.keys[source_start + i]
        target.saved_at[target_start + i] = source.saved_at[source_start + i]
        target.flags[target_start + i] = source.flags[source_start + i]


@njit(cache=True, nogil=True)
def _position_of(ids: Any, start: Any, count: Any, pin: Any) -> Any:
    # Linear: 32,768 ids are 256 KB, some 10 µs; an index by pin would cost more memory than the pins.
    for i in range(count):
        if ids[start + i] == pin:
            return np.int64(i)
    return np.int64(-1)


@njit(cache=True, nogil=True)
def _place_for(keys: Any, start: Any, count: Any, key: Any) -> Any:
    """The first position whose key is less than `key`."""
    low, high = np.int64(0), np.int64(count)
    while low < high:
        middle = (low + high) >> 1
        if keys[start + middle] >= key:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _make_room(pins: Any, start: Any, count: Any, place: Any) -> None:
    for i in range(start + count, start + place, -1):
        pins.ids[i] = pins.ids[i - 1]
    for i in range(start + count, start + place, -1):
        pins.keys[i] = pins.keys[i - 1]
        pins.saved_at[i] = pins.saved_at[i - 1]
        pins.flags[i] = pins.flags[i - 1]


@njit(cache=True, nogil=True)
def _take_out(pins: Any, start: Any, count: Any, position: Any) -> None:
    for i in range(start + position, start + count - 1):
        pins.ids[i] = pins.ids[i + 1]
        pins.keys[i] = pins.keys[i + 1]
        pins.saved_at[i] = pins.saved_at[i + 1]
        pins.flags[i] = pins.flags[i + 1]
