"""The counting and reading loops, as numba kernels without the GIL.

The table is open addressing with linear probing, at most half full: slots of a power of two, and rows that
lie densely beside them in order of arrival. The slot comes from the *upper* bits of mix64: the ids of one
host share residues of the lower ones, because these choose the shard, and would crowd in a part of the
slots. Nothing is checked here: the caller gives room for every entity it adds, and no entity is 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from services.chassis.columns.mixing import mix64_kernel

TOTAL_MAX = np.uint32(0xFFFFFFFF)
FLOAT16_MAX = np.float32(65_504)


class Table(NamedTuple):
    """What the kernels work on, C-contiguous. Of the rows, the first `row_count` are in use."""

    slot_keys: Any
    """uint64, shape (slot,): the entity; 0: free."""
    slot_rows: Any
    """int32, shape (slot,): its row."""
    shift: Any
    """uint64: 64 - log2(slots), keeps the upper bits of the hash."""
    entities: Any
    """uint64, shape (row,)."""
    last_ms: Any
    """int64, shape (row,): time of the newest event, which the decayed values are of."""
    totals: Any
    """uint32, shape (row, total)."""
    decayed: Any
    """float32, shape (row, decayed)."""
    half_lives_ms: Any
    """float64, shape (decayed,)."""
    marks: Any
    """uint8, shape (row,): all 0 outside of `add`."""


class Increments(NamedTuple):
    """Aligned: entity i counts for action i at time i."""

    entities: Any
    """uint64."""
    actions: Any
    """uint8."""
    times_ms: Any
    """int64."""


class Weights(NamedTuple):
    """What an action adds."""

    totals: Any
    """uint32, shape (action, total)."""
    decayed: Any
    """float64, shape (action, decayed)."""


class Rows(NamedTuple):
    """How many rows there are, and how many there may be; int64."""

    count: Any
    count_max: Any


@njit(cache=True, nogil=True)
def find_row(table: Any, entity: Any) -> Any:
    """Row of an entity, -1 when it has none."""
    mask = np.uint64(len(table.slot_keys) - 1)
    slot = mix64_kernel(entity) >> table.shift
    while table.slot_keys[slot] != np.uint64(0):
        if table.slot_keys[slot] == entity:
            return np.int64(table.slot_rows[slot])
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)


@njit(cache=True, nogil=True)
def place_row(table: Any, entity: Any, row: Any) -> None:
    """Note that an entity, which is not in the table, has this row."""
    mask = np.uint64(len(table.slot_keys) - 1)
    slot = mix64_kernel(entity) >> table.shift
    while table.slot_keys[slot] != np.uint64(0):
        slot = (slot + np.uint64(1)) & mask
    table.slot_keys[slot] = entity
    table.slot_rows[slot] = row


@njit(cache=True, nogil=True)
def place_rows(table: Any, first: Any, end: Any) -> None:
    """`place_row` for the entities of rows [first, end): bulk load, and growth."""
    for row in range(first, end):
        place_row(table, table.entities[row], row)


@njit(cache=True, nogil=True)
def add(table: Any, increments: Any, weights: Any, rows: Any, dirty: Any) -> Any:
    """Count the increments in order; `dirty` (int64) has room for one row each.

    Returns (row count after, rows in `dirty`, increments refused because there are `rows.count_max` rows).
    """
    row_count = rows.count
    dirty_count = 0
    refused_count = 0
    for i in range(len(increments.entities)):
        entity = increments.entities[i]
        row = find_row(table, entity)
        if row < 0:
            if row_count >= rows.count_max:
                refused_count += 1
                continue
            row = row_count
            row_count += 1
            table.entities[row] = entity
            table.last_ms[row] = increments.times_ms[i]
            place_row(table, entity, row)
        add_one(table, weights, row, increments.actions[i], increments.times_ms[i])
        if table.marks[row] == 0:
            table.marks[row] = 1
            dirty[dirty_count] = row
            dirty_count += 1
    for i in range(dirty_count):
        table.marks[dirty[i]] = 0
    return row_count, dirty_count, refused_count


@njit(cache=True, nogil=True)
def add_one(table: Any, weights: Any, row: Any, action: Any, time_ms: Any) -> None:
    """Count one action for one row; totals stop at their greatest value."""
    for column in range(table.totals.shape[1]):
        weight = weights.totals[action, column]
        room = TOTAL_MAX - table.totals[row, column]
        table.totals[row, column] += min(weight, room)
    elapsed_ms = np.float64(time_ms - table.last_ms[row])
    for column in range(table.decayed.shape[1]):
        value = np.float64(table.decayed[row, column])
        weight_f = weights.decayed[action, column]
        if elapsed_ms > 0.0:
            value = value * np.exp2(-elapsed_ms / table.half_lives_ms[column]) + weight_f
        else:
            # A late event has decayed already; values are kept as of the newest event.
            value += weight_f * np.exp2(elapsed_ms / table.half_lives_ms[column])
        table.decayed[row, column] = value
    if elapsed_ms > 0.0:
        table.last_ms[row] = time_ms


@njit(cache=True, nogil=True)
def value_at(table: Any, row: Any, column: Any, now_ms: Any) -> Any:
    """One count as float32, never negative. Events after `now_ms` count in full, as if they were now."""
    if column >= 0:
        return np.float32(table.totals[row, column])
    value = np.float64(table.decayed[row, -1 - column])
    elapsed_ms = np.float64(now_ms - table.last_ms[row])
    if elapsed_ms > 0.0:
        value *= np.exp2(-elapsed_ms / table.half_lives_ms[-1 - column])
    return np.float32(max(value, 0.0))


@njit(cache=True, nogil=True)
def gather(table: Any, asked: Any, columns: Any, now_ms: Any, out: Any) -> Any:
    """Fill `out` (float32, shape (asked, columns)), clipped at 65,504; returns how many were found."""
    found_count = 0
    for i in range(len(asked)):
        row = find_row(table, asked[i])
        if row < 0:
            out[i, :] = np.float32(0)
            continue
        found_count += 1
        for j in range(len(columns)):
            out[i, j] = min(value_at(table, row, columns[j], now_ms), FLOAT16_MAX)
    return found_count


@njit(cache=True, nogil=True)
def column_values(table: Any, first_row: Any, column: Any, now_ms: Any, out: Any) -> None:
    """Fill `out` (float32) with one counter's values of rows first_row, first_row + 1, …"""
    for i in range(len(out)):
        out[i] = value_at(table, first_row + i, column, now_ms)
