"""The gRPC adapter of Rockstore: requests to store and domain, and back.

Refuses at the door: id 0, ragged or overlong columns, unknown kinds, ids of other hosts. An object or row
that is not there is an answer, not an error. Threads share it: it keeps no state, and RocksDB's reads are
of whole values, so an answer never shows a half-applied one (two ids may differ by a moment).
Next: `rows.py`, `store.py`, `schema.py`.
"""

from __future__ import annotations

from typing import Final

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from feedmesh.rockstore.v1 import rockstore_pb2, rockstore_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.columns.packed import (
    check_equal_lengths,
    pack_f32,
    pack_u8,
    pack_u64,
    unpack_u8,
    unpack_u64,
)
from services.chassis.errors import CorruptValue, InvalidId, LimitExceeded, NotFound, UnknownEnum
from services.chassis.shards.owned import OwnedShards
from services.rockstore.config import RockstoreConfig
from services.rockstore.metrics import RockstoreMetrics
from services.rockstore.rows import FeatureRowStore
from services.rockstore.schema import Kind, Schema, Schemas
from services.rockstore.store import OBJECTS, ROWS, RockstoreStore, StoredObject

_KINDS: Final = np.array([int(kind) for kind in Kind], np.uint8)
_FIELDS: Final = {Kind.PIN: "pin", Kind.BOARD: "board", Kind.USER: "user", Kind.INTEREST: "interest"}
"""Field of the answer by kind."""
assert _FIELDS.keys() == set(Kind), "every kind has objects"


class RockstoreServicer(rockstore_pb2_grpc.RockstoreServiceServicer):
    """Answers reads of objects and feature rows."""

    def __init__(
        self,
        store: RockstoreStore,
        schemas: Schemas,
        metrics: RockstoreMetrics,
        *,
        rows: FeatureRowStore,
        config: RockstoreConfig,
        owned: OwnedShards,
        clock: Clock,
    ) -> None:
        self._store = store
        self._schemas = schemas
        self._metrics = metrics
        self._rows = rows
        self._config = config
        self._owned = owned
        self._clock = clock

    def GetObjects(
        self, request: rockstore_pb2.GetObjectsRequest, context: grpc.ServicerContext
    ) -> rockstore_pb2.GetObjectsResponse:
        """Objects in the order asked for; version 0 where there is none."""
        ids = self._ids(request.ids_u64, count_max=self._config.object_ids_max)
        kinds = _kinds(request, ids)
        stored = self._store.objects(kinds, ids, now_ms=self._clock.now_ms())
        self._check_bytes(stored)
        response = rockstore_pb2.GetObjectsResponse()
        for id, kind, found in zip(ids.tolist(), kinds.tolist(), stored, strict=True):
            _add_object(response, id, kind, found)
        found_count = sum(found is not None for found in stored)
        self._metrics.read(OBJECTS, asked=len(ids), found=found_count)
        return response

    def GetFeatureRows(
        self, request: rockstore_pb2.GetFeatureRowsRequest, context: grpc.ServicerContext
    ) -> rockstore_pb2.GetFeatureRowsResponse:
        """Feature rows of one kind as matrices, under the newest schema."""
        newest = self._newest(request.kind)
        ids = self._ids(request.ids_u64, count_max=self._config.row_ids_max)
        rows = self._rows.read(newest, ids, now_ms=self._clock.now_ms())
        found_count = int(np.count_nonzero(rows.present))
        self._metrics.read(ROWS, asked=len(ids), found=found_count, unreadable=rows.unreadable_count)
        self._metrics.cached(hits=len(ids) - rows.miss_count, misses=rows.miss_count)
        return rockstore_pb2.GetFeatureRowsResponse(
            features_f32=pack_f32(rows.features),
            feature_ids_u64=pack_u64(rows.ids),
            present_u8=pack_u8(rows.present),
            schema_version=newest.version,
        )

    def GetSchema(
        self, request: rockstore_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> rockstore_pb2.GetSchemaResponse:
        """The newest schema of a kind, or the version asked for."""
        schema: Schema | None = self._newest(request.kind)
        if request.schema_version:
            schema = self._schemas.get(request.kind, request.schema_version)
        if schema is None:
            raise NotFound(
                f"schema version {request.schema_version} is not declared; there are "
                f"{list(self._schemas.versions(request.kind))}",
                schema_version=request.schema_version,
            )
        return rockstore_pb2.GetSchemaResponse(
            schema_version=schema.version,
            features=schema.features,
            defaults=schema.defaults,
            id_columns=schema.id_columns,
        )

    def _ids(self, packed: bytes, *, count_max: int) -> NDArray[np.uint64]:
        ids = unpack_u64(packed, "ids_u64")
        if len(ids) > count_max:
            raise LimitExceeded(
                f"{len(ids)} ids in one request: ask for {count_max} at most", limit=count_max
            )
        if not ids.all():
            raise InvalidId("ids_u64 holds the id 0, which is nobody's", row=int(np.argmin(ids)))
        self._owned.check(ids)
        return ids

    def _newest(self, kind: int) -> Schema:
        if kind not in _KINDS:
            raise UnknownEnum(f"kind is {kind}: ask for one ObjectKind, not UNSPECIFIED", kind=kind)
        newest = self._schemas.newest(kind)
        if newest is None:
            name = Kind(kind).name.lower()
            raise NotFound(f"no feature rows are declared for {name}: add [[schemas]]", kind=name)
        return newest

    def _check_bytes(self, stored: list[StoredObject | None]) -> None:
        size_bytes = sum(len(found.object) for found in stored if found is not None)
        if size_bytes > self._config.object_bytes_max:
            raise LimitExceeded(
                f"these {len(stored)} objects have {size_bytes} bytes, over the limit of "
                f"{self._config.object_bytes_max}: ask for fewer at once",
                limit=self._config.object_bytes_max,
            )


def _kinds(request: rockstore_pb2.GetObjectsRequest, ids: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The kind of each id, checked."""
    if request.kinds_u8:
        kinds = unpack_u8(request.kinds_u8, "kinds_u8")
        check_equal_lengths(ids_u64=ids, kinds_u8=kinds)
    else:
        # An unknown number of a newer client need not fit a byte: 0 is refused as well.
        kinds = np.full(len(ids), request.kind if request.kind in _KINDS else 0, np.uint8)
    if not np.isin(kinds, _KINDS).all():
        raise UnknownEnum("every id needs a known ObjectKind: set kind, or kinds_u8 with one for each id")
    return kinds


def _add_object(
    response: rockstore_pb2.GetObjectsResponse, id: int, kind: int, found: StoredObject | None
) -> None:
    if found is None:
        response.objects.add(id=id)
        return
    answer = response.objects.add(id=id, version=found.version)
    field = _FIELDS[Kind(kind)]
    target = getattr(answer, field)
    # An empty message still is an object: parsing nothing would leave the oneof unset.
    target.SetInParent()
    try:
        target.ParseFromString(found.object)
    except DecodeError as error:
        raise CorruptValue(f"the stored {field} {id} is no {field}: restore a checkpoint", id=id) from error
