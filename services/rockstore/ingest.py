"""From the log to the store: the view of the topic `objects`.

`decode` turns a record into a `Change` or refuses it (PoisonRecord): no id, no kind, a row that does not
fit its declared schema version, which Ingest cannot know. `apply` reads the stored headers of the whole
batch with one multi-get per family, lets the versions decide in log order, and writes the last state once.
Purging runs here too, a bounded step per batch, by the time of the records: replicas purge alike, and no
second writer exists. While the log is silent nothing is purged, and nothing grows.
Next: `cells.py` (rules), `store.py` (bytes), `rows.py` (the cache, which hears of
every row before it is written).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import cycle
from typing import Final

import numpy as np

from feedmesh.log.v1 import event_pb2, record_pb2
from services.chassis.columns.packed import unpack_f32, unpack_u64
from services.chassis.errors import InvalidColumns, PoisonRecord
from services.chassis.storage import Batch
from services.rockstore.cells import Change, Row, replaces
from services.rockstore.metrics import RockstoreMetrics
from services.rockstore.rows import FeatureRowStore
from services.rockstore.schema import Kind, Schemas
from services.rockstore.store import OBJECTS, ROWS, Covers, RockstoreStore

ENTRIES_PER_CHANGE: Final = 4
"""Most batch operations of one change: two cells, and a due entry for each."""
ENTRIES_PER_PURGE: Final = 4
"""Most batch operations of one purged entry: two cells, the entry, and another for a row that stays."""
FOLLOWER_ENTRIES_MAX: Final = 20_000
"""Room in a batch for the follower's offsets and recent ids."""

_KINDS: Final = frozenset(int(kind) for kind in Kind)


def batch_entries_max(*, records_max: int, purge_entries_max: int) -> int:
    """Operations of the greatest batch of the follower."""
    # A batch over the limit would end the process, so the limit follows from what may be in one.
    return records_max * ENTRIES_PER_CHANGE + purge_entries_max * ENTRIES_PER_PURGE + FOLLOWER_ENTRIES_MAX


class ObjectsView:
    """The view that a Follower drives; keeps no state but the purge's place."""

    topics: Sequence[str] = ("objects",)

    def __init__(
        self,
        store: RockstoreStore,
        schemas: Schemas,
        metrics: RockstoreMetrics,
        *,
        rows: FeatureRowStore,
        covers: Covers,
        owned_shards: Sequence[int],
        gone_keep_ms: int,
        purge_entries_max: int,
    ) -> None:
        self._store = store
        self._schemas = schemas
        self._metrics = metrics
        self._rows = rows
        self._covers = covers
        self._purge_shards = cycle(owned_shards)
        self._gone_keep_ms = gone_keep_ms
        self._purge_entries_max = purge_entries_max

    def decode(self, record: record_pb2.Record) -> Change | None:
        """The change that a record asks for; None for events that Rockstore does not store.

        Raises:
            PoisonRecord: the record can never be applied.
        """
        body = record.event.WhichOneof("body") if record.WhichOneof("body") == "event" else None
        decode = _DECODERS.get(body or "")
        if decode is None:
            return None
        change = decode(record, self._schemas)
        if change.id == 0 or change.id != record.key:
            # Another key would put the object into a shard that this partition does not feed.
            raise PoisonRecord(f"{body} of id {change.id} lies under key {record.key}", id=change.id)
        if change.kind not in _KINDS:
            raise PoisonRecord(f"{body} has no known object kind ({change.kind})", kind=change.kind)
        return change

    def apply(self, changes: Sequence[Change], batch: Batch) -> None:
        """Put what the changes leave into `batch`."""
        if not changes:
            self._rows.written(())
            return
        # First: a put of this batch over a purged cell comes later in the batch, and stays.
        self._purge(batch, newest_ms=max(change.time_ms for change in changes))
        ids = np.fromiter((change.id for change in changes), np.uint64, len(changes))
        keys = self._store.keys([change.kind for change in changes], ids)
        self._apply_family(OBJECTS, changes, keys, batch)
        self._rows.written(self._apply_family(ROWS, changes, keys, batch))

    @property
    def upkeep_waits(self) -> bool:
        """Whether rows are held to be in flight, which they are not any more when no record comes."""
        return self._rows.is_in_flight

    def upkeep(self, batch: Batch) -> None:
        """Let what was written last be cached again: the store has it by now. Puts nothing into `batch`."""
        self._rows.written(())

    def _apply_family(
        self, family: str, changes: Sequence[Change], keys: Sequence[bytes], batch: Batch
    ) -> Collection[Change]:
        """Returns the changes that stay, of each cell one."""
        touching = [
            (change, key)
            for change, key in zip(changes, keys, strict=True)
            if change.deleted or (change.object if family == OBJECTS else change.row) is not None
        ]
        wanted = list(dict.fromkeys(key for _, key in touching))
        versions = {
            key: 0 if cell is None else cell.version
            for key, cell in zip(wanted, self._store.cells(family, wanted), strict=True)
        }
        last: dict[bytes, Change] = {}
        outdated_count = 0
        for change, key in touching:
            if replaces(version=change.version, stored_version=versions[key]):
                versions[key] = change.version
                last[key] = change
            else:
                outdated_count += 1
        for key, change in last.items():
            self._write(family, key, change, batch)
        self._metrics.written(family, len(touching) - outdated_count)
        self._metrics.outdated(family, outdated_count)
        return last.values()

    def _write(self, family: str, key: bytes, change: Change, batch: Batch) -> None:
        version, gone_ms = change.version, change.gone_ms
        if change.deleted:
            self._store.put_tombstone(batch, family, key, version=version, gone_ms=gone_ms)
        elif family == OBJECTS and change.object is not None:
            self._store.put_object(batch, key, version=version, gone_ms=gone_ms, object=change.object)
        elif change.row is not None:
            self._store.put_row(batch, key, version=version, gone_ms=gone_ms, row=change.row)

    def _purge(self, batch: Batch, *, newest_ms: int) -> None:
        shard = next(self._purge_shards, None)
        if shard is None:
            return
        purged_count = self._store.purge(
            batch,
            shard=shard,
            before_ms=newest_ms - self._gone_keep_ms,
            now_ms=newest_ms,
            entries_max=self._purge_entries_max,
            covers=self._covers,
        )
        self._metrics.purged(purged_count)


def _put_object(record: record_pb2.Record, schemas: Schemas) -> Change:
    put = record.event.put_object
    name = put.WhichOneof("object")
    if name is None:
        raise PoisonRecord(f"put_object of {put.id} has no object, so no kind", id=put.id)
    kind = Kind[name.upper()]
    return Change(
        kind=kind,
        id=put.id,
        version=put.version or record.time_ms,
        time_ms=record.time_ms,
        gone_ms=record.time_ms + put.ttl_seconds * 1000 if put.ttl_seconds else 0,
        deleted=False,
        object=getattr(put, name).SerializeToString(),
        row=_row(put, kind, schemas),
    )


def _row(put: event_pb2.PutObject, kind: Kind, schemas: Schemas) -> Row | None:
    if not put.features_f32 and not put.feature_ids_u64:
        return None
    schema = schemas.get(kind, put.schema_version)
    if schema is None:
        raise PoisonRecord(
            f"the row of {kind.name.lower()} {put.id} is of schema version {put.schema_version}; declared "
            f"are {list(schemas.versions(kind))}: declare it, then publish again",
            id=put.id,
            schema_version=put.schema_version,
        )
    try:
        features = unpack_f32(put.features_f32, "features_f32")
        ids = unpack_u64(put.feature_ids_u64, "feature_ids_u64")
    except InvalidColumns as error:
        raise PoisonRecord(error.message, id=put.id) from error
    if (len(features), len(ids)) != (len(schema.features), len(schema.id_columns)):
        raise PoisonRecord(
            f"the row of {kind.name.lower()} {put.id} has {len(features)} features and {len(ids)} ids; "
            f"schema version {schema.version} has {len(schema.features)} and {len(schema.id_columns)}",
            id=put.id,
        )
    if np.isinf(features).any():
        # NaN passes: to a forest it is a missing value.
        raise PoisonRecord(f"the row of {kind.name.lower()} {put.id} has an infinite feature", id=put.id)
    return Row(put.schema_version, put.features_f32, put.feature_ids_u64)


def _delete_object(record: record_pb2.Record, _: Schemas) -> Change:
    delete = record.event.delete_object
    return _tombstone(record, kind=delete.kind, id=delete.id, version=delete.version or record.time_ms)


def _put_board(record: record_pb2.Record, _: Schemas) -> Change:
    put = record.event.put_board
    return Change(
        kind=Kind.BOARD,
        id=put.board,
        version=record.time_ms,
        time_ms=record.time_ms,
        gone_ms=0,
        deleted=False,
        object=put.board_data.SerializeToString(),
        row=None,
    )


def _delete_board(record: record_pb2.Record, _: Schemas) -> Change:
    board = record.event.delete_board.board
    return _tombstone(record, kind=Kind.BOARD, id=board, version=record.time_ms)


def _tombstone(record: record_pb2.Record, *, kind: int, id: int, version: int) -> Change:
    return Change(kind, id, version, record.time_ms, record.time_ms, deleted=True, object=None, row=None)


_DECODERS: Final[dict[str, Callable[[record_pb2.Record, Schemas], Change]]] = {
    "put_object": _put_object,
    "delete_object": _delete_object,
    "put_board": _put_board,
    "delete_board": _delete_board,
}
