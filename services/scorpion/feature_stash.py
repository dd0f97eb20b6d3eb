"""What Score computed, kept until it is known what of it was served.

A sampled request's columns wait here under its `log_id` for a LogServed, which comes when the page was
answered, or never. Bounded by bytes and by age: the oldest go first, and are counted.
A request has one `log_id` on all hosts; a host that is asked twice for it (the rows of another host that
failed) keeps both answers. What was taken is gone.
Cheap: `put` notes references under a lock. So the arrays must be nobody's to write afterwards.
Where next: `feature_log.py`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge

from services.chassis.clock import Clock

ENTRY_BYTES: Final = 1_000
"""What a kept request needs beside its columns: array headers, the dictionary's entry."""


class StashMetrics(Protocol):
    """What the stash counts."""

    feature_stash_bytes: Gauge
    feature_stash_dropped: Counter
    """Requests that left without being asked for; label `reason`: `room` or `age`."""


@dataclass(frozen=True, slots=True)
class StashedRequest:
    """One answer of Score as aligned columns. An empty one of the optional columns is unknown for all."""

    user: int
    model: str
    now_ms: int
    pins: NDArray[np.uint64]
    boards: NDArray[np.uint64]
    """Optional."""
    owners: NDArray[np.uint64]
    """Optional."""
    saved_at: NDArray[np.uint32]
    """Optional; seconds since 1970."""
    light_scores: NDArray[np.float32]
    """Optional."""
    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    """(row, feature of the whole list): what the models are given their columns of."""

    @property
    def size_bytes(self) -> int:
        """Memory that keeping it takes."""
        columns: list[NDArray[Any]] = [getattr(self, name) for name in _COLUMNS]
        return ENTRY_BYTES + sum(column.nbytes for column in columns)

    def rows(self, rows: NDArray[np.intp]) -> Self:
        """Copies of the given rows, in the given order."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return replace(self, **{name: c[rows] if len(c) else c for name, c in columns.items()})


_COLUMNS: Final = tuple(
    field.name for field in fields(StashedRequest) if field.name not in ("user", "model", "now_ms")
)


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows that were there. `asked`: which of the pins asked for each row is, intp (row,)."""

    rows: StashedRequest
    asked: NDArray[np.intp]


@dataclass(slots=True)
class _Entry:
    requests: list[StashedRequest]
    size_bytes: int
    ends_at: float


class FeatureStash:
    """Requests by `log_id`. Safe from any thread."""

    def __init__(self, *, bytes_max: int, age_max_s: float, clock: Clock, metrics: StashMetrics) -> None:
        self._bytes_max = bytes_max
        self._age_max_s = age_max_s
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._bytes = 0
        metrics.feature_stash_bytes.set_function(lambda: self._bytes)

    def put(self, log_id: int, request: StashedRequest) -> None:
        """Keep a request, without copying it; the oldest make room. One larger than the whole is dropped."""
        size = request.size_bytes
        now = self._clock.monotonic()
        with self._lock:
            aged = self._expire(now)
            entry = self._entries.setdefault(log_id, _Entry([], 0, now + self._age_max_s))
            entry.requests.append(request)
            entry.size_bytes += size
            self._bytes += size
            pushed = 0
            while self._bytes > self._bytes_max:
                self._drop_oldest()
                pushed += 1
        self._count(aged=aged, pushed=pushed)

    def take(self, log_id: int, pins: NDArray[np.uint64], *, user: int) -> list[Taken]:
        """The rows of `pins` that are kept for this number and user; the request is forgotten.

        Rows are copied, so the request's matrix is freed. A pin that stands twice in a request is given
        once. Empty when nothing is there: it was too old, pushed out, taken before, or never put.
        """
        now = self._clock.monotonic()
        with self._lock:
            aged = self._expire(now)
            entry = self._entries.pop(log_id, None)
            if entry is not None:
                self._bytes -= entry.size_bytes
        self._count(aged=aged, pushed=0)
        taken = []
        left = np.arange(pins.size)
        for request in entry.requests if entry is not None else ():
            if request.user != user:
                continue
            asked, rows = _found(pins[left], request.pins)
            if asked.size:
                taken.append(Taken(request.rows(rows), left[asked]))
                left = np.delete(left, asked)
        return taken

    def _expire(self, now: float) -> int:
        """Forgets what is too old; under the lock. All live equally long, so the oldest end first."""
        count = 0
        while self._entries and next(iter(self._entries.values())).ends_at <= now:
            self._drop_oldest()
            count += 1
        return count

    def _drop_oldest(self) -> None:
        _, entry = self._entries.popitem(last=False)
        self._bytes -= entry.size_bytes

    def _count(self, *, aged: int, pushed: int) -> None:
        if aged:
            self._metrics.feature_stash_dropped.labels("age").inc(aged)
        if pushed:
            self._metrics.feature_stash_dropped.labels("room").inc(pushed)


def _found(wanted: NDArray[np.uint64], pins: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which of `wanted` are there, and in which row: the first, where a pin comes twice."""
    distinct, first = np.unique(pins, return_index=True)
    if not distinct.size:
        none = np.empty(0, np.intp)
        return none, none
    at = np.minimum(np.searchsorted(distinct, wanted), distinct.size - 1)
    asked = np.flatnonzero(distinct[at] == wanted)
    return asked, first[at[asked]]
