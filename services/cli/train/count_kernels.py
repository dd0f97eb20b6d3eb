"""Counts as they stood at many moments, in one pass: Counter's arithmetic, without its table.

Entities are dense rows here, so there is nothing to look up. The arithmetic is that of `add` and `gather` in
Counter's kernels, and a property test holds the two together: a count is the bits that Counter would have
answered at that moment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.counter.counters import Counters
from services.counter.kernels import FLOAT16_MAX, TOTAL_MAX, Increments, Weights, decayed_by


class Asks(NamedTuple):
    """Aligned: the counts of row i after the first `after[i]` increments, at time i. `after` ascends."""

    rows: Any
    """int64."""
    after: Any
    """int64."""
    times_ms: Any
    """int64."""


class _Table(NamedTuple):
    """Counter's columns, one row an entity; a row that was never counted is all zeros."""

    last_ms: Any
    totals: Any
    decayed: Any
    half_lives_ms: Any


def counts_at(
    counters: Counters, columns: NDArray[np.int32], *, row_count: int, increments: Increments, asks: Asks
) -> NDArray[np.float32]:
    """Counts of shape (ask, column). `increments.entities` are rows, int64, in the order of counting."""
    table = _Table(
        last_ms=np.zeros(row_count, np.int64),
        totals=np.zeros((row_count, len(counters.totals)), np.uint32),
        decayed=np.zeros((row_count, len(counters.decayed)), np.float32),
        half_lives_ms=counters.half_lives_ms,
    )
    weights = Weights(counters.total_weights, counters.decayed_weights)
    out = np.empty((len(asks.rows), len(columns)), np.float32)
    _counts_at(table, weights, increments, asks, columns, out)
    return out


@njit(cache=True, nogil=True)
def _counts_at(table: Any, weights: Any, increments: Any, asks: Any, columns: Any, out: Any) -> None:
    last_ms, totals, decayed, half_lives_ms = table.last_ms, table.totals, table.decayed, table.half_lives_ms
    total_weights, decayed_weights = weights.totals, weights.decayed
    entities, actions, times_ms = increments.entities, increments.actions, increments.times_ms
    rows, after, asked_ms = asks.rows, asks.after, asks.times_ms
    counted = 0
    for i in range(len(rows)):
        while counted < after[i]:
            row, action = entities[counted], actions[counted]
            for column in range(totals.shape[1]):
                room = TOTAL_MAX - totals[row, column]
                totals[row, column] += min(total_weights[action, column], room)
            # A row's first event decays zeros from 1970 on, which changes nothing.
            elapsed_ms = np.float64(times_ms[counted] - last_ms[row])
            for column in range(decayed.shape[1]):
                half_life_ms = half_lives_ms[column]
                kept = decayed_by(np.float64(decayed[row, column]), elapsed_ms, half_life_ms)
                weight = decayed_by(decayed_weights[action, column], -elapsed_ms, half_life_ms)
                decayed[row, column] = kept + weight
            last_ms[row] = max(last_ms[row], times_ms[counted])
            counted += 1
        row = rows[i]
        elapsed_ms = np.float64(asked_ms[i] - last_ms[row])
        for j in range(len(columns)):
            column = columns[j]
            if column >= 0:
                value = np.float32(totals[row, column])
            else:
                held = np.float64(decayed[row, -1 - column])
                value = np.float32(max(decayed_by(held, elapsed_ms, half_lives_ms[-1 - column]), 0.0))
            out[i, j] = min(value, FLOAT16_MAX)
