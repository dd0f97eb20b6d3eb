"""The numba kernels of item factors: look pins up, fold a user in, value the candidates.

Each candidate is valued apart from the others, always in the same order of additions, so a value has the same
bits in a request and among a million rows of training.
Pins are looked up by halving within a run of the ascending ids; `starts` says where the run of each possible
leading part of an id begins. Ids that are spread evenly leave runs of a few, others cost more steps, no more.
Half-precision factors come as their bits (uint16) and are widened in registers: `(bits & 0x7fff) << 13` as a
float32 is the number times 2⁻¹¹², subnormal ones included.
Refuses nothing: `factors.py` checked the version when it was opened.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

FOLDED_MAX: Final = 100
"""Pins of a signal that make a user: the first that have factors, in a `last` signal the newest. No knob:
training and serving must agree on it. Bounds a request's system of equations, at 0.1 ms."""

_HALF_EXPONENT = np.float32(2.0**112)
# Sums may be added up in lanes; nothing else is relaxed.
_SUMS = {"reassoc", "contract"}


@njit(cache=True, nogil=True)
def rows_of(ids: Any, pins: Any, starts: Any, shift: Any) -> Any:
    """Row of each id, int64 (id,), or −1. `pins` is uint64 ascending, `starts` uint32 (run + 1,)."""
    rows = np.full(ids.size, -1, dtype=np.int64)
    if pins.size == 0:
        return rows
    first, last = pins[0], pins[-1]
    for place in range(ids.size):
        id = ids[place]
        if id < first or id > last:
            continue
        run = (id - first) >> shift
        low = np.int64(starts[run])
        high = np.int64(starts[run + np.uint64(1)])
        while low < high:
            middle = (low + high) >> 1
            if pins[middle] < id:
                low = middle + 1
            else:
                high = middle
        if low < pins.size and pins[low] == id:
            rows[place] = low
    return rows


@njit(cache=True, nogil=True)
def folded_pins(rows: Any, weights: Any, alpha: Any) -> Any:
    """Which rows make the user, int64 (pin,), and their confidences less 1, float64 (pin,).

    The first `FOLDED_MAX` that are known (row ≥ 0) and have a weight above 0; of a pin that comes twice the
    first counts.
    """
    kept = np.empty(min(rows.size, FOLDED_MAX), dtype=np.int64)
    excess = np.empty(kept.size, dtype=np.float64)
    count = 0
    for place in range(rows.size):
        if count == kept.size:
            break
        row = rows[place]
        if row < 0 or not weights[place] > 0.0:
            continue
        twice = False
        for before in range(count):
            twice = twice or kept[before] == row
        if not twice:
            kept[count] = row
            excess[count] = alpha * np.float64(weights[place])
            count += 1
    return kept[:count], excess[:count]


@njit(cache=True, nogil=True)
def user_of(pins: Any, excess: Any) -> Any:
    """The user, float32 (dim,): `space.py` has the formula. `pins` is float32 (pin, dim), z of each.

    Costs pin² · dim / 2 + pin³ / 6 multiplications. Without pins: zeros.
    """
    count, dim = pins.shape
    root = np.sqrt(excess)
    system = np.empty((count, count), dtype=np.float64)
    shares = np.zeros(count, dtype=np.float64)
    for i in range(count):
        for j in range(i + 1):
            near = _dot(pins[i], pins[j])
            system[i, j] = near * root[i] * root[j]
            # K c, of the lower half and of its mirror image.
            shares[i] += near * (1.0 + excess[j])
            if i != j:
                shares[j] += near * (1.0 + excess[i])
        system[i, i] += 1.0
    for i in range(count):
        shares[i] *= root[i]
    _solve(system, shares)
    user = np.zeros(dim, dtype=np.float64)
    for i in range(count):
        share = 1.0 + excess[i] - root[i] * shares[i]
        for column in range(dim):
            user[column] += share * pins[i, column]
    return user.astype(np.float32)


@njit(cache=True, nogil=True)
def values(user: Any, factors: Any, rows: Any) -> Any:
    """u · z of each row of float32 factors, float32 (row,); NaN where the row is −1."""
    out = np.empty(rows.size, dtype=np.float32)
    for place in range(rows.size):
        out[place] = _dot(user, factors[rows[place]]) if rows[place] >= 0 else np.nan
    return out


@njit(cache=True, nogil=True)
def half_values(user: Any, factors: Any, rows: Any, scale: Any) -> Any:
    """The same of half-precision factors, which hold `scale` · z: their bits, uint16 (pin, dim)."""
    out = np.empty(rows.size, dtype=np.float32)
    wide = np.empty(user.size, dtype=np.float32)
    for place in range(rows.size):
        if rows[place] >= 0:
            _widen(factors[rows[place]], scale, wide)
            out[place] = _dot(user, wide)
        else:
            out[place] = np.nan
    return out


@njit(cache=True, nogil=True)
def half_rows(factors: Any, rows: Any, scale: Any) -> Any:
    """z of the rows, float32 (row, dim)."""
    out = np.empty((rows.size, factors.shape[1]), dtype=np.float32)
    for place in range(rows.size):
        _widen(factors[rows[place]], scale, out[place])
    return out


@njit(cache=True, nogil=True)
def _widen(bits: Any, scale: Any, out: Any) -> None:
    whole = out.view(np.uint32)
    for column in range(bits.size):
        half = np.uint32(bits[column])
        whole[column] = ((half & np.uint32(0x7FFF)) << np.uint32(13)) | (
            (half & np.uint32(0x8000)) << np.uint32(16)
        )
    back = _HALF_EXPONENT / scale
    for column in range(bits.size):
        out[column] *= back


@njit(cache=True, nogil=True, fastmath=_SUMS)
def _dot(a: Any, b: Any) -> Any:
    total = np.float32(0.0)
    for column in range(a.size):
        total += a[column] * b[column]
    return total


@njit(cache=True, nogil=True)
def _solve(system: Any, right: Any) -> None:
    """Solve for a symmetric positive definite matrix, of which the lower half is read, both in place."""
    count = right.size
    for i in range(count):
        for j in range(i + 1):
            total = system[i, j]
            for k in range(j):
                total -= system[i, k] * system[j, k]
            system[i, j] = np.sqrt(total) if i == j else total / system[j, j]
        total = right[i]
        for k in range(i):
            total -= system[i, k] * right[k]
        right[i] = total / system[i, i]
    for i in range(count - 1, -1, -1):
        total = right[i]
        for k in range(i + 1, count):
            total -= system[k, i] * right[k]
        right[i] = total / system[i, i]
