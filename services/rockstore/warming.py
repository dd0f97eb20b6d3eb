"""Fills the row cache after a start, beside serving: the first read of a row need not be the slow one.

One thread reads the ids of each kind and shard in slices, and asks for their rows as any caller would
(`rows.py`), so what it fills in is never staler than what a read would. It works at most half of the time,
and ends when the cache is nearly full or everything was read.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from services.chassis.clock import Clock
from services.chassis.shards.owned import OwnedShards
from services.rockstore.rows import FeatureRowStore
from services.rockstore.schema import Kind, Schemas
from services.rockstore.store import RockstoreStore

SLICE: Final = 1_000
"""Rows of one read: a few milliseconds."""
FULL_SHARE: Final = 0.9
"""Beyond, rows that are filled in push out others that were."""
_STOP_S: Final = 5.0


class RowWarming:
    """Starts and stops the thread."""

    def __init__(
        self,
        store: RockstoreStore,
        schemas: Schemas,
        rows: FeatureRowStore,
        *,
        owned: OwnedShards,
        clock: Clock,
        log: Any,
    ) -> None:
        self._store = store
        self._schemas = schemas
        self._rows = rows
        self._owned = owned
        self._clock = clock
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rows", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it, before the store closes."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        try:
            began = time.monotonic()
            self.fill()
            self._log.info(
                "row cache filled",
                rows=self._rows.cached_count,
                bytes=self._rows.cached_bytes,
                seconds=round(time.monotonic() - began, 1),
            )
        except Exception:  # noqa: BLE001  rows are read from the store instead, as without a cache
            self._log.exception("filling the row cache failed; rows are cached as they are asked for")

    def fill(self) -> None:
        """Read every kind until its part of the cache is nearly full; blocks until then, or until `stop`."""
        for kind in Kind:
            for shard in self._owned.shards.tolist():
                if not self._fill_shard(int(kind), shard):
                    break

    def _fill_shard(self, kind: int, shard: int) -> bool:
        """Whether there is room for more of that kind."""
        newest = self._schemas.newest(kind)
        if newest is None:
            return False
        after = 0
        while not self._stop.is_set():
            if self._rows.filled_share(kind) >= FULL_SHARE:
                return False
            began = time.monotonic()
            ids = self._store.row_ids(kind, shard, after=after, limit=SLICE)
            if not len(ids):
                return True
            self._rows.read(newest, ids, now_ms=self._clock.now_ms())
            after = int(ids[-1])
            self._stop.wait(time.monotonic() - began)
        return False
