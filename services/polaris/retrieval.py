"""Owns a retrieval: boards and filters in, the best pins out as columns, best first.

Only the kernels run under the arena's reading guard, and what they find are copies; the last sort and the
scores are outside. `tests/polaris/full_sort.py` is the same answer by a full sort: it defines what is
right, and the tests hold the kernels to it. Refuses nothing: `service.py` has checked the request.
Next: `retrieval_kernels.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.polaris.arena import Arena
from services.polaris.arena_changes import PUT_BOARD, Changes
from services.polaris.light_score import SAVED_AT_MAX, LightScale
from services.polaris.retrieval_kernels import FUNNEL, Filters, best_by_rank, best_by_time, locate_boards


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is asked: boards (uint64), log2 affinities aligned (float64), filters, how many, which order."""

    boards: NDArray[np.uint64]
    log2_affinities: NDArray[np.float64]
    filters: Filters
    limit: int
    now_ms: int
    newest_first: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Retrieved:
    """Aligned columns, best first, ties by pin; `board_rows` are rows of `hit_boards`."""

    pins: NDArray[np.uint64]
    scores: NDArray[np.float32]
    saved_at: NDArray[np.uint32]
    board_rows: NDArray[np.uint16]
    hit_boards: NDArray[np.uint64]
    hit_owners: NDArray[np.uint64]
    funnel: NDArray[np.int64]


def retrieve(arena: Arena, query: Query, scale: LightScale) -> Retrieved:
    """The best pins of the query's boards; blocks while the follower writes a slice."""
    funnel = np.zeros(FUNNEL, dtype=np.int64)
    with arena.guard.read():
        starts, counts, owners = locate_boards(arena.boards, arena.table, query.boards)
        if query.newest_first:
            found = best_by_time(arena.pins, starts, counts, query.filters, query.limit, funnel)
        else:
            found = best_by_rank(
                arena.pins, starts, counts, query.log2_affinities, query.filters, query.limit, funnel
            )
    top = _best_first(found.ranks, found.pins, limit=query.limit)
    # By time affinities count for nothing, in the scores too.
    ranks = (found.keys[top] if query.newest_first else found.ranks[top]).astype(np.float64, copy=False)
    rows = found.rows[top]
    hit = np.zeros(query.boards.size, dtype=np.bool_)
    hit[rows] = True
    hit_rows = np.flatnonzero(hit)
    row_of = np.cumsum(hit, dtype=np.int64) - 1
    return Retrieved(
        pins=found.pins[top],
        scores=scale.scores(ranks=ranks, now_ms=query.now_ms),
        saved_at=found.saved_at[top],
        board_rows=row_of[rows].astype(np.uint16),
        hit_boards=query.boards[hit_rows],
        hit_owners=owners[hit_rows],
        funnel=funnel,
    )


def no_filters() -> Filters:
    """Filters that let every pin pass."""
    return Filters(
        after=np.uint32(0),
        before=np.uint32(SAVED_AT_MAX),
        required=np.uint32(0),
        forbidden=np.uint32(0),
        excluded=np.empty(0, dtype=np.uint64),
        bits=_NO_BITS,
        hash_count=1,
        seed=np.uint64(0),
    )


def warm(scale: LightScale) -> None:
    """Compile, or load from the cache, every kernel with the types that requests and records have."""
    arena = Arena(pins_per_board_max=4, pins_max=4)
    boards = np.array([1, 2], dtype=np.uint64)
    boards.flags.writeable = False
    zeros = np.zeros(2, dtype=np.uint32)
    kinds = np.array([PUT_BOARD, 1], dtype=np.uint8)
    keys = np.zeros(2, dtype=np.float32)
    writable = boards.copy()
    arena.apply(Changes(kinds, writable, writable, keys, zeros, zeros, writable))
    arena.pins_max = 0
    arena.shrink(spare_pins=1, most_pins=1)
    arena.board_pins(1, limit=1)
    for newest_first in (False, True):
        retrieve(arena, Query(boards, np.zeros(2), no_filters(), 1, 0, newest_first), scale)


def _best_first(ranks: NDArray[np.float64], pins: NDArray[np.uint64], *, limit: int) -> NDArray[np.int64]:
    """Places of the best `limit`: ranks descending, equal ones by pin ascending."""
    if ranks.size > 2 * limit:
        # A partition costs less than the sort of what is thrown away; pins equal to the last one stay in.
        worst = np.partition(ranks, ranks.size - limit)[ranks.size - limit]
        within = np.flatnonzero(ranks >= worst)
    else:
        within = np.arange(ranks.size)
    ranks, pins = ranks[within], pins[within]
    order = np.argsort(-ranks)
    ordered = ranks[order]
    # A sort by two columns costs three times as much, and ranks are seldom equal.
    if (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((pins, -ranks))
    return within[order[:limit]]


def _no_bits() -> NDArray[np.uint8]:
    bits = np.empty(0, dtype=np.uint8)
    bits.flags.writeable = False
    return bits


_NO_BITS = _no_bits()
