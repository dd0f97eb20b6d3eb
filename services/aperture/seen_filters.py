"""Owns the cache of users' seen filters: a filter is made once, and then gains what was seen since.

A feed asks for the same set as the feed before it, and what came in between is the page that was shown: of
10,000 pins some fifty are new. To add these to a copy of the last filter takes a fiftieth of making it anew,
and gives the same bits, as a filter knows no order. It is made anew when that would not be so: a row left the
window, the count asks for another size, the user's rows were spilled, or a row lies past the window's end.
Bounded by bytes, least recently used first out. Any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.aperture.history import NOTHING, Settled, Window, seen
from services.aperture.rows import Rows, unpack_rows
from services.chassis.columns.bloom import BloomFilter

_ENTRY_BYTES = 1_000
_ID_BYTES = 80
"""An id in a set of Python's, at its emptiest."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenFilter:
    """The seen set as a filter. `truncated`: older pins were left out."""

    bloom: BloomFilter
    truncated: bool


@dataclass(slots=True, eq=False)
class _Kept:
    """A filter, and until when it is right."""

    settled: Settled
    """Of which rows it was made; another object is of another generation."""
    rate: float
    start_s: int
    oldest_s: int
    """Least time of a row in it: from a window that begins then or later on, something is to be left out."""
    newest_s: int
    """Greatest time of a row that was looked at: none of a window that ends before may be in it."""
    read_bytes: int
    """Of the rows in memory, which only grow."""
    fresh: set[int]
    """Entities of the rows in memory that are in it."""
    bloom: BloomFilter

    @property
    def size_bytes(self) -> int:
        return _ENTRY_BYTES + _ID_BYTES * len(self.fresh) + self.bloom.bits.nbytes


class SeenFilters:
    """`bytes_max`: of all filters that are kept; `pins_max`: the largest seen set."""

    def __init__(self, *, bytes_max: int, pins_max: int) -> None:
        self._bytes_max = bytes_max
        self._pins_max = pins_max
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def of(self, user: int, settled: Settled, packed: bytes, window: Window, *, rate: float) -> SeenFilter:
        """The filter of the user's rows in the window: exactly the one that `seen` and `build` make.

        `packed`: the rows in memory, as they came.

        Raises:
            LimitExceeded: a filter of that rate would be too large.
            CorruptValue: `packed` is not whole rows.
        """
        with self._lock:
            kept = self._kept.pop(user, None)
            if kept is not None:
                self.size_bytes -= kept.size_bytes
                if self._grow(kept, settled, packed, window, rate=rate):
                    self._keep(user, kept)
                    return SeenFilter(kept.bloom, truncated=False)
        return self._make(user, settled, packed, window, rate=rate)

    def _grow(self, kept: _Kept, settled: Settled, packed: bytes, window: Window, *, rate: float) -> bool:
        """Add the rows that came since; False when the filter has to be made anew."""
        if (
            kept.settled is not settled
            or kept.rate != rate
            or not kept.start_s <= window.start_s < kept.oldest_s
            or kept.newest_s > window.end_s
            or kept.read_bytes > len(packed)
        ):
            return False
        if kept.read_bytes == len(packed):
            return True
        rows = unpack_rows(packed[kept.read_bytes :])
        if int(rows.times.max()) > window.end_s:
            return False
        rows = rows.select(rows.times > window.start_s)
        if len(rows):
            came = _unknown(kept, rows.entities, window)
            count = kept.bloom.item_count + len(came)
            if count > self._pins_max or not kept.bloom.has_shape_for(count, rate):
                return False
            kept.bloom = kept.bloom.with_ids(np.array(came, np.uint64), item_count=count)
            kept.fresh.update(came)
            kept.oldest_s = min(kept.oldest_s, int(rows.times.min()))
            kept.newest_s = max(kept.newest_s, int(rows.times.max()))
        kept.read_bytes = len(packed)
        return True

    def _make(self, user: int, settled: Settled, packed: bytes, window: Window, *, rate: float) -> SeenFilter:
        fresh = unpack_rows(packed)
        found = seen(settled, fresh, window, limit=self._pins_max)
        bloom = BloomFilter.build(found.ids, rate)
        newest_s = max(settled.newest_s, int(fresh.times.max()) if len(fresh) else 0)
        if not found.truncated and newest_s <= window.end_s and settled is not NOTHING:
            inside = window.of(fresh)
            kept = _Kept(
                settled=settled,
                rate=rate,
                start_s=window.start_s,
                oldest_s=_oldest_s(settled, inside, window),
                newest_s=newest_s,
                read_bytes=len(packed),
                fresh=set(inside.entities.tolist()),
                bloom=bloom,
            )
            with self._lock:
                known = self._kept.pop(user, None)
                if known is not None:
                    self.size_bytes -= known.size_bytes
                self._keep(user, kept)
        return SeenFilter(bloom, found.truncated)

    def _keep(self, user: int, kept: _Kept) -> None:
        """With the lock held."""
        if kept.size_bytes > self._bytes_max:
            return
        self._kept[user] = kept
        self.size_bytes += kept.size_bytes
        while self.size_bytes > self._bytes_max:
            _, oldest = self._kept.popitem(last=False)
            self.size_bytes -= oldest.size_bytes


def _unknown(kept: _Kept, entities: NDArray[np.uint64], window: Window) -> list[int]:
    """The entities that are not in the filter yet, each once."""
    came = [entity for entity in dict.fromkeys(entities.tolist()) if entity not in kept.fresh]
    if not came or not len(kept.settled.rows):
        return came
    recent = kept.settled.recent
    wanted = np.array(came, np.uint64)
    places = np.minimum(np.searchsorted(recent.ordered, wanted), recent.ordered.size - 1)
    known = recent.ordered[places] == wanted
    known &= recent.times[recent.ranks[places]] > window.start_s
    return [entity for entity, is_known in zip(came, known.tolist(), strict=True) if not is_known]


def _oldest_s(settled: Settled, inside: Rows, window: Window) -> int:
    """Least time in the window: of the settled entities' last rows, and of the rows in memory."""
    times = settled.recent.times
    settled_in = times[times > window.start_s]
    oldest = [int(part.min()) for part in (settled_in, inside.times) if part.size]
    return min(oldest, default=window.end_s)
