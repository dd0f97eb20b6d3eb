"""Reading feature rows: what the cache knows, the rest from the store, and that back into the cache.

    ids → cache (one kernel) → missed → rows family + live generation (one multi-get each) → newest schema
        → answer, and the cache

A request is answered from one generation of loaded rows, whatever is swapped in meanwhile. Writing goes
through `written`, on the follower's thread, before the batch is in the store (`row_cache.py` says why that
is never stale).
Next: `row_cache.py`, `loads/generations.py`, `schema.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.chassis.columns.packed import unpack_f32, unpack_u64
from services.rockstore.cells import Change
from services.rockstore.loads.generations import Generations
from services.rockstore.row_cache import RowCache, Written
from services.rockstore.schema import GONE_MS, Kind, Schema, Schemas, StoredRows
from services.rockstore.store import RockstoreStore


@dataclass(frozen=True, slots=True)
class RowsRead:
    """One answer, in the order asked for."""

    features: NDArray[np.float32]
    ids: NDArray[np.uint64]
    present: NDArray[np.uint8]
    miss_count: int
    """Ids that the cache did not know."""
    unreadable_count: int


class FeatureRowStore:
    """Rows of every kind that has a schema. Reads from any thread, `written` from the follower's."""

    def __init__(
        self,
        store: RockstoreStore,
        schemas: Schemas,
        generations: Generations,
        *,
        cache_bytes: int,
        evicted: Callable[[int], None],
    ) -> None:
        self._store = store
        self._schemas = schemas
        self._generations = generations
        declared = [newest for kind in Kind if (newest := schemas.newest(kind)) is not None]
        self._caches: Mapping[int, RowCache] = {
            newest.kind: RowCache(newest, cache_bytes=cache_bytes // len(declared), evicted=evicted)
            for newest in declared
        }
        for kind, cache in self._caches.items():
            cache.clear(generation=generations.live_number(kind))
        generations.on_swap(self._swapped)

    @property
    def cached_count(self) -> int:
        """Rows in memory."""
        return sum(len(cache) for cache in self._caches.values())

    @property
    def cached_bytes(self) -> int:
        """Bytes of the rows in memory."""
        return sum(cache.size_bytes for cache in self._caches.values())

    def filled_share(self, kind: int) -> float:
        """Rows in memory of a kind that has a schema, as a share of those that fit; 1 when none fits."""
        cache = self._caches[kind]
        return len(cache) / cache.capacity if cache.capacity else 1.0

    @property
    def is_in_flight(self) -> bool:
        """Whether the follower's last batch is not known to be in the store; for its thread."""
        return any(cache.is_in_flight for cache in self._caches.values())

    def read(self, newest: Schema, ids: NDArray[np.uint64], *, now_ms: int) -> RowsRead:
        """The rows of `ids` under `newest`, the newest schema of their kind."""
        cache = self._caches[newest.kind]
        with self._generations.lease(newest.kind) as generation:
            known = cache.gather(ids, now_ms=now_ms, generation=generation.number)
            missed = known.missed
            if not len(missed):
                return RowsRead(known.features, known.ids, known.present, 0, 0)
            asked = ids[missed]
            stored = self._store.rows(newest.kind, asked, now_ms=now_ms, loaded=generation.loaded)
        rows = self._schemas.assemble(newest, count=len(asked), stored=stored)
        cache.fill(asked, rows, epoch=known.epoch, generation=generation.number)
        if len(missed) == len(ids):
            return RowsRead(rows.features, rows.ids, rows.present, len(missed), rows.unreadable_count)
        known.features[missed] = rows.features
        known.ids[missed] = rows.ids
        known.present[missed] = rows.present
        return RowsRead(known.features, known.ids, known.present, len(missed), rows.unreadable_count)

    def written(self, changes: Iterable[Change]) -> None:
        """Take over the rows that the follower's next batch leaves, each id of a kind once.

        To be called for every batch, also for one without rows, and before it is written.
        """
        by_kind: dict[int, list[Change]] = {}
        for change in changes:
            by_kind.setdefault(change.kind, []).append(change)
        for kind, cache in self._caches.items():
            generation, loaded_version = self._generations.live_version(kind)
            left = by_kind.get(kind)
            newest = self._schemas.newest(kind)
            assert newest is not None, "a cache has a schema"
            written = None if left is None else self._written(newest, left, loaded_version=loaded_version)
            cache.write(written, generation=generation)

    def _written(self, newest: Schema, changes: Sequence[Change], *, loaded_version: int) -> Written:
        rows = self._schemas.assemble(newest, count=len(changes), stored=_stored(changes))
        count = len(changes)
        return Written(
            ids=np.fromiter((change.id for change in changes), np.uint64, count),
            rows=rows,
            # A loaded row of a higher version may lie over what is written here.
            is_newest=np.fromiter((change.version >= loaded_version for change in changes), np.uint8, count),
        )

    def _swapped(self, kind: int, number: int) -> None:
        cache = self._caches.get(kind)
        if cache is not None:
            cache.clear(generation=number)


def warm(schemas: Schemas) -> None:
    """Compile, or load from the cache, every kernel with the dtypes of a real table."""
    for kind in Kind:
        newest = schemas.newest(kind)
        if newest is None:
            continue
        cache = RowCache(newest, cache_bytes=1 << 20)
        ids = np.ones(1, np.uint64)
        rows = schemas.assemble(newest, count=1, stored=[])
        cache.fill(ids, rows, epoch=0, generation=0)
        cache.write(Written(ids, rows, np.zeros(1, np.uint8)), generation=0)
        # Requests come as read-only arrays, which are another type to numba than writable ones.
        ids.flags.writeable = False
        cache.gather(ids, now_ms=GONE_MS, generation=0)


def _stored(changes: Sequence[Change]) -> Iterable[StoredRows]:
    """The rows of `changes` by schema version; deletes have none."""
    places_of: dict[int, list[int]] = {}
    for place, change in enumerate(changes):
        if change.row is not None and not change.deleted:
            places_of.setdefault(change.row.schema_version, []).append(place)
    for version, places in places_of.items():
        rows = [row for place in places if (row := changes[place].row) is not None]
        yield StoredRows(
            places=np.array(places, np.intp),
            version=version,
            features=unpack_f32(b"".join(row.features_f32 for row in rows)).reshape(
                len(rows), len(rows[0].features_f32) // 4
            ),
            ids=unpack_u64(b"".join(row.ids_u64 for row in rows)).reshape(
                len(rows), len(rows[0].ids_u64) // 8
            ),
            gone_ms=np.fromiter((changes[place].gone_ms for place in places), np.int64, len(places)),
        )
