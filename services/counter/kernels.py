"""The counting and reading loops over many entities, as numba kernels without the GIL.

The table is open addressing with linear probing, at most half full: slots of a power of two, and rows that
lie densely beside them in order of arrival. The slot comes from the *upper* bits of mix64: the ids of one
host share residues of the lower ones, because these choose the shard, and would crowd in a part of the
slots. Nothing is checked here: the caller gives room for every entity it adds, and no entity is 0.
Each kernel takes its arrays out of the tuples first: a helper that is handed a whole tuple costs ten
reference counts a call, which made a look-up several times dearer.

Both wait for memory more than for anything else: a random entity of millions is five cache misses. So they
take BLOCK entities at a time: ask for all their slots, then find all rows and ask for these, then read or
count. 20,000 of 2 million entities, four totals, one thread: 0.55 ms, where one after the other took 1.75;
counting into a million entities: 4.2 million a second instead of 2.7 (medians in turn, AMD EPYC). A row may
lie across two cache lines: asking for the second, too, was a fifth of the reading.
"""
# ruff: noqa: PLR0917  kernels take their columns by position

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from services.chassis.columns.mixing import mix64_kernel
from services.chassis.columns.prefetch import prefetch
from services.counter.float16_kernels import float16_bits
from services.counter.row_kernels import (
    Columns,
    count_decayed,
    count_total,
    count_windowed,
    decayed_value,
    windowed_value,
)

BLOCK = 64
"""Entities whose memory is asked for together; 32 and 128 were as fast."""


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
    marks: Any
    """uint8, shape (row,): all 0 outside of `add`."""
    columns: Columns
    """The counts of each row."""


class Increments(NamedTuple):
    """Aligned: entity i counts for action i at time i."""

    entities: Any
    """uint64."""
    actions: Any
    """uint8."""
    times_ms: Any
    """int64."""


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
def _find_rows(table: Any, entities: Any, rows: Any) -> Any:
    """Fill `rows` (int64, -1: none) for one block, and fetch what they hold; returns how many there are."""
    slot_keys, slot_rows, shift = table.slot_keys, table.slot_rows, table.shift
    last_ms, totals, decayed, cells = table.columns
    for i in range(len(entities)):
        slot = np.int64(mix64_kernel(entities[i]) >> shift)
        prefetch(slot_keys, slot)
        prefetch(slot_rows, slot)
    found_count = 0
    for i in range(len(entities)):
        row = find_row(slot_keys, slot_rows, shift, entities[i])
        rows[i] = row
        if row >= 0:
            found_count += 1
            prefetch(last_ms, row)
            prefetch(decayed, row)
            # These may lie across two cache lines.
            prefetch(totals, row)
            prefetch(totals, row + 1)
            prefetch(cells, row)
            prefetch(cells, row + 1)
    return found_count


@njit(cache=True, nogil=True)
def add(table: Any, increments: Any, rules: Any, rows: Any, dirty: Any) -> Any:
    """Count the increments in order; `dirty` (int64) has room for one row each.

    Returns (row count after, rows in `dirty`, increments refused because there are `rows.count_max` rows).
    """
    slot_keys, slot_rows, shift, marks = table.slot_keys, table.slot_rows, table.shift, table.marks
    entities, (last_ms, totals, decayed, cells) = table.entities, table.columns
    total_weights, decayed_weights, half_lives_ms, window_weights, rings = rules
    counted, actions, times_ms = increments.entities, increments.actions, increments.times_ms
    block = np.empty(BLOCK, np.int64)
    row_count = rows.count
    dirty_count = 0
    refused_count = 0
    for i in range(len(counted)):
        if i % BLOCK == 0:
            # For what it fetches: who is new in this block has no row yet, so each is looked up again.
            _find_rows(table, counted[i : i + BLOCK], block)
        action, time_ms = actions[i], times_ms[i]
        row = find_row(slot_keys, slot_rows, shift, counted[i])
        if row < 0:
            if row_count >= rows.count_max:
                refused_count += 1
                continue
            row = row_count
            row_count += 1
            entities[row] = counted[i]
            last_ms[row] = time_ms
            place_row(slot_keys, slot_rows, shift, counted[i], row)
        held_ms = last_ms[row]
        count_total(totals, total_weights, row, action)
        count_decayed(decayed, decayed_weights, half_lives_ms, row, action, np.float64(time_ms - held_ms))
        count_windowed(cells, window_weights, rings, row, action, held_ms, time_ms)
        last_ms[row] = max(held_ms, time_ms)
        if marks[row] == 0:
            marks[row] = 1
            dirty[dirty_count] = row
            dirty_count += 1
    for i in range(dirty_count):
        marks[dirty[i]] = 0
    return row_count, dirty_count, refused_count


@njit(cache=True, nogil=True)
def gather(table: Any, rules: Any, asked: Any, wanted: Any, now_ms: Any, out: Any) -> Any:
    """Fill `out` with float16 bits (uint16, shape (asked, wanted)), clipped to 0 … 65,504.

    `wanted` are columns, int32. Zeros for entities that have no row; returns how many have one.
    """
    rows = np.empty(BLOCK, np.int64)
    found_count = 0
    for start in range(0, len(asked), BLOCK):
        end = min(start + BLOCK, len(asked))
        found_count += _find_rows(table, asked[start:end], rows)
        _read_rows(table.columns, rules, rows[: end - start], wanted, now_ms, out[start:end])
    return found_count


@njit(cache=True, nogil=True)
def _read_rows(columns: Any, rules: Any, rows: Any, wanted: Any, now_ms: Any, out: Any) -> None:
    """One block of `gather`, counter by counter."""
    last_ms, totals, decayed, cells = columns
    half_lives_ms, rings = rules.half_lives_ms, rules.rings
    decayed_first = totals.shape[1]
    windowed_first = decayed_first + decayed.shape[1]
    for j in range(len(wanted)):
        column = wanted[j]
        for i in range(len(rows)):
            row = rows[i]
            value = np.float32(0)
            if row >= 0:
                if column < decayed_first:
                    value = np.float32(totals[row, column])
                elif column < windowed_first:
                    elapsed_ms = np.float64(now_ms - last_ms[row])
                    value = decayed_value(decayed, half_lives_ms, row, column - decayed_first, elapsed_ms)
                else:
                    value = windowed_value(cells, rings, row, column - windowed_first, last_ms[row], now_ms)
            out[i, j] = float16_bits(value)


@njit(cache=True, nogil=True)
def column_values(table: Any, rules: Any, first_row: Any, column: Any, now_ms: Any, out: Any) -> None:
    """Fill `out` (float32, not below 0) with one counter's values of rows first_row, first_row + 1, …"""
    last_ms, totals, decayed, cells = table.columns
    half_lives_ms, rings = rules.half_lives_ms, rules.rings
    if column < totals.shape[1]:
        for i in range(len(out)):
            out[i] = np.float32(totals[first_row + i, column])
        return
    column -= totals.shape[1]
    if column < decayed.shape[1]:
        for i in range(len(out)):
            elapsed_ms = np.float64(now_ms - last_ms[first_row + i])
            out[i] = decayed_value(decayed, half_lives_ms, first_row + i, column, elapsed_ms)
        return
    column -= decayed.shape[1]
    for i in range(len(out)):
        out[i] = windowed_value(cells, rings, first_row + i, column, last_ms[first_row + i], now_ms)
