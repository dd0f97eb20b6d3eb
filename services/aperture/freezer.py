"""Owns the closing of buckets: tails and an older frozen part become one frozen bucket; whole old ones go.

What "now" is: the greatest record time applied, stored with the data. A follower has no clock, so a replica
that replays the log freezes and drops the same, sooner or later: a frozen bucket and tails give the same
answers, and reads leave out what is past retention by themselves.

Runs on the follower's thread in slices, while no record waits, and now and then before a batch's own records
where they never cease; always on what is committed. It moves rows
from store to store only; rows in memory come to it through a spill. Late rows open their bucket again: it is
frozen anew after their spill.
A damaged part is never overwritten, and a bucket that is too large for a batch is not touched: both are taken
off the list as they are, counted and logged.
"""

from __future__ import annotations

from itertools import islice

import structlog

from services.aperture import frozen
from services.aperture.metrics import ApertureMetrics
from services.aperture.rows import Rows
from services.aperture.store import CLOSED, OPEN, ApertureStore, Part, rows_of
from services.chassis.errors import CorruptValue, LimitExceeded
from services.chassis.storage import Batch

ERASES_PER_SLICE = 8
SHARDS_PER_SLICE = 32
_LOG = structlog.get_logger(component="aperture")


class Freezer:
    """Follower's thread only. `shards`: those that this process holds."""

    def __init__(
        self,
        store: ApertureStore,
        metrics: ApertureMetrics,
        *,
        shards: list[int],
        slice_buckets: int,
        slice_bytes: int,
        freeze_after_s: int,
        retention_s: int,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._shards = shards
        self._slice_buckets = slice_buckets
        self._slice_bytes = slice_bytes
        self._freeze_after_s = freeze_after_s
        self._retention_s = retention_s
        self.boundary = 0
        """Buckets before it are closed."""
        self.horizon = 0
        """Buckets before it are dropped."""
        # Shards that may have work; dicts, because their order must not depend on hashing.
        self._to_freeze: dict[int, None] = {}
        self._to_drop: dict[int, None] = {}
        self._to_erase: dict[int, None] = dict.fromkeys(sorted(store.shards_to_erase()))

    def advance(self, clock_s: int) -> bool:
        """Move boundary and horizon to the time; True when the boundary moved."""
        bucket_s = self._store.bucket_s
        boundary = max(0, clock_s - self._freeze_after_s) // bucket_s
        horizon = max(0, clock_s - self._retention_s) // bucket_s
        moved = boundary > self.boundary
        if moved:
            self.boundary = boundary
            self._to_freeze = dict.fromkeys(self._shards)
        if horizon > self.horizon:
            self.horizon = horizon
            self._to_drop = dict.fromkeys(self._shards)
        return moved

    def spilled(self, shard: int) -> None:
        """The shard has new tails, maybe in closed buckets."""
        self._to_freeze[shard] = None

    def forgot(self, shard: int) -> None:
        """The shard has a forgotten user on its lists."""
        self._to_erase[shard] = None

    def run(self, batch: Batch) -> None:
        """One slice of whatever there is to do: bounded in buckets and bytes."""
        if self._to_erase:
            shard = next(iter(self._to_erase))
            if self._store.erase(batch, shard, limit=ERASES_PER_SLICE) < ERASES_PER_SLICE:
                del self._to_erase[shard]
        queue, work = (
            (self._to_drop, self._drop_some) if self._to_drop else (self._to_freeze, self._freeze_some)
        )
        # Most shards have nothing to do: look at some, work in one.
        for shard in list(islice(queue, SHARDS_PER_SLICE)):
            if work(batch, shard):
                return

    @property
    def idle(self) -> bool:
        """Nothing that is committed waits."""
        return not (self._to_freeze or self._to_drop or self._to_erase)

    def _freeze_some(self, batch: Batch, shard: int) -> bool:
        """Freeze closed buckets of one shard; whether there were any."""
        found = self._store.indexed(shard, OPEN, before=self.boundary, limit=self._slice_buckets)
        size_bytes = 0
        for number, (bucket, user) in enumerate(found, start=1):
            size_bytes += self._freeze(batch, shard=shard, user=user, bucket=bucket)
            if size_bytes > self._slice_bytes and number < len(found):
                return True
        if len(found) < self._slice_buckets:
            del self._to_freeze[shard]
        return bool(found)

    def _freeze(self, batch: Batch, *, shard: int, user: int, bucket: int) -> int:
        """Freeze one bucket; returns the bytes that were read."""
        store = self._store
        parts = store.bucket_parts(shard, user, bucket)
        store.delete_index(batch, shard=shard, state=OPEN, user=user, bucket=bucket)
        size_bytes = sum(len(part.value) for part in parts)
        if bucket < self.horizon or not parts:
            store.delete_parts(batch, parts)
            return 0
        try:
            rows = _merged(parts, size_bytes=size_bytes, bytes_max=self._slice_bytes)
        except (CorruptValue, LimitExceeded) as fault:
            self._metrics.not_frozen.labels(type(fault).reason.lower()).inc()
            _LOG.error("bucket not frozen", user=user, bucket=bucket, reason=str(fault))
            # Retention must find it, when its time has come.
            store.put_index(batch, shard=shard, state=CLOSED, user=user, bucket=bucket)
            return size_bytes
        store.delete_parts(batch, [part for part in parts if part.generation is not None])
        store.put_frozen(batch, shard=shard, user=user, bucket=bucket, blob=frozen.encode(rows))
        self._metrics.frozen.inc()
        self._metrics.frozen_rows.inc(len(rows))
        return size_bytes

    def _drop_some(self, batch: Batch, shard: int) -> bool:
        """Drop buckets of one shard that are past retention; whether there were any."""
        limit = self._slice_buckets
        found = [
            (state, bucket, user)
            for state in (CLOSED, OPEN)
            for bucket, user in self._store.indexed(shard, state, before=self.horizon, limit=limit)
        ]
        for state, bucket, user in found:
            self._store.delete_parts(batch, self._store.bucket_parts(shard, user, bucket))
            self._store.delete_index(batch, shard=shard, state=state, user=user, bucket=bucket)
        self._metrics.dropped.inc(len(found))
        if len(found) < limit:
            del self._to_drop[shard]
        return bool(found)


def _merged(parts: list[Part], *, size_bytes: int, bytes_max: int) -> Rows:
    if size_bytes > bytes_max:
        raise LimitExceeded(f"{size_bytes} bytes are too much for one batch; they stay as tails")
    return rows_of(parts)
