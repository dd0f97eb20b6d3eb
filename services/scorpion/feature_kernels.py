"""The numba kernels behind `features.py`: features of rows, and features of a request.

Every kernel works on one row at a time and keeps no state between rows: a row's features have the same
bits whether it is computed among the candidates of one request or among a million rows of training data.
That equality is what makes training and serving agree, so keep it when making these faster.
A value that is NaN or infinite is missing: the feature's default takes its place, before the transform. A
transform that ends outside the finite float32 numbers gives the transformed default.
Inputs are compiled as read-only: columns of a message are, and an array that may be written is another
type to numba (`features.py` passes views). Refuses nothing: shapes and dtypes are the caller's business.
"""

# ruff: noqa: PLR0917  kernels take their columns by position
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from services.chassis.columns.mixing import mix64_kernel

# `codes`, one line a feature. SOURCE says what A, B and C are.
SOURCE, A, B, C, TRANSFORM = range(5)
CODE_COLUMNS = 5

# Sources of a row's features. A: a column of the row; of a RATIO, A is above and B below.
COLUMN, RATIO = range(2)
# Sources of a request's features. A: a signal; B up to C: which of `matches` are looked up in it.
LIGHT_SCORE, AGE_HOURS, AFFINITY, HOUR_OF_WEEK, SIGNAL_SUM, SIGNAL_MAX, SIGNAL_ANY, SIGNAL_ID = range(8)
# A: a line of `further`.
FURTHER = 8

IDENTITY, LOG1P, CLIP, CODE = range(4)
"""CODE is that of categories: a whole number from 0 on, anything else is missing."""

# `numbers`: the default after the transform, clip bounds, smoothing of a ratio.
DEFAULT_OUT, LOW, HIGH, SMOOTHING = range(4)
NUMBER_COLUMNS = 4

CODE_MAX = (1 << 24) - 1
"""Greatest category: above, neighbours are one float32."""

_MS_PER_HOUR = 3_600_000
_HOURS_PER_WEEK = 168
# 1970-01-01 was a Thursday; hour 0 of the week is Monday 00:00 UTC.
_HOURS_TO_MONDAY = 72


@njit(cache=True, nogil=True)
def row_features(values: Any, codes: Any, numbers: Any) -> Any:
    """Features of rows of one kind, float32 (row, feature), and uint8 of that shape: 1 where defaulted.

    `values` is float32 (row, column), NaN where unknown.
    """
    rows = values.shape[0]
    out = np.empty((rows, codes.shape[0]), dtype=np.float32)
    missing = np.empty(out.shape, dtype=np.uint8)
    column = np.empty(rows, dtype=np.float64)
    for feature in range(codes.shape[0]):
        a = codes[feature, A]
        b = codes[feature, B]
        smoothing = numbers[feature, SMOOTHING]
        if codes[feature, SOURCE] == COLUMN:
            for row in range(rows):
                column[row] = values[row, a]
        else:
            for row in range(rows):
                below = np.float64(values[row, b]) + smoothing
                column[row] = np.float64(values[row, a]) / below if below > 0.0 else np.nan
        _write(column, codes, numbers, feature, out, missing)
    return out, missing


@njit(cache=True, nogil=True)
def request_features(
    ids: Any,
    light_scores: Any,
    saved_at: Any,
    affinities: Any,
    further: Any,
    now_ms: Any,
    signal_ids: Any,
    signal_values: Any,
    signal_ends: Any,
    fixed_ids: Any,
    matches: Any,
    codes: Any,
    numbers: Any,
) -> Any:
    """Features of a request's candidates, float32 (row, feature), and uint8 of that shape: 1 where defaulted.

    `ids` is uint64 (id column, row), as `matched_ids` makes it. Empty columns are unknown for all. `saved_at`
    is in seconds, 0 where unknown; a save in the future (skewed clocks) has an age of 0.
    Signals lie one behind the other in `signal_ids` and `signal_values`; each begins where the one before it
    ends, and a negative end says that it was not sent and has no place. `fixed_ids` is uint64 (feature,).
    `further` is float32 (column, row), NaN where unknown.
    """
    rows = ids.shape[1]
    out = np.empty((rows, codes.shape[0]), dtype=np.float32)
    missing = np.empty(out.shape, dtype=np.uint8)
    column = np.empty(rows, dtype=np.float64)
    totals = np.empty(rows, dtype=np.float64)
    greatest = np.empty(rows, dtype=np.float64)
    table, places = _tables(signal_ids, signal_ends)
    # What the last look-up was for: the sum and the maximum of one signal stand beside each other in lists.
    last_signal, last_first, last_end = -1, -1, -1
    for feature in range(codes.shape[0]):
        source = codes[feature, SOURCE]
        a = codes[feature, A]
        first = codes[feature, B]
        end = codes[feature, C]
        if source == HOUR_OF_WEEK:
            column[:] = (now_ms // _MS_PER_HOUR + _HOURS_TO_MONDAY) % _HOURS_PER_WEEK
        elif source == LIGHT_SCORE:
            _copy(light_scores, column)
        elif source == AFFINITY:
            _copy(affinities, column)
        elif source == AGE_HOURS:
            _ages(saved_at, now_ms, column)
        elif source == FURTHER:
            column[:] = further[a]
        elif signal_ends[a] < 0:
            column[:] = np.nan
        elif source == SIGNAL_ID:
            signal_table = table[places[a] : places[a + 1]]
            found = signal_table[_probe(signal_table, signal_ids, fixed_ids[feature])]
            column[:] = signal_values[found - 1] if found > 0 else 0.0
        else:
            if last_signal != a or last_first != first or last_end != end:
                signal_table = table[places[a] : places[a + 1]]
                looked_up = matches[first:end]
                _look_up(signal_table, signal_ids, signal_values, ids, looked_up, totals, greatest)
                last_signal, last_first, last_end = a, first, end
            _reduce(totals, greatest, source, column)
        _write(column, codes, numbers, feature, out, missing)
    return out, missing


@njit(cache=True, nogil=True)
def matched_ids(ids: Any, pins: Any, boards: Any, owners: Any, board_column: Any, owner_column: Any) -> Any:
    """The ids that signals are matched with: the pin's id columns, then the pin itself as the last column.

    The board and owner that the candidate came from replace the pin's own where they are known (not 0); their
    columns are −1 where the list has none. `ids` is uint64 (row, id column); returns uint64 (column, row).
    """
    rows, width = ids.shape
    matched = np.empty((width + 1, rows), dtype=np.uint64)
    for row in range(rows):
        for column in range(width):
            matched[column, row] = ids[row, column]
        if board_column >= 0 and boards.size and boards[row] != 0:
            matched[board_column, row] = boards[row]
        if owner_column >= 0 and owners.size and owners[row] != 0:
            matched[owner_column, row] = owners[row]
        matched[width, row] = pins[row]
    return matched


@njit(cache=True, nogil=True)
def _copy(known: Any, column: Any) -> None:
    """The values that are known, or NaN for all."""
    if known.size:
        column[:] = known
    else:
        column[:] = np.nan


@njit(cache=True, nogil=True)
def _ages(saved_at: Any, now_ms: Any, column: Any) -> None:
    """Hours since the save, as float32 has them."""
    column[:] = np.nan
    for row in range(min(saved_at.size, column.size)):
        if saved_at[row] > 0:
            age_ms = now_ms - np.int64(saved_at[row]) * 1000
            column[row] = np.float32(max(age_ms, 0) / _MS_PER_HOUR)


@njit(cache=True, nogil=True)
def _look_up(
    table: Any, signal_ids: Any, signal_values: Any, ids: Any, looked_up: Any, totals: Any, greatest: Any
) -> None:
    """Write the sum and the greatest of what a signal says of each row; NaN in `greatest`: none matched.

    Sums add in the order of `looked_up`, in float64. Id 0 never matches. Of an id that the signal holds
    twice, the first value counts.
    """
    for row in range(totals.size):
        total = 0.0
        most = -np.inf
        matched = False
        for place in looked_up:
            found = table[_probe(table, signal_ids, ids[place, row])]
            if found > 0:
                value = np.float64(signal_values[found - 1])
                matched = True
                total += value
                most = max(most, value)
        totals[row] = total
        # `max` passes over NaN, so a NaN of the signal's own never stands here.
        greatest[row] = most if matched else np.nan


@njit(cache=True, nogil=True)
def _reduce(totals: Any, greatest: Any, source: Any, column: Any) -> None:
    """Write one value a row, 0 where none matched: the sum (as float32 has it), the greatest, or 1."""
    for row in range(column.size):
        if np.isnan(greatest[row]):
            column[row] = 0.0
        elif source == SIGNAL_SUM:
            column[row] = np.float32(totals[row])
        elif source == SIGNAL_MAX:
            column[row] = greatest[row]
        else:
            column[row] = 1.0


@njit(cache=True, nogil=True)
def _tables(signal_ids: Any, signal_ends: Any) -> Any:
    """Open-addressing tables at most half full: an id's index in `signal_ids` plus one, 0 where free.

    They lie one behind the other; that of signal s is `table[places[s] : places[s + 1]]`.
    """
    places = np.zeros(signal_ends.size + 1, dtype=np.int64)
    begin = 0
    for signal in range(signal_ends.size):
        end = max(signal_ends[signal], begin)
        size = 1
        while size < 2 * (end - begin):
            size *= 2
        places[signal + 1] = places[signal] + size
        begin = end
    table = np.zeros(places[-1], dtype=np.int32)
    begin = 0
    for signal in range(signal_ends.size):
        end = max(signal_ends[signal], begin)
        mine = table[places[signal] : places[signal + 1]]
        for index in range(begin, end):
            place = _probe(mine, signal_ids, signal_ids[index])
            # Id 0 stands for "none" in every id column, so it gets no place and is never found.
            if mine[place] == 0 and signal_ids[index] != 0:
                mine[place] = index + 1
        begin = end
    return table, places


@njit(cache=True, nogil=True)
def _probe(table: Any, signal_ids: Any, id: Any) -> Any:
    """Where the id lies in the table, or the free place where it would."""
    mask = np.uint64(table.size - 1)
    place = mix64_kernel(id) & mask
    while table[place] != 0 and signal_ids[table[place] - 1] != id:
        place = (place + np.uint64(1)) & mask
    return place


@njit(cache=True, nogil=True)
def _write(column: Any, codes: Any, numbers: Any, feature: Any, out: Any, missing: Any) -> None:
    """Transform a feature's values (float64) and write them, or the default."""
    transform = codes[feature, TRANSFORM]
    default_out = np.float32(numbers[feature, DEFAULT_OUT])
    low = numbers[feature, LOW]
    high = numbers[feature, HIGH]
    for row in range(column.size):
        value = column[row]
        if not np.isfinite(value):
            value = np.nan
        elif transform == LOG1P:
            value = np.log1p(value) if value > -1.0 else np.nan
        elif transform == CLIP:
            value = min(max(value, low), high)
        elif transform == CODE and not (0.0 <= value <= CODE_MAX and value == np.floor(value)):
            value = np.nan
        narrow = np.float32(value)
        if np.isfinite(narrow):
            out[row, feature] = narrow
            missing[row, feature] = 0
        else:
            out[row, feature] = default_out
            missing[row, feature] = 1
