"""Counts as they stood at many moments, in one pass: Counter's arithmetic, without its table.

Entities are dense rows here, so there is nothing to look up. What an event does to a row, and what a row
answers, is Counter's own `row_kernels.py`; a property test holds the two together: a count is the bits that
Counter would have answered at that moment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.counter.counters import Counters
from services.counter.float16_kernels import FLOAT16_MAX
from services.counter.kernels import Increments
from services.counter.row_kernels import (
    count_decayed,
    count_total,
    count_windowed,
    decayed_value,
    windowed_value,
)


class Asks(NamedTuple):
    """Aligned: the counts of row i after the first `after[i]` increments, at time i. `after` ascends."""

    rows: Any
    """int64."""
    after: Any
    """int64."""
    times_ms: Any
    """int64."""


def counts_at(
    counters: Counters, columns: NDArray[np.int32], *, row_count: int, increments: Increments, asks: Asks
) -> NDArray[np.float32]:
    """Counts of shape (ask, column). `increments.entities` are rows, int64, in the order of counting."""
    out = np.empty((len(asks.rows), len(columns)), np.float32)
    _counts_at(counters.rows(row_count), counters.rules, increments, asks, columns, out)
    return out


@njit(cache=True, nogil=True)
def _counts_at(held: Any, rules: Any, increments: Any, asks: Any, columns: Any, out: Any) -> None:
    last_ms, totals, decayed, cells = held
    total_weights, decayed_weights, half_lives_ms, window_weights, rings = rules
    entities, actions, times_ms = increments.entities, increments.actions, increments.times_ms
    rows, after, asked_ms = asks.rows, asks.after, asks.times_ms
    decayed_first = totals.shape[1]
    windowed_first = decayed_first + decayed.shape[1]
    counted = 0
    for i in range(len(rows)):
        while counted < after[i]:
            row, action, time_ms = entities[counted], actions[counted], times_ms[counted]
            # A row's first event decays zeros from 1970 on, and empties slots, which changes nothing.
            held_ms = last_ms[row]
            count_total(totals, total_weights, row, action)
            count_decayed(decayed, decayed_weights, half_lives_ms, row, action, np.float64(time_ms - held_ms))
            count_windowed(cells, window_weights, rings, row, action, held_ms, time_ms)
            last_ms[row] = max(held_ms, time_ms)
            counted += 1
        row = rows[i]
        for j in range(len(columns)):
            column = columns[j]
            if column < decayed_first:
                value = np.float32(totals[row, column])
            elif column < windowed_first:
                elapsed_ms = np.float64(asked_ms[i] - last_ms[row])
                value = decayed_value(decayed, half_lives_ms, row, column - decayed_first, elapsed_ms)
            else:
                value = windowed_value(cells, rings, row, column - windowed_first, last_ms[row], asked_ms[i])
            out[i, j] = min(value, FLOAT16_MAX)
