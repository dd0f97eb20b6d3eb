"""The cache of static pin rows: one slab of memory, least recently used out first, one flight per pin.

A pin's row (Rockstore's features and ids, Counter's counts) is fetched once, however many requests miss it
at the same time: the first one claims the pin and asks the stores in one batch with its other misses; the
others wait for that flight. A flight that fails, in whole or in part, wakes its waiters with defaults, and
nothing of it is cached, so the next request asks again. Every request flies its own batch before it waits
for others, so no two can wait for each other.
Staleness is bounded: a row is served for `cache_ttl_ms` after its fetch began, then fetched again.
*Not* guaranteed: that a waiter gets as long as its own deadline allows; the flight has the time of the one
that claimed it.

A look-up holds the lock while it finds slots and copies rows out: some 0.3 ms for 1,000 pins, nearly all of
it Python's dictionary. Rows are copied, so an eviction never changes a row under a reader.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.clock import Clock
from services.scorpion.features import FeatureList, StaticRows
from services.scorpion.metrics import ScorpionMetrics

INDEX_BYTES: Final = 256
"""What Python's ordered dictionary needs for one pin, two boxed integers included."""


@dataclass(frozen=True, slots=True)
class FetchedRows:
    """What the stores said of some pins. Where `answered` is false, a store did not answer."""

    rows: StaticRows
    answered: NDArray[np.bool_]


Fetch = Callable[[NDArray[np.uint64]], FetchedRows]


@dataclass(frozen=True, slots=True)
class Found:
    """Rows aligned with the pins asked for; NaN and 0 where nothing is known."""

    rows: StaticRows
    hit_count: int
    defaulted_count: int
    """Pins of which a store did not answer, or not in time."""


@dataclass(slots=True, eq=False)
class _Flight:
    """One batch on its way. `fetched` is written before `done` is set, and stays None when it failed."""

    done: threading.Event = field(default_factory=threading.Event)
    row_of_pin: dict[int, int] = field(default_factory=dict)
    fetched: FetchedRows | None = None

    @property
    def pins(self) -> NDArray[np.uint64]:
        return np.fromiter(self.row_of_pin, dtype=np.uint64, count=len(self.row_of_pin))


@dataclass(slots=True)
class _Claim:
    """What one look-up found under the lock: copied rows, a flight of its own, and flights to wait for."""

    rows: StaticRows
    pins: Sequence[int]
    hit_count: int
    own: _Flight
    missed: dict[_Flight, list[int]]


class RowCache:
    """Static rows by pin. Safe from any thread."""

    def __init__(
        self,
        features: FeatureList,
        *,
        cache_bytes: int,
        ttl_ms: int,
        clock: Clock,
        metrics: ScorpionMetrics,
    ) -> None:
        self._features = features
        self._ttl_s = ttl_ms / 1000
        self._clock = clock
        self._metrics = metrics
        self.capacity = cache_bytes // row_bytes(features)
        """Rows that fit; 0: nothing is kept, and only flights are shared."""
        # Pages that were never written take no memory, so a large slab costs nothing before it fills.
        self._values = np.empty((self.capacity, features.static_width), dtype=np.float32)
        self._ids = np.empty((self.capacity, len(features.id_columns)), dtype=np.uint64)
        self._expires = np.empty(self.capacity, dtype=np.float64)
        self._lock = threading.Lock()
        self._slots: OrderedDict[int, int] = OrderedDict()
        self._flights: dict[int, _Flight] = {}
        metrics.cache_rows.set_function(lambda: len(self._slots))

    def __len__(self) -> int:
        """Rows that are held, fresh or not."""
        return len(self._slots)

    def get(self, pins: NDArray[np.uint64], fetch: Fetch, *, wait_s: float) -> Found:
        """The rows of `pins`; `fetch` is called at most once, with the distinct pins that nobody fetches yet.

        Blocks for `fetch`, and then at most `wait_s` for the flights of others. What `fetch` raises goes
        to the caller; those who wait for it get defaults.
        """
        started = self._clock.monotonic()
        claim = self._claim(pins.tolist(), started)
        if claim.own.row_of_pin:
            self._fly(claim.own, fetch, started)
        defaulted = 0
        for flight, rows in claim.missed.items():
            left_s = max(0.0, started + wait_s - self._clock.monotonic())
            landed = flight is claim.own or flight.done.wait(left_s)
            defaulted += _take(claim, flight.fetched if landed else None, flight, rows)
        self._metrics.cache_defaulted.inc(defaulted)
        return Found(rows=claim.rows, hit_count=claim.hit_count, defaulted_count=defaulted)

    def _claim(self, pins: list[int], now: float) -> _Claim:
        """Copies what is fresh, joins the flights that are up, and claims the rest."""
        claim = _Claim(self._features.missing_rows(len(pins)), pins, 0, _Flight(), {})
        waits = 0
        with self._lock:
            slots = np.array([self._slots.get(pin, -1) for pin in pins], dtype=np.intp)
            fresh = slots >= 0
            fresh[fresh] = self._expires[slots[fresh]] > now
            hits = np.flatnonzero(fresh)
            claim.hit_count = int(hits.size)
            claim.rows.values[hits] = self._values[slots[hits]]
            claim.rows.ids[hits] = self._ids[slots[hits]]
            for row in hits.tolist():
                self._slots.move_to_end(pins[row])
            for row in np.flatnonzero(~fresh).tolist():
                flight = self._flights.setdefault(pins[row], claim.own)
                if flight is claim.own:
                    flight.row_of_pin.setdefault(pins[row], len(flight.row_of_pin))
                else:
                    waits += 1
                claim.missed.setdefault(flight, []).append(row)
        self._metrics.cache_hits.inc(claim.hit_count)
        self._metrics.cache_misses.inc(len(pins) - claim.hit_count)
        self._metrics.cache_waits.inc(waits)
        return claim

    def _fly(self, flight: _Flight, fetch: Fetch, started: float) -> None:
        pins = flight.pins
        try:
            flight.fetched = fetch(pins)
        finally:
            # In whatever way it ended: a pin left in the air would make every later request wait for it.
            with self._lock:
                if flight.fetched is not None:
                    self._keep(pins, flight.fetched, expires=started + self._ttl_s)
                for pin in flight.row_of_pin:
                    del self._flights[pin]
            flight.done.set()

    def _keep(self, pins: NDArray[np.uint64], fetched: FetchedRows, *, expires: float) -> None:
        """Writes answered rows to the slab, in the place of the least recently used; under the lock."""
        # More than fit would evict each other, and leave two pins with one slot.
        rows = np.flatnonzero(fetched.answered)[-self.capacity :] if self.capacity else np.empty(0, np.intp)
        evicted = 0
        slots = np.empty(rows.size, dtype=np.intp)
        for index, pin in enumerate(pins[rows].tolist()):
            slot = self._slots.pop(pin, -1)
            if slot < 0:
                slot = len(self._slots)
                if slot == self.capacity:
                    _, slot = self._slots.popitem(last=False)
                    evicted += 1
            self._slots[pin] = slots[index] = slot
        self._values[slots] = fetched.rows.values[rows]
        self._ids[slots] = fetched.rows.ids[rows]
        self._expires[slots] = expires
        self._metrics.cache_evictions.inc(evicted)


def row_bytes(features: FeatureList) -> int:
    """Memory of one cached row: its place in the slab, and in the index."""
    return 4 * features.static_width + 8 * len(features.id_columns) + 8 + INDEX_BYTES


def _take(claim: _Claim, fetched: FetchedRows | None, flight: _Flight, rows: list[int]) -> int:
    """Copies a flight's rows to where the claim wants them; how many were not answered."""
    if fetched is None:
        return len(rows)
    taken = np.array([flight.row_of_pin[claim.pins[row]] for row in rows], dtype=np.intp)
    claim.rows.values[rows] = fetched.rows.values[taken]
    claim.rows.ids[rows] = fetched.rows.ids[taken]
    return len(rows) - int(np.count_nonzero(fetched.answered[taken]))
