"""The cache of rows of one kind (pins, boards, owners, users): least recently used out, one flight per row.

A row is fetched once, however many requests miss it at the same time: the first one claims its id and asks
the stores in one batch with its other misses; the others wait for that flight. A flight that fails, in whole
or in part, wakes its waiters with defaults, and nothing of it is cached, so the next request asks again.
Every request flies its own batch before it waits for others, so no two can wait for each other.

Staleness is bounded: a row is served for `cache_ttl_ms` after its fetch began. A request with a consistency
token uses no row, and joins no flight, that may be from before what the token covers (`covers.py`).
*Not* guaranteed: that a waiter gets as long as its own deadline allows; the flight has the time of the one
that claimed it.

Cached rows are read in place: under the lock, the kernel writes the model's bytes from the slab into the
blocks that are scored, about 0.1 ms for 1,000 rows in the processor's caches. So an eviction never changes a
row under a reader.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.clock import Clock
from services.scorpion.config import ScorpionConfig
from services.scorpion.covers import Accepted
from services.scorpion.features import FeatureList, FetchedRows, RowColumns, RowKind
from services.scorpion.forest.bins import Part
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.slab import FeatureRows, Slab
from services.scorpion.slab_kernels import Fresh

REBIN_SLICE: Final = 500
"""Rows that a new model bins while requests wait: a millisecond."""

Fetch = Callable[[NDArray[np.uint64]], FetchedRows]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants of a cache. `ids` is uint64 (row,), 0 where there is no such row."""

    ids: NDArray[np.uint64]
    fetch: Fetch
    """Called at most once, with the distinct ids that nobody fetches yet."""
    wait_s: float
    accepted: Accepted
    part: Part | None
    """Whose bytes go to `blocks`; None: no model reads rows of this kind."""
    blocks: NDArray[np.int8]
    values: bool
    """Whether the features themselves are wanted, too: for the log, for a shadow, to explain."""


@dataclass(slots=True)
class Found:
    """Aligned with the ids asked for. Features are there when they were asked for."""

    id_columns: NDArray[np.uint64]
    hit_count: int
    values: NDArray[np.float32]
    missing: NDArray[np.uint8]
    fetched_s: NDArray[np.float64]
    """When the fetch of each began, seconds of the monotonic clock; NaN: nothing is known of it."""
    defaulted_count: int = 0
    """Rows of which a store did not answer, or not in time."""


@dataclass(slots=True, eq=False)
class _Flight:
    """One batch on its way. What it brought is there before `done` is set, and stays None when it failed."""

    started_s: float
    cover: int
    done: threading.Event = field(default_factory=threading.Event)
    row_of_id: dict[int, int] = field(default_factory=dict)
    rows: FeatureRows | None = None
    answered: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))

    @property
    def ids(self) -> NDArray[np.uint64]:
        return np.fromiter(self.row_of_id, dtype=np.uint64, count=len(self.row_of_id))


@dataclass(slots=True)
class _Claim:
    """What one look-up found under the lock: a flight of its own, and which rows come from which flight."""

    found: Found
    own: _Flight
    missed: dict[_Flight, list[int]]


class RowCache:
    """Rows by id. Safe from any thread."""

    def __init__(
        self,
        features: FeatureList,
        columns: RowColumns,
        *,
        cache_bytes: int,
        ttl_ms: int,
        clock: Clock,
        metrics: ScorpionMetrics,
    ) -> None:
        self._features = features
        self._columns = columns
        self._ttl_s = ttl_ms / 1000
        self._clock = clock
        self._metrics = metrics.cache(columns.kind)
        self._defaults = [metrics.feature_defaults.labels(features.names[i]) for i in columns.features]
        self._lock = threading.Lock()
        self._slab = Slab(features, columns, size_bytes=cache_bytes)
        self._flights: dict[int, _Flight] = {}
        self._metrics.rows.set_function(lambda: len(self._slab))
        self._metrics.rows_max.set(self._slab.capacity)

    @property
    def capacity(self) -> int:
        """Rows that fit."""
        return self._slab.capacity

    def __len__(self) -> int:
        """Rows that are held, fresh or not."""
        return len(self._slab)

    def get(self, ask: Ask) -> Found:
        """The rows, in the blocks and in the answer.

        Blocks for `ask.fetch`, and then at most `ask.wait_s` for the flights of others. What `fetch` raises
        goes to the caller; those who wait for it get defaults.
        """
        started_s = self._clock.monotonic()
        claim = self._claim(ask, started_s)
        if claim.own.row_of_id:
            self._fly(claim.own, ask.fetch)
        for flight, rows in claim.missed.items():
            left_s = max(0.0, started_s + ask.wait_s - self._clock.monotonic())
            landed = flight is claim.own or flight.done.wait(left_s)
            self._take(ask, claim.found, flight if landed else None, rows)
        self._metrics.defaulted.inc(claim.found.defaulted_count)
        return claim.found

    def prepare(self, part: Part) -> bool:
        """Make a model's bytes of all cached rows, before it serves; requests wait for a slice at most.

        Whether its bytes are kept; else its requests are binned as they come. For one thread at a time.
        """
        with self._lock:
            if self._slab.bins(part) is not None:
                return True
            if not self._slab.admit(part):
                return False
        start, more = 0, True
        while more:
            with self._lock:
                more = self._slab.rebin(part, start=start, count=REBIN_SLICE)
            start += REBIN_SLICE
        return True

    def retire(self, part: Part) -> None:
        """Free the bytes of a model that serves no more."""
        with self._lock:
            self._slab.dismiss(part)

    def _claim(self, ask: Ask, now_s: float) -> _Claim:
        """Reads what is fresh, joins the flights that are up, and claims the rest."""
        accepted = ask.accepted
        fresh = Fresh(now_s - self._ttl_s, accepted.first, accepted.covers)
        waits = 0
        own = _Flight(now_s, accepted.cover)
        missed: dict[_Flight, list[int]] = {}
        with self._lock:
            slots, hit_count = self._slab.find(ask.ids, fresh)
            found = self._read(ask, slots, hit_count)
            if hit_count < len(slots):
                rows = np.flatnonzero(slots < 0)
                for row, id in zip(rows.tolist(), ask.ids[rows].tolist(), strict=True):
                    flight = self._flights.get(id, own)
                    if flight is not own and not _accepts(accepted, flight.cover):
                        flight = own
                    if flight is own:
                        self._flights[id] = own
                        own.row_of_id.setdefault(id, len(own.row_of_id))
                    else:
                        waits += 1
                    missed.setdefault(flight, []).append(row)
        self._metrics.hits.inc(hit_count)
        if missed:
            self._metrics.misses.inc(len(slots) - hit_count)
            self._metrics.waits.inc(waits)
        return _Claim(found, own, missed)

    def _read(self, ask: Ask, slots: NDArray[np.int32], hit_count: int) -> Found:
        """Writes the hits into the blocks, and copies what else is wanted; under the lock.

        A row that is missing is that of nobody until its flight has landed.
        """
        there = slots if hit_count == len(slots) else np.maximum(slots, 0)
        if ask.part is not None:
            bins = self._slab.bins(ask.part)
            if bins is None:
                bins, rows = (
                    ask.part.bin(self._slab.values(there).values),
                    np.arange(len(slots), dtype=np.int32),
                )
                ask.part.scatter(bins, rows, ask.blocks)
            else:
                ask.part.scatter(bins, there, ask.blocks)
        ids = self._slab.id_columns(there)
        if not ask.values:
            return Found(ids, hit_count, _NO_VALUES, _NO_MISSING, _NO_TIMES)
        read = self._slab.values(there)
        return Found(ids, hit_count, read.values, read.missing, self._slab.fetched_s(there))

    def _fly(self, flight: _Flight, fetch: Fetch) -> None:
        ids = flight.ids
        try:
            fetched = fetch(ids)
            computed = self._features.row_features(self._columns.kind, fetched.rows.values)
            # Binned before the lock is taken, for whoever waits and for the slab alike.
            bins = {part: part.bin(computed.matrix) for part in self._slab.residents}
            flight.answered = fetched.answered
            flight.rows = FeatureRows(computed.matrix, computed.missing, fetched.rows.ids, bins)
            for place, count in enumerate(computed.defaulted.tolist()):
                if count:
                    self._defaults[place].inc(count)
        finally:
            # In whatever way it ended: an id left in the air would make every later request wait for it.
            with self._lock:
                if flight.rows is not None:
                    self._keep(ids, flight)
                for id in flight.row_of_id:
                    if self._flights.get(id) is flight:
                        del self._flights[id]
            flight.done.set()

    def _keep(self, ids: NDArray[np.uint64], flight: _Flight) -> None:
        """Caches what the stores answered; under the lock."""
        rows, answered = flight.rows, flight.answered
        assert rows is not None
        if not answered.all():
            ids, rows = ids[answered], rows.chosen(answered)
        if ids.size:
            evicted = self._slab.keep(ids, rows, fetched_s=flight.started_s, cover=flight.cover)
            self._metrics.evictions.inc(evicted)

    def _take(self, ask: Ask, found: Found, flight: _Flight | None, rows: Sequence[int]) -> None:
        """Puts a flight's rows where the request wants them; those it did not bring stay nobody's."""
        if flight is None or flight.rows is None:
            found.defaulted_count += len(rows)
            return
        place = np.array(rows, np.int32)
        taken = np.array([flight.row_of_id[id] for id in ask.ids[place].tolist()], np.int32)
        brought = flight.rows
        if ask.part is not None:
            ask.part.scatter_some(brought.bins_of(ask.part), taken, place, ask.blocks)
        found.id_columns[place] = brought.ids[taken]
        found.defaulted_count += len(rows) - int(np.count_nonzero(flight.answered[taken]))
        if ask.values:
            found.values[place] = brought.values[taken]
            found.missing[place] = brought.missing[taken]
            found.fetched_s[place] = np.where(flight.answered[taken], flight.started_s, np.nan)


def caches_of(
    features: FeatureList, config: ScorpionConfig, *, clock: Clock, metrics: ScorpionMetrics
) -> dict[RowKind, RowCache]:
    """One for each kind that the list reads, pins first."""
    return {
        columns.kind: RowCache(
            features,
            columns,
            cache_bytes=config.cache_bytes if columns.kind is RowKind.PIN else config.other_cache_bytes,
            ttl_ms=config.cache_ttl_ms,
            clock=clock,
            metrics=metrics,
        )
        for columns in features.kinds
    }


_NO_VALUES: Final = np.empty((0, 0), np.float32)
_NO_MISSING: Final = np.empty((0, 0), np.uint8)
_NO_TIMES: Final = np.empty(0, np.float64)


def _accepts(accepted: Accepted, cover: int) -> bool:
    if not len(accepted.covers):
        return True
    place = cover - accepted.first
    return 0 <= place < len(accepted.covers) and bool(accepted.covers[place])
