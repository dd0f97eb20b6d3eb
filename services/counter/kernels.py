"""The counting and reading loops, as numba kernels without the GIL.

The table is open addressing with linear probing, at most half full: slots of a power of two, and rows that
lie densely beside them in order of arrival. The slot comes from the *upper* bits of mix64: the ids of one
host share residues of the lower ones, because these choose the shard, and would crowd in a part of the
slots. Nothing is checked here: the caller gives room for every entity it adds, and no entity is 0.
Each kernel takes its arrays out of the tuple first: a helper that is handed the whole tuple costs ten
reference counts a call, which made a look-up several times dearer.
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
def find_row(slot_keys: Any, slot_rows: Any, shift: Any, entity: Any) -> Any:
    """Row of an entity, -1 when it has none."""
    mask = np.uint64(len(slot_keys) - 1)
    slot = mix64_kernel(entity) >> shift
    while slot_keys[slot] != np.uint64(0):
        if slot_keys[slot] == entity:
            return np.int64(slot_rows[slot])
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)


@njit(cache=True, nogil=True)
def place_row(slot_keys: Any, slot_rows: Any, shift: Any, entity: Any, row: Any) -> None:
    """Note that an entity, which is not in the table, has this row."""
    mask = np.uint64(len(slot_keys) - 1)
    slot = mix64_kernel(entity) >> shift
    while slot_keys[slot] != np.uint64(0):
        slot = (slot + np.uint64(1)) & mask
    slot_keys[slot] = entity
    slot_rows[slot] = row


@njit(cache=True, nogil=True)
def place_rows(table: Any, first: Any, end: Any) -> None:
    """`place_row` for the entities of rows [first, end): bulk load, and growth."""
    slot_keys, slot_rows, shift, entities = table.slot_keys, table.slot_rows, table.shift, table.entities
    for row in range(first, end):
        place_row(slot_keys, slot_rows, shift, entities[row], row)


@njit(cache=True, nogil=True)
def decayed_by(value: Any, elapsed_ms: Any, half_life_ms: Any) -> Any:
    """float64 `value` after a time; never more than it was."""
    return value * np.exp2(-max(elapsed_ms, 0.0) / half_life_ms)


@njit(cache=True, nogil=True)
def add(table: Any, increments: Any, weights: Any, rows: Any, dirty: Any) -> Any:
    """Count the increments in order; `dirty` (int64) has room for one row each.

    Returns (row count after, rows in `dirty`, increments refused because there are `rows.count_max` rows).
    """
    slot_keys, slot_rows, shift, marks = table.slot_keys, table.slot_rows, table.shift, table.marks
    entities, last_ms, totals, decayed = table.entities, table.last_ms, table.totals, table.decayed
    total_weights, decayed_weights, half_lives_ms = weights.totals, weights.decayed, table.half_lives_ms
    counted, actions, times_ms = increments.entities, increments.actions, increments.times_ms
    row_count = rows.count
    dirty_count = 0
    refused_count = 0
    for i in range(len(counted)):
        row = find_row(slot_keys, slot_rows, shift, counted[i])
        if row < 0:
            if row_count >= rows.count_max:
                refused_count += 1
                continue
            row = row_count
            row_count += 1
            entities[row] = counted[i]
            last_ms[row] = times_ms[i]
            place_row(slot_keys, slot_rows, shift, counted[i], row)
        for column in range(totals.shape[1]):
            # Stops at the greatest value instead of starting again at 0.
            totals[row, column] += min(total_weights[actions[i], column], TOTAL_MAX - totals[row, column])
        elapsed_ms = np.float64(times_ms[i] - last_ms[row])
        for column in range(decayed.shape[1]):
            half_life_ms = half_lives_ms[column]
            # Values are kept as of the newest event; the weight of a late event has decayed already.
            kept = decayed_by(np.float64(decayed[row, column]), elapsed_ms, half_life_ms)
            weight = decayed_by(decayed_weights[actions[i], column], -elapsed_ms, half_life_ms)
            decayed[row, column] = kept + weight
        last_ms[row] = max(last_ms[row], times_ms[i])
        if marks[row] == 0:
            marks[row] = 1
            dirty[dirty_count] = row
            dirty_count += 1
    for i in range(dirty_count):
        marks[dirty[i]] = 0
    return row_count, dirty_count, refused_count


@njit(cache=True, nogil=True)
def gather(table: Any, asked: Any, columns: Any, now_ms: Any, out: Any) -> Any:
    """Fill `out` (float32, shape (asked, columns)), clipped to 0 … 65,504; returns how many were found.

    Events after `now_ms` count in full, as if they were now; so in `column_values`.
    """
    slot_keys, slot_rows, shift = table.slot_keys, table.slot_rows, table.shift
    totals, decayed, last_ms = table.totals, table.decayed, table.last_ms
    half_lives_ms = table.half_lives_ms
    found_count = 0
    for i in range(len(asked)):
        row = find_row(slot_keys, slot_rows, shift, asked[i])
        if row < 0:
            out[i, :] = np.float32(0)
            continue
        found_count += 1
        elapsed_ms = np.float64(now_ms - last_ms[row])
        for j in range(len(columns)):
            column = columns[j]
            if column >= 0:
                value = np.float32(totals[row, column])
            else:
                held = np.float64(decayed[row, -1 - column])
                value = np.float32(max(decayed_by(held, elapsed_ms, half_lives_ms[-1 - column]), 0.0))
            out[i, j] = min(value, FLOAT16_MAX)
    return found_count


@njit(cache=True, nogil=True)
def column_values(table: Any, first_row: Any, column: Any, now_ms: Any, out: Any) -> None:
    """Fill `out` (float32, not below 0) with one counter's values of rows first_row, first_row + 1, …"""
    totals, decayed, last_ms = table.totals, table.decayed, table.last_ms
    if column >= 0:
        for i in range(len(out)):
            out[i] = np.float32(totals[first_row + i, column])
        return
    half_life_ms = table.half_lives_ms[-1 - column]
    for i in range(len(out)):
        elapsed_ms = np.float64(now_ms - last_ms[first_row + i])
        held = np.float64(decayed[first_row + i, -1 - column])
        out[i] = np.float32(max(decayed_by(held, elapsed_ms, half_life_ms), 0.0))
