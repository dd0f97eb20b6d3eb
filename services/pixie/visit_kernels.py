"""Kernels that count visits: a table for the query pin at hand, a log of all, and their totals.

    walk of one query pin ─► Table ─ drain ─► Log, the part of that query pin ─ add_up ─► Totals

A table is small, as a query pin has few of the request's steps, and stays in the processor's cache; with one
table of (query pin, pin) each visit would be a miss. The log keeps who was visited from where: the
booster's square roots and the reasons are read from it, in order.
All arrays are made once and used again. A table is cleared by what it holds, slot by slot, as it is drained.
*Bounds.* A query pin has `room` for so many distinct rows; what comes later finds no place and is counted.
Rooms are shares of the whole log, fixed before the walk: what is dropped does not depend on threads.
*Addresses.* slot = (row × factor) >> shift: a hash of the upper bits (Fibonacci), or, where the table has a
slot for every row of the graph, the row itself.
"""

# ruff: noqa: PLR0917  kernels take their columns by position
from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_POWERS: Final = 512
"""Degrees whose power is taken from a table: a power costs as much as a visit."""


class Table(NamedTuple):
    """Visits from one query pin. A slot without visits is free."""

    rows: NDArray[np.uint32]
    visits: NDArray[np.float32]
    taken: NDArray[np.uint32]  # slots, in the order in which they were taken; one more than there is room


class Log(NamedTuple):
    """Visits by query pin: those of query q are [starts[q]:starts[q] + counts[q]]."""

    rows: NDArray[np.uint32]  # after `add_up`: places in the totals
    visits: NDArray[np.float32]


class Totals(NamedTuple):
    """Visits from all query pins, by place: the order in which rows were first seen."""

    places: NDArray[np.uint32]  # by slot: place plus 1, 0: free
    slots: NDArray[np.uint32]  # by place
    rows: NDArray[np.uint32]
    visits: NDArray[np.float64]
    roots: NDArray[np.float64]  # sums of square roots of a query pin's visits


@njit(cache=True, nogil=True)
def addressing(room: int, node_count: int) -> tuple[Any, Any, Any]:
    """(factor, shift, mask) of a table with two slots for each of `room` rows."""
    bits = 1
    while (1 << bits) < 2 * room:
        bits += 1
    mask = np.uint64((1 << bits) - 1)
    if (1 << bits) >= node_count:
        return np.uint64(1), np.uint64(0), mask
    return _GOLDEN, np.uint64(64 - bits), mask


@njit(cache=True, nogil=True, forceinline=True)
def count_visit(
    rows: Any, visits: Any, taken: Any, address: Any, row: Any, amount: Any, used: int, room: int
) -> tuple[Any, int]:
    """(visits of the row so far, rows in the table); (0, `used`) when there is no room for it.

    Takes the arrays of a table one by one and writes to all of them in any case: for fields of tuples, and
    for arrays that only a branch uses, numba counts references, which here costs several times the visit.
    """
    factor, shift, mask = address
    slot = (np.uint64(row) * factor) >> shift
    while visits[slot] != 0 and rows[slot] != row:
        slot = (slot + np.uint64(1)) & mask
    so_far = visits[slot]
    added = np.float32(amount) if so_far != 0 or used < room else np.float32(0)
    rows[slot] = row
    taken[used] = slot
    visits[slot] = so_far + added
    return so_far + added, used + (so_far == 0 and used < room)


@njit(cache=True, nogil=True)
def drain(table: Table, used: int, log: Log, start: int) -> None:
    """Move what the table holds to the log, from `start` on; the table is empty then."""
    rows, visits, taken = table
    log_rows, log_visits = log
    for place in range(used):
        slot = taken[place]
        log_rows[start + place] = rows[slot]
        log_visits[start + place] = visits[slot]
        visits[slot] = 0


@njit(cache=True, nogil=True)
def add_up(log: Log, starts: Any, counts: Any, totals: Totals, room: int, node_count: int) -> int:
    """Sum the log in the order of query pins; how many rows were visited. The totals must be empty.

    `room`, `node_count`: as `places_of` is given them afterwards.
    """
    factor, shift, mask = addressing(room, node_count)
    log_rows, log_visits = log
    places, slots, rows, sums, roots = totals
    used = 0
    for query in range(counts.size):
        for entry in range(starts[query], starts[query] + counts[query]):
            row = log_rows[entry]
            visits = np.float64(log_visits[entry])
            slot = (np.uint64(row) * factor) >> shift
            while places[slot] and rows[places[slot] - np.uint32(1)] != row:
                slot = (slot + np.uint64(1)) & mask
            if places[slot] == 0:
                rows[used] = row
                slots[used] = slot
                sums[used] = 0
                roots[used] = 0
                used += 1
                places[slot] = used
            place = np.int64(places[slot]) - 1
            sums[place] += visits
            roots[place] += np.sqrt(visits)
            log_rows[entry] = place
    return used


@njit(cache=True, nogil=True)
def clear(totals: Totals, used: int) -> None:
    """Empty the totals."""
    places, slots, _, _, _ = totals
    for place in range(used):
        places[slots[place]] = 0


@njit(cache=True, nogil=True)
def score_visited(totals: Totals, used: int, starts: Any, booster: Any, penalty: Any) -> Any:
    """Scores, float32 by place: visits, or the square of the roots' sum (paper, equation 3), penalised.

    `starts`: of the graph, which give degrees.
    """
    powers = np.arange(_POWERS).astype(np.float64) ** penalty
    _, _, rows, sums, roots = totals
    scores = np.empty(used, np.float32)
    for place in range(used):
        row = np.int64(rows[place])
        degree = np.int64(starts[row + 1] - starts[row])
        power = powers[degree] if degree < _POWERS else np.float64(degree) ** penalty
        scores[place] = (roots[place] * roots[place] if booster else sums[place]) / power
    return scores


@njit(cache=True, nogil=True)
def places_of(totals: Totals, room: int, node_count: int, wanted: Any) -> Any:
    """Places of rows, int64 aligned; -1 where not visited, or where the row is -1."""
    factor, shift, mask = addressing(room, node_count)
    places, _, rows, _, _ = totals
    found = np.full(wanted.size, -1, np.int64)
    for index in range(wanted.size):
        if wanted[index] < 0:
            continue
        slot = (np.uint64(wanted[index]) * factor) >> shift
        while places[slot] and rows[places[slot] - np.uint32(1)] != wanted[index]:
            slot = (slot + np.uint64(1)) & mask
        if places[slot]:
            found[index] = np.int64(places[slot]) - 1
    return found


@njit(cache=True, nogil=True)
def find_reasons(
    log: Log, starts: Any, counts: Any, used: int, places: Any, most: int
) -> tuple[Any, Any, Any]:
    """(counts, queries, visits) of the query pins that led to answered places, most visits first.

    Args:
        places: int64 (answered,), -1 where nothing led there. A place that comes twice is told of once.
        most: query pins that are told of each, at least 1.

    Returns:
        counts int64 (answered,); queries int64 and visits float32, both of shape (answered, most). Of equal
        visits the query pin that comes first.
    """
    log_rows, log_visits = log
    answered = np.full(used, -1, np.int64)
    for index in range(places.size):
        if places[index] >= 0:
            answered[places[index]] = index
    found = np.zeros(places.size, np.int64)
    queries = np.zeros((places.size, most), np.int64)
    visits = np.zeros((places.size, most), np.float32)
    for query in range(counts.size):
        for entry in range(starts[query], starts[query] + counts[query]):
            index = answered[log_rows[entry]]
            if index < 0:
                continue
            at = min(found[index], most - 1)
            if found[index] == most and log_visits[entry] <= visits[index, at]:
                continue
            while at > 0 and visits[index, at - 1] < log_visits[entry]:
                visits[index, at] = visits[index, at - 1]
                queries[index, at] = queries[index, at - 1]
                at -= 1
            visits[index, at] = log_visits[entry]
            queries[index, at] = query
            found[index] = min(found[index] + 1, most)
    return found, queries, visits
