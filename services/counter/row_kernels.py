"""One row: what an event does to its counts, and what it answers. Counter and the training share these.

Rows are structures of arrays, and nothing here knows how a row is found. Everything goes by the events'
times and the time asked for: the same events in the same order give the same bits, live or replayed.
The loops hand over arrays, not the tuples that hold them: a tuple of arrays costs a reference count for each
at every call, and made reading twenty times dearer. Also inlined before compilation, because the counts of
arrays that are handed over cost a fifth of `add`. Numba's cache does not see what was inlined: who changes
this file or `window_kernels.py` touches `kernels.py` and the training's `count_kernels.py`.
"""
# ruff: noqa: PLR0917  kernels take their columns by position

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from services.counter.window_kernels import count_in_ring, ring_sum

TOTAL_MAX = np.uint32(0xFFFFFFFF)


class Columns(NamedTuple):
    """The rows' data, C-contiguous."""

    last_ms: Any
    """int64, shape (row,): time of the newest event; the decayed values are of it, the rings end at it."""
    totals: Any
    """uint32, shape (row, total)."""
    decayed: Any
    """float32, shape (row, decayed)."""
    cells: Any
    """uint16, shape (row, cell): the rings of all windowed counters."""


class Rules(NamedTuple):
    """What the declared counters say, by action and by column."""

    total_weights: Any
    """uint32, shape (action, total)."""
    decayed_weights: Any
    """float64, shape (action, decayed)."""
    half_lives_ms: Any
    """float64, shape (decayed,)."""
    window_weights: Any
    """int64, shape (action, windowed)."""
    rings: Any
    """int64, shape (windowed, 3): first cell, slots, milliseconds of a slot."""


@njit(cache=True, nogil=True)
def decayed_by(value: Any, elapsed_ms: Any, half_life_ms: Any) -> Any:
    """float64 `value` after a time; never more than it was."""
    return value * np.exp2(-max(elapsed_ms, 0.0) / half_life_ms)


@njit(cache=True, nogil=True, inline="always")
def count_total(totals: Any, weights: Any, row: Any, action: Any) -> None:
    """Count one event in the row's totals; they stop at their greatest instead of starting again at 0."""
    for column in range(totals.shape[1]):
        totals[row, column] += min(weights[action, column], TOTAL_MAX - totals[row, column])


@njit(cache=True, nogil=True, inline="always")
def count_decayed(
    decayed: Any, weights: Any, half_lives_ms: Any, row: Any, action: Any, elapsed_ms: Any
) -> None:
    """Count one event, `elapsed_ms` (float64) after the newest one or before it, in the decayed values."""
    for column in range(decayed.shape[1]):
        half_life_ms = half_lives_ms[column]
        # Values are kept as of the newest event; the weight of a late event has decayed already.
        kept = decayed_by(np.float64(decayed[row, column]), elapsed_ms, half_life_ms)
        decayed[row, column] = kept + decayed_by(weights[action, column], -elapsed_ms, half_life_ms)


@njit(cache=True, nogil=True, inline="always")
def count_windowed(
    cells: Any, weights: Any, rings: Any, row: Any, action: Any, last_ms: Any, time_ms: Any
) -> None:
    """Count one event in the row's rings, which end at `last_ms`."""
    for column in range(len(rings)):
        ring = rings[column, 0], rings[column, 1], rings[column, 2]
        count_in_ring(cells, row, ring, last_ms, time_ms, weights[action, column])


@njit(cache=True, nogil=True, inline="always")
def decayed_value(decayed: Any, half_lives_ms: Any, row: Any, column: Any, elapsed_ms: Any) -> Any:
    """float32, not below 0: a decayed counter `elapsed_ms` (float64) after the row's newest event."""
    held = np.float64(decayed[row, column])
    return np.float32(max(decayed_by(held, elapsed_ms, half_lives_ms[column]), 0.0))


@njit(cache=True, nogil=True, inline="always")
def windowed_value(cells: Any, rings: Any, row: Any, column: Any, last_ms: Any, now_ms: Any) -> Any:
    """float32: a windowed counter at `now_ms`."""
    ring = rings[column, 0], rings[column, 1], rings[column, 2]
    return np.float32(ring_sum(cells, row, ring, last_ms, now_ms))
