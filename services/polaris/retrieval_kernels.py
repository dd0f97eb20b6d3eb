"""Owns the kernels that find the best pins of many boards, exact to a full sort, without sorting.

A pin's rank is key + log2 affinity of its board, and every board lies in order of key. So the pins with a
rank of at least T are the first few of each board. A round picks a T that leaves about as many pins
as are missing (a search over T; in every step each board narrows the slots in which its own border lies),
and touches just those: window, flags, then what is excluded or seen, then the merge of duplicates. When
seen pins eat the answer, the next round takes a lower T from where the last one stopped.
*Why ids and times are copied first:* the pins of a round lie in hundreds of places of a large memory. A loop
that does nothing but load them waits for many at once; one that also tests and merges waits for each.
*Why it is exact:* after a round every pin of rank T or more was touched, equal ranks included; with `limit`
distinct ones kept, nothing below T can enter, and a kept pin's best board cannot lie below T either.
By saved time boards are in no order: each round then passes over the times of all pins.
Costs: about 500 boards × 8 steps of the search, 4 in later rounds; 50 ns a touched pin, 60 more a kept one.
Next: `retrieval.py`.
"""

# ruff: noqa: PLR0917  kernels take their columns by position
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.chassis.columns.bloom import bloom_has
from services.chassis.columns.mixing import mix64_kernel
from services.polaris.board_table import find_row

KNOWN_BOARDS, PINS, TOUCHED, OUTSIDE_WINDOW, FLAGS, SEEN, DUPLICATE = 0, 1, 2, 3, 4, 5, 6
"""Places of the funnel."""
FUNNEL = 7

_FIRST_CANDIDATES = 4096


class Filters(NamedTuple):
    """What leaves a pin out. Empty arrays leave out nothing."""

    after: np.uint32
    before: np.uint32
    required: np.uint32
    forbidden: np.uint32
    excluded: NDArray[np.uint64]  # ascending
    bits: NDArray[np.uint8]  # of a bloom filter
    hash_count: int
    seed: np.uint64


class Found(NamedTuple):
    """Copies of what was kept, in no order; `rows` are rows of the request's boards."""

    pins: NDArray[np.uint64]
    ranks: NDArray[np.float64]
    rows: NDArray[np.int32]
    keys: NDArray[np.float32]
    saved_at: NDArray[np.uint32]


class Candidates(NamedTuple):
    """Pins that are kept so far, with room for more."""

    pins: NDArray[np.uint64]
    ranks: NDArray[np.float64]
    slots: NDArray[np.int64]
    rows: NDArray[np.int32]


@njit(cache=True, nogil=True)
def locate_boards(boards: Any, table: Any, asked: Any) -> Any:
    """Starts, counts (int64) and owners (uint64) of the asked boards; an unknown one has -1 pins."""
    starts = np.zeros(asked.size, dtype=np.int64)
    counts = np.full(asked.size, -1, dtype=np.int64)
    owners = np.zeros(asked.size, dtype=np.uint64)
    for i in range(asked.size):
        row = find_row(boards, table, asked[i])
        if row >= 0:
            starts[i] = boards[row].start
            counts[i] = boards[row].count
            owners[i] = boards[row].owner
    return starts, counts, owners


@njit(cache=True, nogil=True)
def best_by_rank(
    pins: Any, starts: Any, counts: Any, affinities: Any, filters: Any, limit: Any, funnel: Any
) -> Any:
    """Every kept pin down to some rank: at least `limit` of them, or all there are.

    Args:
        starts, counts: int64 per asked board; affinities: float64 log2 per asked board.
        funnel: int64 array of FUNNEL zeros, filled.
    """
    candidates, table = _candidates(min(2 * limit, _FIRST_CANDIDATES))
    kept = 0
    done = np.zeros(starts.size, dtype=np.int64)
    until = np.empty(starts.size, dtype=np.int64)
    left = _count_pins(counts, funnel)
    low, high = _bounds(pins.keys, starts, counts, affinities)
    touched = 0
    while left > 0 and kept < limit:
        # What the last rounds left out, the next one will too; but where a run of seen pins ends, a long
        # round would touch thousands in vain, and a round more costs as much as some hundred of them.
        want = limit - kept
        if touched:
            want = min(want * (touched + 1) // (kept + 1) + want // 8, max(want, touched // 4))
        high, total = _border(
            pins.keys, starts, counts, affinities, done, until, low, high, left, touched, want
        )
        candidates, table = _with_room(candidates, table, kept, total)
        ids, times = _loaded(pins, starts, done, until, total)
        place = 0
        for row in range(starts.size):
            for at in range(done[row], until[row]):
                slot = starts[row] + at
                if _passes(pins.flags, slot, ids[place], times[place], filters, funnel):
                    rank = np.float64(pins.keys[slot]) + affinities[row]
                    kept = _keep(candidates, table, kept, ids[place], rank, slot, row)
                place += 1
            done[row] = max(done[row], until[row])
        touched += total
        left -= total
    funnel[TOUCHED] = touched
    funnel[DUPLICATE] = touched - kept - funnel[OUTSIDE_WINDOW] - funnel[FLAGS] - funnel[SEEN]
    return _found(pins, candidates, kept)


@njit(cache=True, nogil=True)
def best_by_time(pins: Any, starts: Any, counts: Any, filters: Any, limit: Any, funnel: Any) -> Any:
    """The same by saved time, which is the rank here; reads the times of all pins of the boards."""
    candidates, table = _candidates(min(2 * limit, _FIRST_CANDIDATES))
    kept = 0
    left = _count_pins(counts, funnel)
    times = np.empty(left, dtype=np.int64)
    at = 0
    for row in range(starts.size):
        for slot in range(starts[row], starts[row] + counts[row]):
            times[at] = pins.saved_at[slot]
            at += 1
    ceiling = np.int64(1) << 32
    touched = 0
    while left > 0 and kept < limit:
        want = limit - kept
        if touched:
            want = min(want * (touched + 1) // (kept + 1) + want // 8, touched)
        floor, total = _time_border(times, ceiling, left, want)
        candidates, table = _with_room(candidates, table, kept, total)
        at = 0
        for row in range(starts.size):
            for slot in range(starts[row], starts[row] + counts[row]):
                if floor <= times[at] < ceiling:
                    pin = pins.ids[slot]
                    if _passes(pins.flags, slot, pin, times[at], filters, funnel):
                        kept = _keep(candidates, table, kept, pin, np.float64(times[at]), slot, row)
                at += 1
        ceiling = floor
        touched += total
        left -= total
    funnel[TOUCHED] = touched
    funnel[DUPLICATE] = touched - kept - funnel[OUTSIDE_WINDOW] - funnel[FLAGS] - funnel[SEEN]
    return _found(pins, candidates, kept)


@njit(cache=True, nogil=True)
def _loaded(pins: Any, starts: Any, done: Any, until: Any, total: Any) -> Any:
    """Ids (uint64) and times (int64) of the `total` slots done..until, board by board."""
    ids = np.empty(total, dtype=np.uint64)
    times = np.empty(total, dtype=np.int64)
    place = 0
    for row in range(starts.size):
        for slot in range(starts[row] + done[row], starts[row] + until[row]):
            ids[place] = pins.ids[slot]
            times[place] = pins.saved_at[slot]
            place += 1
    return ids, times


@njit(cache=True, nogil=True)
def _found(pins: Any, candidates: Any, kept: Any) -> Any:
    keys = np.empty(kept, dtype=np.float32)
    saved_at = np.empty(kept, dtype=np.uint32)
    for at in range(kept):
        keys[at] = pins.keys[candidates.slots[at]]
        saved_at[at] = pins.saved_at[candidates.slots[at]]
    # The slots mean nothing once the guard is left; nothing here does.
    return Found(
        candidates.pins[:kept].copy(),
        candidates.ranks[:kept].copy(),
        candidates.rows[:kept].copy(),
        keys,
        saved_at,
    )


@njit(cache=True, nogil=True)
def _count_pins(counts: Any, funnel: Any) -> Any:
    total = np.int64(0)
    for count in counts:
        if count >= 0:
            funnel[KNOWN_BOARDS] += 1
            total += count
    funnel[PINS] = total
    return total


@njit(cache=True, nogil=True)
def _border(
    keys: Any,
    starts: Any,
    counts: Any,
    affinities: Any,
    done: Any,
    until: Any,
    low: Any,
    high: Any,
    left: Any,
    touched: Any,
    want: Any,
) -> Any:
    """Set `until` so that done..until of all boards are the untouched pins of rank T or more, for some T.

    `low`, `high`: no rank is less, and no untouched one is greater.
    `left` pins are untouched, `touched` are not: the sums of what follows `done`, and of `done`.
    Returns T, and how many these are: all that are left, or at least `want` and seldom many more (more only
    when very many ranks are equal).
    """
    until[:] = counts
    enough = want + want // 4 + 16
    total = left
    if total <= enough:
        return low, total
    near = done.copy()
    border = np.empty(starts.size, dtype=np.int64)
    above, step = np.int64(0), 0
    while total > enough:
        aim = want + want // 8 + 8
        middle = _between(low, high, touched + total, touched + above, touched + aim, step)
        if not low < middle < high:
            break
        step += 1
        reached = np.int64(0)
        for row in range(starts.size):
            start, affinity = starts[row], affinities[row]
            first, last = near[row], until[row]
            # Few of a board's pins are above any threshold that matters, and these lie together: widening
            # steps from its first one stay in a cache line or two, where halving would wander through all.
            width = 1
            while first + width <= last and np.float64(keys[start + first + width - 1]) + affinity >= middle:
                first += width
                width *= 2
            last = min(last, first + width - 1)
            while first < last:
                half = (first + last) >> 1
                if np.float64(keys[start + half]) + affinity >= middle:
                    first = half + 1
                else:
                    last = half
            border[row] = first
            reached += max(first - done[row], 0)
        if reached >= want:
            until[:] = border
            total, low = reached, middle
        else:
            near[:] = border
            high, above = middle, reached
    return low, total


@njit(cache=True, nogil=True)
def _bounds(keys: Any, starts: Any, counts: Any, affinities: Any) -> Any:
    """The least and the greatest rank of all boards' pins."""
    low, high = np.inf, -np.inf
    for row in range(starts.size):
        if counts[row] > 0:
            high = max(high, keys[starts[row]] + affinities[row])
            low = min(low, keys[starts[row] + counts[row] - 1] + affinities[row])
    return low, high


@njit(cache=True, nogil=True)
def _between(low: Any, high: Any, below: Any, above: Any, aim: Any, step: Any) -> Any:
    """Where between two thresholds about `aim` pins should be left, when `below` and `above` are at the two.

    Their number grows about exponentially as the threshold falls. Every third step halves instead, so that
    ranks that are spread otherwise cost twice the steps of a bisection at most.
    """
    share = 0.5
    if step % 3 != 2:
        span = np.log((below + 1.0) / (above + 1.0))
        if span > 0.0:
            share = min(max(np.log((aim + 1.0) / (above + 1.0)) / span, 0.02), 0.98)
    return high - share * (high - low)


@njit(cache=True, nogil=True)
def _time_border(times: Any, ceiling: Any, left: Any, want: Any) -> Any:
    """A time, and how many are from it to `ceiling`: all that are left, or at least `want`."""
    low, high = np.int64(0), ceiling
    total = left
    while total > want + want // 4 + 16 and high - low > 1:
        middle = (low + high) >> 1
        reached = np.int64(0)
        for time in times:
            reached += (time >= middle) & (time < ceiling)
        if reached >= want:
            total, low = reached, middle
        else:
            high = middle
    return low, total


@njit(cache=True, nogil=True)
def _passes(flags: Any, slot: Any, pin: Any, saved_at: Any, filters: Any, funnel: Any) -> Any:
    if saved_at < filters.after or saved_at > filters.before:
        funnel[OUTSIDE_WINDOW] += 1
        return False
    # Most requests filter by no flag: their memory is not touched then.
    if filters.required | filters.forbidden:
        mine = flags[slot]
        if (mine & filters.required) != filters.required or mine & filters.forbidden:
            funnel[FLAGS] += 1
            return False
    if _is_excluded(filters.excluded, pin) or (
        filters.bits.size and bloom_has(filters.bits, filters.hash_count, filters.seed, pin)
    ):
        funnel[SEEN] += 1
        return False
    return True


@njit(cache=True, nogil=True)
def _is_excluded(excluded: Any, pin: Any) -> Any:
    low, high = 0, excluded.size
    while low < high:
        middle = (low + high) >> 1
        if excluded[middle] < pin:
            low = middle + 1
        else:
            high = middle
    return low < excluded.size and excluded[low] == pin


@njit(cache=True, nogil=True)
def _keep(candidates: Any, table: Any, kept: Any, pin: Any, rank: Any, slot: Any, row: Any) -> Any:
    """Add a pin, or move it to its better board; equal boards: the one asked for first. Returns the count."""
    mask = table.size - 1
    place = np.int64(mix64_kernel(pin) >> np.uint64(33)) & mask
    while table[place] >= 0:
        at = table[place]
        if candidates.pins[at] == pin:
            best = candidates.ranks[at]
            if rank < best or (rank == best and row > candidates.rows[at]):
                return kept
            candidates.ranks[at] = rank
            candidates.slots[at] = slot
            candidates.rows[at] = row
            return kept
        place = (place + 1) & mask
    table[place] = kept
    candidates.pins[kept] = pin
    candidates.ranks[kept] = rank
    candidates.slots[kept] = slot
    candidates.rows[kept] = row
    return kept + 1


@njit(cache=True, nogil=True)
def _candidates(size: Any) -> Any:
    """Room for `size` pins, and a table of at least twice as many places."""
    places = 1024
    while places < 2 * size:
        places *= 2
    candidates = Candidates(
        np.empty(size, dtype=np.uint64),
        np.empty(size, dtype=np.float64),
        np.empty(size, dtype=np.int64),
        np.empty(size, dtype=np.int32),
    )
    return candidates, np.full(places, -1, dtype=np.int32)


@njit(cache=True, nogil=True)
def _with_room(candidates: Any, table: Any, kept: Any, more: Any) -> Any:
    if kept + more <= candidates.pins.size:
        return candidates, table
    larger, table = _candidates(kept + more)
    for at in range(kept):
        pin, rank = candidates.pins[at], candidates.ranks[at]
        _keep(larger, table, at, pin, rank, candidates.slots[at], candidates.rows[at])
    return larger, table
