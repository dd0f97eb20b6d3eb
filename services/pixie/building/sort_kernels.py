"""Kernels on sorted columns, in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def drop_repeated(keys: Any) -> int:
    """Move every key of ascending `keys` once to the front; how many there are."""
    kept = 0
    for place in range(keys.size):
        if place == 0 or keys[place] != keys[place - 1]:
            keys[kept] = keys[place]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def keep_last(keys: Any, states: Any) -> int:
    """Move the last entry of every key of ascending `keys` to the front; how many there are."""
    kept = 0
    for place in range(keys.size):
        if place + 1 == keys.size or keys[place] != keys[place + 1]:
            keys[kept] = keys[place]
            states[kept] = states[place]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def bucket_starts(ids: Any, shift: Any, starts: Any) -> None:
    """Fill `starts` int64 (bucket + 1,): where ids of each bucket, (id - first id) >> shift, begin."""
    first = ids[0]
    bucket = np.int64(0)
    for row in range(ids.size):
        of = np.int64((ids[row] - first) >> shift)
        while bucket <= of:
            starts[bucket] = row
            bucket += 1
    while bucket < starts.size:
        starts[bucket] = ids.size
        bucket += 1


@njit(cache=True, nogil=True)
def find_rows(ids: Any, shift: Any, starts: Any, wanted: Any, rows: Any) -> None:
    """Fill `rows` int64 with the places of `wanted` uint64 in `ids`, -1 where absent."""
    first, last = ids[0], ids[-1]
    for place in range(wanted.size):
        id_ = wanted[place]
        rows[place] = -1
        if id_ < first or id_ > last:
            continue
        bucket = np.int64((id_ - first) >> shift)
        low, high = starts[bucket], starts[bucket + 1]
        while low < high:
            middle = (low + high) >> 1
            if ids[middle] < id_:
                low = middle + 1
            else:
                high = middle
        if low < ids.size and ids[low] == id_:
            rows[place] = low
