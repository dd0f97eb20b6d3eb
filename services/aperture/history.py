"""Owns the answers: which entities were seen, what was done last, how often; all vectorised, on columns.

A user's rows come in two parts: `Settled`, read from the store once and cached, and the fresh rows of memory.
The seen set of 10,000 entities must cost microseconds, so `Settled` keeps each entity's *last* time, newest
first: a window is then a prefix, and only the few fresh entities are looked up.
Windows are (start, end]: a row at `start_s` is out, one at `end_s` is in. Knows neither storage nor clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.aperture.rows import NO_ROWS, Rows, concat

COUNT_MAX = (1 << 16) - 1
_TYPES = 256
# What a cached row costs at most: 13 bytes, and 8 + 4 + 8 + 8 for its entity in `Recent`.
ROW_BYTES_CACHED = 41
ENTRY_BYTES = 1_000


@dataclass(frozen=True)
class Window:
    """(start_s, end_s], seconds since 1970; both fit uint32."""

    start_s: int
    end_s: int

    def of(self, rows: Rows) -> Rows:
        """The rows inside."""
        return rows.select((rows.times > self.start_s) & (rows.times <= self.end_s))


@dataclass(frozen=True, slots=True, eq=False)
class Recent:
    """Each entity once. `ids` newest first, `times` its last time (descending); `ordered` is `ids` ascending,
    and `ranks` says where each of `ordered` stands in `ids`."""

    ids: NDArray[np.uint64]
    times: NDArray[np.uint32]
    ordered: NDArray[np.uint64]
    ranks: NDArray[np.intp]


class Settled:
    """Rows of one user that are in the store, oldest first; immutable once made, free to share.

    `start_bucket`: buckets before it were not read. `truncated`: nor were older rows, because of the limit.
    """

    def __init__(self, rows: Rows, *, start_bucket: int, truncated: bool) -> None:
        self.rows = rows
        self.start_bucket = start_bucket
        self.truncated = truncated
        self.newest_s = int(rows.times[-1]) if len(rows) else 0
        self.oldest_s = int(rows.times[0]) if len(rows) else 0

    @cached_property
    def recent(self) -> Recent:
        """Made at the first use. Two threads may both make it: the results are equal."""
        return recent_of(self.rows)

    @property
    def size_bytes(self) -> int:
        """Memory when `recent` is made, too."""
        return ENTRY_BYTES + ROW_BYTES_CACHED * len(self.rows)


NOTHING = Settled(NO_ROWS, start_bucket=0, truncated=False)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The seen set, in no order. `truncated`: older ones were left out."""

    ids: NDArray[np.uint64]
    truncated: bool


def recent_of(rows: Rows) -> Recent:
    """Return every entity of `rows` (oldest first) once."""
    newest_first = rows.entities[::-1]
    ordered, first = np.unique(newest_first, return_index=True)
    order = np.argsort(first)
    ranks = np.empty(order.size, dtype=np.intp)
    ranks[order] = np.arange(order.size)
    return Recent(ordered[order], rows.times[::-1][first[order]], ordered, ranks)


def seen(settled: Settled, fresh: Rows, window: Window, *, limit: int) -> Seen:
    """Return the entities with a row in the window, at most the `limit` newest."""
    recent = settled.recent
    count = recent.times.size - _count_until(recent, window.start_s)
    keep = np.ones(count, dtype=np.bool_)
    later = min(count, recent.times.size - _count_until(recent, window.end_s))
    if later:
        # Seen after the window, and maybe in it, too: the last time does not tell.
        keep[:later] = np.isin(recent.ids[:later], _settled_in(settled, window).entities)
    newer = recent_of(window.of(fresh).by_time()).ids
    if newer.size and recent.ordered.size:
        places = np.minimum(np.searchsorted(recent.ordered, newer), recent.ordered.size - 1)
        known = recent.ranks[places[recent.ordered[places] == newer]]
        keep[known[known < count]] = False
    ids = np.concatenate((newer, recent.ids[:count][keep]))
    truncated = settled.truncated and settled.oldest_s > window.start_s
    return Seen(ids[:limit], truncated or ids.size > limit)


def newest(settled: Settled, fresh: Rows, window: Window, *, types: NDArray[np.uint8], limit: int) -> Rows:
    """Return the newest rows in the window with one of `types` (empty: any), newest first."""
    older, newer = _settled_in(settled, window), window.of(fresh)
    if types.size:
        older, newer = (rows.select(np.isin(rows.types, types)) for rows in (older, newer))
    rows = concat([older.select(slice(max(0, len(older) - limit), None)), newer]).by_time()
    return rows.select(slice(None, -limit - 1, -1))


def count_actions(
    settled: Settled,
    fresh: Rows,
    *,
    entities: NDArray[np.uint64],
    types: NDArray[np.uint8],
    windows: list[Window],
) -> NDArray[np.uint16]:
    """Return how often each entity was acted on: uint16 of shape (entity, action, window), at most COUNT_MAX.

    Entities, actions and windows may repeat, and none of them is empty. All windows end at the same time.
    """
    wanted, entity_of = np.unique(entities, return_inverse=True)
    kinds, kind_of = np.unique(types, return_inverse=True)
    columns = np.full(_TYPES, -1, dtype=np.int64)
    columns[kinds] = np.arange(kinds.size)
    widest = Window(min(window.start_s for window in windows), windows[0].end_s)
    rows = concat([_settled_in(settled, widest), widest.of(fresh)])
    rows = rows.select(columns[rows.types] >= 0)
    places = np.minimum(np.searchsorted(wanted, rows.entities), wanted.size - 1)
    found = wanted[places] == rows.entities
    cells = places[found] * kinds.size + columns[rows.types[found]]
    times = rows.times[found]
    counts = np.empty((wanted.size, kinds.size, len(windows)), dtype=np.uint16)
    for number, window in enumerate(windows):
        sums = np.bincount(cells[times > window.start_s], minlength=wanted.size * kinds.size)
        counts[:, :, number] = np.minimum(sums, COUNT_MAX).reshape(wanted.size, kinds.size)
    return counts[entity_of][:, kind_of]


def _settled_in(settled: Settled, window: Window) -> Rows:
    """The settled rows of the window, by bisection."""
    ends = np.array([window.start_s, window.end_s], dtype=np.uint32)
    first, last = np.searchsorted(settled.rows.times, ends, side="right")
    return settled.rows.select(slice(int(first), int(last)))


def _count_until(recent: Recent, time_s: int) -> int:
    """How many entities were last touched at `time_s` or before."""
    return int(np.searchsorted(recent.times[::-1], np.uint32(time_s), side="right"))
