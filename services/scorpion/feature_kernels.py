"""The numba kernels behind `features.py`: match signals to pins, fill candidate columns, assemble the matrix.

Every kernel works on one row at a time and keeps no state between rows: a row's features have the same
bits whether it is computed among the candidates of one request or among a million rows of training data.
That equality is what makes training and serving agree, so keep it when making these faster.
Refuses nothing: shapes and dtypes are the caller's (`FeatureList`) business.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from services.chassis.columns.mixing import mix64_kernel

# Columns that every request has, in front of the ones made by signals.
LIGHT_SCORE, AGE_HOURS, AFFINITY, HOUR_OF_WEEK = range(4)
FIXED_COLUMNS = 4

# What a feature reads (`codes[:, 0]`); [:, 1] and [:, 2] are the columns, [:, 3] the transform.
STATIC, DYNAMIC, RATIO = range(3)
IDENTITY, LOG1P, CLIP = range(3)
CODE_COLUMNS = 4

# `numbers`: the default before the transform, the default after it, clip bounds, smoothing of a ratio.
DEFAULT, DEFAULT_OUT, LOW, HIGH, SMOOTHING = range(5)
NUMBER_COLUMNS = 5

SUM, MAX, ANY = range(3)

_MS_PER_HOUR = 3_600_000
_HOURS_PER_WEEK = 168
# 1970-01-01 was a Thursday; hour 0 of the week is Monday 00:00 UTC.
_HOURS_TO_MONDAY = 72


@njit(cache=True, nogil=True)
def fill_candidates(dynamic: Any, light_scores: Any, saved_at: Any, affinities: Any, now_ms: Any) -> None:
    """Write the fixed columns of `dynamic` (float32, row × column); empty inputs are unknown, written as NaN.

    `saved_at` is in seconds, 0 where unknown. A save in the future (skewed clocks) has an age of 0.
    """
    hour_of_week = np.float32((now_ms // _MS_PER_HOUR + _HOURS_TO_MONDAY) % _HOURS_PER_WEEK)
    for row in range(dynamic.shape[0]):
        dynamic[row, LIGHT_SCORE] = light_scores[row] if light_scores.size else np.nan
        dynamic[row, AFFINITY] = affinities[row] if affinities.size else np.nan
        dynamic[row, HOUR_OF_WEEK] = hour_of_week
        dynamic[row, AGE_HOURS] = np.nan
        if saved_at.size and saved_at[row] > 0:
            age_ms = now_ms - np.int64(saved_at[row]) * 1000
            dynamic[row, AGE_HOURS] = max(age_ms, 0) / _MS_PER_HOUR


@njit(cache=True, nogil=True)
def resolve_ids(ids: Any, pins: Any, boards: Any, owners: Any, places: Any) -> Any:
    """The ids that signals are matched with: the pin's id columns, then the pin itself as the last column.

    The board and owner that the candidate came from replace the pin's own where they are known (not 0);
    `places` (intp) are the columns of board and owner, -1 where the list has none.
    Returns uint64 (row, id column + 1).
    """
    rows, width = ids.shape
    board, owner = places
    resolved = np.empty((rows, width + 1), dtype=np.uint64)
    for row in range(rows):
        for column in range(width):
            resolved[row, column] = ids[row, column]
        if board >= 0 and boards.size and boards[row] != 0:
            resolved[row, board] = boards[row]
        if owner >= 0 and owners.size and owners[row] != 0:
            resolved[row, owner] = owners[row]
        resolved[row, width] = pins[row]
    return resolved


@njit(cache=True, nogil=True)
def match_signal(signal_ids: Any, values: Any, ids: Any, columns: Any, reduce: Any) -> Any:
    """What a user's signal says of each row: float32 (row,), 0 where none of its ids is in the signal.

    `ids` is uint64 (row, id column), of which `columns` (intp) are looked up. SUM adds in the order of
    the columns, in float64; MAX is the greatest of the values that matched; ANY is 1 where one did.
    Id 0 never matches. Of an id that the signal holds twice, the first value counts.
    """
    table = _table(signal_ids)
    out = np.zeros(ids.shape[0], dtype=np.float32)
    for row in range(ids.shape[0]):
        total = 0.0
        greatest = -np.inf
        for column in columns:
            found = table[_probe(table, signal_ids, ids[row, column])]
            if found > 0:
                value = np.float64(values[found - 1])
                total += value
                greatest = max(greatest, value)
        if greatest > -np.inf:
            if reduce == SUM:
                out[row] = total
            elif reduce == MAX:
                out[row] = greatest
            else:
                out[row] = 1.0
    return out


@njit(cache=True, nogil=True)
def _table(signal_ids: Any) -> Any:
    """An open-addressing table at most half full: an id's index in the signal plus one, 0 where free."""
    size = 1
    while size < 2 * signal_ids.size:
        size *= 2
    table = np.zeros(size, dtype=np.int32)
    for index in range(signal_ids.size):
        place = _probe(table, signal_ids, signal_ids[index])
        # Id 0 stands for "none" in every id column, so it gets no place and is never found.
        if table[place] == 0 and signal_ids[index] != 0:
            table[place] = index + 1
    return table


@njit(cache=True, nogil=True)
def _probe(table: Any, signal_ids: Any, id: Any) -> Any:
    """Where the id lies in the table, or the free place where it would."""
    mask = np.uint64(table.size - 1)
    place = mix64_kernel(id) & mask
    while table[place] != 0 and signal_ids[table[place] - 1] != id:
        place = (place + np.uint64(1)) & mask
    return place


@njit(cache=True, nogil=True)
def assemble(static: Any, dynamic: Any, codes: Any, numbers: Any) -> Any:
    """The feature matrix, float32 (row, feature), always finite, and how often each feature was defaulted.

    A value that is NaN or infinite is missing: the feature's default takes its place, before the
    transform. A transform that ends outside the finite float32 numbers gives the transformed default.
    """
    rows = static.shape[0]
    features = codes.shape[0]
    out = np.empty((rows, features), dtype=np.float32)
    defaulted = np.zeros(features, dtype=np.int64)
    for feature in range(features):
        source = codes[feature, 0]
        a = codes[feature, 1]
        b = codes[feature, 2]
        transform = codes[feature, 3]
        default_out = np.float32(numbers[feature, DEFAULT_OUT])
        for row in range(rows):
            if source == STATIC:
                value = np.float64(static[row, a])
            elif source == DYNAMIC:
                value = np.float64(dynamic[row, a])
            else:
                below = np.float64(static[row, b]) + numbers[feature, SMOOTHING]
                value = np.float64(static[row, a]) / below if below > 0.0 else np.float64(np.nan)
            if not np.isfinite(value):
                out[row, feature] = default_out
                defaulted[feature] += 1
                continue
            if transform == LOG1P:
                value = np.log1p(value) if value > -1.0 else np.float64(np.nan)
            elif transform == CLIP:
                value = np.float64(min(max(value, numbers[feature, LOW]), numbers[feature, HIGH]))
            narrow = np.float32(value)
            if np.isfinite(narrow):
                out[row, feature] = narrow
            else:
                out[row, feature] = default_out
                defaulted[feature] += 1
    return out, defaulted
