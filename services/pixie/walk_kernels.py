"""Kernels that walk: from one query pin after another, through boards, to pins.

*Many walks at once.* A step reads four places of the graph, each known only when the one before has been
read: on a graph that is larger than the processor's caches a walk does nothing but wait. So `LANES` walks of
one query pin go on in turn, each stage for all of them, and the waiting is shared. The length of each walk is
drawn when it begins, and walks begin one after the other until the steps are given out: the visits are those
of walks one by one, in another order.
*Same answer.* A query pin has random numbers of its own, from the request's seed and its place: neither the
number of threads nor the other query pins change what it visits.
"""

# ruff: noqa: PLR0917  kernels take their columns by position
from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.chassis.columns.mixing import mix64_kernel
from services.chassis.columns.prefetch import prefetch
from services.pixie.visit_kernels import Log, Table, addressing, count_visit, drain

LANES: Final = 64
"""Walks that go on in turn. With 1 the graph of ten million edges is walked at a sixth of the speed."""
WAYS_A_STEP: Final = 4
"""Ways that are taken one after the other in the time of one step by chance: where a query pin has no more of
them, counting all costs no more than drawing."""
STEPS, DROPPED, EARLY_STOPS = 0, 1, 2
"""Places of the report."""
REPORT: Final = 3

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)
_NONE: Final = np.uint64(0)
_LOW: Final = np.uint64(0xFFFFFFFF)
_TO_UNIT: Final = 2.0**-53


class Sides(NamedTuple):
    """The arrays of `Graph` that walks read."""

    pin_starts: NDArray[np.uint64]
    pin_edges: NDArray[np.uint32]
    pin_classes: NDArray[np.uint16]
    board_starts: NDArray[np.uint64]
    board_edges: NDArray[np.uint32]
    board_classes: NDArray[np.uint16]


class Queries(NamedTuple):
    """Query pins, aligned."""

    rows: NDArray[np.int64]
    steps: NDArray[np.int64]
    rooms: NDArray[np.int64]  # distinct pins, and boards, that are counted
    starts: NDArray[np.int64]  # of their part of the logs
    seeds: NDArray[np.uint64]


class How(NamedTuple):
    """Settings as kernels take them."""

    restart: float
    early_stop_pins: int  # 0: none
    early_stop_visits: int
    bias: float  # 0 unless something is preferred
    preferred: int  # class
    exact: bool
    boards: bool  # whether boards are counted


class Found(NamedTuple):
    """Where visits of one side go."""

    log: Log
    counts: NDArray[np.int64]  # by query


@njit(cache=True, nogil=True)
def walk_queries(
    sides: Sides,
    queries: Queries,
    how: How,
    pins: Table,
    boards: Table,
    found_pins: Found,
    found_boards: Found,
    first: int,
    last: int,
) -> Any:
    """Walk from the query pins [first, last); the report, int64 (REPORT,)."""
    report = np.zeros(REPORT, np.int64)
    pin_count, board_count = sides.pin_starts.size - 1, sides.board_starts.size - 1
    for query in range(first, last):
        row, steps, room = queries.rows[query], queries.steps[query], queries.rooms[query]
        every_way = how.exact and _few_ways(sides, row, WAYS_A_STEP * steps)
        if not every_way:
            # A small table is a fast one.
            room = min(room, steps)
        addresses = (addressing(room, pin_count), addressing(room, board_count))
        state = (row, steps, room, addresses[0], addresses[1], queries.seeds[query])
        if every_way:
            pins_used, boards_used = _enumerate(sides, how, state, pins, boards, report)
        else:
            pins_used, boards_used = _walk(sides, how, state, pins, boards, report)
        drain(pins, pins_used, found_pins.log, queries.starts[query])
        drain(boards, boards_used, found_boards.log, queries.starts[query])
        found_pins.counts[query] = pins_used
        found_boards.counts[query] = boards_used
    return report


@njit(cache=True, nogil=True)
def _walk(sides: Sides, how: How, state: Any, pins: Table, boards: Table, report: Any) -> tuple[int, int]:
    """(pins, boards) in the tables after the walks of one query pin."""
    query_row, steps_left, room, pin_address, board_address, random = state
    pin_starts, pin_edges, pin_classes, board_starts, board_edges, board_classes = sides
    restart, stop_pins, stop_visits, bias, preferred, _, count_boards = how
    rows, visits, taken = pins
    current, left = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    draws, at = np.empty(LANES, np.uint64), np.empty(LANES, np.int64)
    per_log = 0.0 if restart >= 1.0 else 1.0 / np.log1p(-restart)
    pins_used, boards_used, high, lanes, steps, dropped = 0, 0, 0, 0, 0, 0
    while lanes < LANES and steps_left > 0:
        random += _GOLDEN
        left[lanes] = _walk_length(mix64_kernel(random), per_log, steps_left)
        steps_left -= left[lanes]
        current[lanes] = query_row
        lanes += 1
    while lanes > 0 and (stop_pins == 0 or high <= stop_pins):
        random = _draw(draws, lanes, random)
        _step(pin_starts, pin_edges, board_classes, current, draws, at, lanes, _HALF, bias, preferred)
        _arrive(pin_edges, board_starts, at, current, lanes)
        if count_boards:
            boards_used, lost = _count(boards, board_address, current, lanes, boards_used, room)
            dropped += lost
        _step(board_starts, board_edges, pin_classes, current, draws, at, lanes, _NONE, bias, preferred)
        steps += lanes
        lane = 0
        while lane < lanes:
            pin = board_edges[at[lane]]
            so_far, pins_used = count_visit(rows, visits, taken, pin_address, pin, 1, pins_used, room)
            dropped += so_far == 0
            high += so_far == stop_visits
            left[lane] -= 1
            if left[lane] > 0:
                current[lane] = pin
                prefetch(pin_starts, current[lane])
            elif steps_left > 0:
                random += _GOLDEN
                left[lane] = _walk_length(mix64_kernel(random), per_log, steps_left)
                steps_left -= left[lane]
                current[lane] = query_row
            else:
                # Nothing is left to begin: the last lane takes this one's place.
                lanes -= 1
                current[lane], left[lane], at[lane] = current[lanes], left[lanes], at[lanes]
                continue
            lane += 1
    report[STEPS] += steps
    report[DROPPED] += dropped
    report[EARLY_STOPS] += lanes > 0
    return pins_used, boards_used


@njit(cache=True, nogil=True)
def _draw(draws: Any, lanes: int, random: Any) -> Any:
    """Random bits for each lane; the state after them."""
    for lane in range(lanes):
        random += _GOLDEN
        draws[lane] = mix64_kernel(random)
    return random


@njit(cache=True, nogil=True)
def _step(
    starts: Any,
    edges: Any,
    classes: Any,
    current: Any,
    draws: Any,
    at: Any,
    lanes: int,
    shift: Any,
    bias: Any,
    preferred: Any,
) -> None:
    """Choose an edge of each lane's node, by 32 bits of its draw, and ask for it."""
    for lane in range(lanes):
        at[lane] = _choose(starts, edges, classes, current[lane], draws[lane], shift, bias, preferred)
        prefetch(edges, at[lane])


@njit(cache=True, nogil=True)
def _arrive(edges: Any, starts: Any, at: Any, current: Any, lanes: int) -> None:
    """Follow the edge of each lane, and ask for the edges of the node where it leads."""
    for lane in range(lanes):
        current[lane] = edges[at[lane]]
        prefetch(starts, current[lane])


@njit(cache=True, nogil=True)
def _count(table: Table, address: Any, current: Any, lanes: int, used: int, room: int) -> tuple[int, int]:
    """(rows in the table, visits dropped) after a visit of each lane's node."""
    rows, visits, taken = table
    dropped = 0
    for lane in range(lanes):
        row = np.uint32(current[lane])
        so_far, used = count_visit(rows, visits, taken, address, row, 1, used, room)
        dropped += so_far == 0
    return used, dropped


@njit(cache=True, nogil=True, forceinline=True)
def _walk_length(draw: Any, per_log: Any, most: int) -> Any:
    """Steps of a walk that ends after each with the chance `restart`; per_log = 1 / log(1 - restart)."""
    if per_log == 0.0:
        return 1
    # From (0, 1], so that the logarithm is finite.
    length = 1.0 + np.floor(np.log((np.float64(draw >> np.uint64(11)) + 1.0) * _TO_UNIT) * per_log)
    # Not the other way round: with the least of restarts it is no number.
    return np.int64(length) if length < most else most


@njit(cache=True, nogil=True, forceinline=True)
def _choose(
    starts: Any, edges: Any, classes: Any, node: Any, draw: Any, shift: Any, bias: Any, preferred: Any
) -> Any:
    """An edge of a node, by 32 of a draw's bits: a node of d edges favours some of them by d / 2^32."""
    begin, end = np.int64(starts[node]), np.int64(starts[node + 1])
    keeps = bias > 0 and _chance(mix64_kernel(draw + shift + np.uint64(1))) < bias
    # Searched in any case, in nothing when it does not matter: a branch would cost more (`count_visit`).
    first, last = preferred_run(edges, classes, begin, end if keeps else begin, preferred)
    if first < last:
        begin, end = first, last
    return begin + np.int64((((draw >> shift) & _LOW) * np.uint64(end - begin)) >> _HALF)


@njit(cache=True, nogil=True, forceinline=True)
def _chance(draw: Any) -> Any:
    return np.float64(draw >> np.uint64(11)) * _TO_UNIT


@njit(cache=True, nogil=True, forceinline=True)
def preferred_run(edges: Any, classes: Any, begin: Any, end: Any, preferred: int) -> tuple[Any, Any]:
    """[first, last) of a node's edges to neighbours of a class: they lie in one run (paper, section 3.1)."""
    first = _first_not_below(edges, classes, begin, end, preferred)
    return first, _first_not_below(edges, classes, first, end, preferred + 1)


@njit(cache=True, nogil=True, forceinline=True)
def _first_not_below(edges: Any, classes: Any, low: Any, high: Any, wanted: int) -> Any:
    while low < high:
        middle = (low + high) >> 1
        if classes[edges[middle]] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _few_ways(sides: Sides, query_row: Any, most: Any) -> bool:
    """Whether round trips from a pin have at most so many ways."""
    starts, edges, _, board_starts, _, _ = sides
    ways = np.int64(0)
    for place in range(np.int64(starts[query_row]), np.int64(starts[query_row + 1])):
        board = np.int64(edges[place])
        ways += np.int64(board_starts[board + 1] - board_starts[board])
        if ways > most:
            return False
    return True


@njit(cache=True, nogil=True)
def _enumerate(
    sides: Sides, how: How, state: Any, pins: Table, boards: Table, report: Any
) -> tuple[int, int]:
    """(pins, boards) in the tables, with the visits that round trips of one query pin expect."""
    query_row, steps, room, pin_address, board_address, _ = state
    pin_starts, pin_edges, pin_classes, board_starts, board_edges, board_classes = sides
    rows, visits, taken = pins
    board_rows, board_visits, boards_taken = boards
    _, _, _, bias, preferred, _, count_boards = how
    pins_used, boards_used, dropped = 0, 0, 0
    begin, end = np.int64(pin_starts[query_row]), np.int64(pin_starts[query_row + 1])
    first, last, others, these = _shares(pin_edges, board_classes, begin, end, bias, preferred)
    for place in range(begin, end):
        board = pin_edges[place]
        expected = np.float64(steps) * (these if first <= place < last else others)
        if count_boards and expected > 0:
            so_far, boards_used = count_visit(
                board_rows, board_visits, boards_taken, board_address, board, expected, boards_used, room
            )
            dropped += so_far == 0
        low, high = np.int64(board_starts[board]), np.int64(board_starts[board + 1])
        low_run, high_run, of_others, of_these = _shares(board_edges, pin_classes, low, high, bias, preferred)
        for edge in range(low, high):
            amount = expected * (of_these if low_run <= edge < high_run else of_others)
            if amount > 0:
                so_far, pins_used = count_visit(
                    rows, visits, taken, pin_address, board_edges[edge], amount, pins_used, room
                )
                dropped += so_far == 0
    report[STEPS] += steps
    report[DROPPED] += dropped
    return pins_used, boards_used


@njit(cache=True, nogil=True)
def _shares(edges: Any, classes: Any, begin: Any, end: Any, bias: Any, preferred: Any) -> Any:
    """(first, last, chance of each edge outside [first, last), chance of each within)."""
    first, last = preferred_run(edges, classes, begin, end if bias > 0 else begin, preferred)
    if first >= last:
        return first, last, 1.0 / (end - begin), 0.0
    others = (1.0 - bias) / (end - begin)
    return first, last, others, others + bias / (last - first)
