"""Owns the reading of a user: memory first, then what is settled in the store, from the cache where it can.

The order is what makes it exact. Memory is taken with its generation; of the store, tails of that generation
and later are left out, as memory has them. Frozen buckets and tails come from one iterator, so a freeze that
commits meanwhile is seen whole or not at all. Any thread.
"""

from __future__ import annotations

from services.aperture.history import NOTHING, Settled
from services.aperture.metrics import ApertureMetrics
from services.aperture.mutable import Mutable
from services.aperture.rows import Rows, unpack_rows
from services.aperture.settled_cache import SettledCache
from services.aperture.store import ApertureStore, Part, rows_of
from services.chassis.errors import CorruptValue


class Reader:
    """`user_rows_max`: rows taken from the store for one user, newest first."""

    def __init__(
        self,
        *,
        store: ApertureStore,
        mutable: Mutable,
        cache: SettledCache,
        user_rows_max: int,
        metrics: ApertureMetrics,
    ) -> None:
        self._store = store
        self._mutable = mutable
        self._cache = cache
        self._user_rows_max = user_rows_max
        self._metrics = metrics

    def read(self, user: int, *, start_s: int) -> tuple[Settled, Rows]:
        """The user's settled and fresh rows, at least those after `start_s`; both may hold older ones.

        Raises:
            CorruptValue: a stored part is damaged.
        """
        settled, packed = self.read_packed(user, start_s=start_s)
        return settled, unpack_rows(packed)

    def read_packed(self, user: int, *, start_s: int) -> tuple[Settled, bytes]:
        """`read`, with the fresh rows as they lie in memory: in order of arrival, and while the settled rows
        are the same object, beginning with those of the read before.
        """
        snapshot = self._mutable.snapshot(self._store.lane_of(user), user)
        if snapshot.forgotten:
            return NOTHING, snapshot.data
        from_bucket = start_s // self._store.bucket_s
        settled = self._cache.get(user, generation=snapshot.generation, from_bucket=from_bucket)
        self._metrics.cache.labels("miss" if settled is None else "hit").inc()
        if settled is None:
            settled = self._load(user, generation=snapshot.generation, from_bucket=from_bucket)
            self._cache.put(user, settled, generation=snapshot.generation)
            self._metrics.cache_bytes.set(self._cache.size_bytes)
        return settled, snapshot.data

    def _load(self, user: int, *, generation: int, from_bucket: int) -> Settled:
        parts: list[Part] = []
        count, truncated = 0, False
        for part in self._store.history_back(user, from_bucket=from_bucket):
            if part.generation is not None and part.generation >= generation:
                continue
            if count >= self._user_rows_max:
                truncated = True
                break
            parts.append(part)
            count += part.row_count
        parts.reverse()
        try:
            rows = rows_of(parts)
        except CorruptValue:
            self._metrics.corrupt.inc()
            raise
        # Frozen buckets alone are in order, one after the other: sorting them would cost most of the read.
        if any(part.generation is not None for part in parts):
            rows = rows.by_time()
        return Settled(rows, start_bucket=from_bucket, truncated=truncated)
