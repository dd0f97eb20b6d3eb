"""Records as Ingest would write them, and a Rockstore of real parts without a log or a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from prometheus_client.registry import CollectorRegistry

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.clock import FakeClock
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Batch, Store
from services.rockstore.build import Parts, assemble
from services.rockstore.config import RockstoreConfig
from services.rockstore.ingest import ObjectsView
from services.rockstore.schema import Schema, Schemas
from services.rockstore.service import RockstoreServicer
from services.rockstore.store import RockstoreStore

NOW_MS = FakeClock().now_ms()
DAY_MS = 86_400_000


def record(event: event_pb2.Event, *, key: int, time_ms: int = NOW_MS) -> record_pb2.Record:
    """An event at the role of its object."""
    return record_pb2.Record(
        record_id=key, key=key, role=record_pb2.ROLE_OBJECT, time_ms=time_ms, version=1, event=event
    )


def put_pin(
    id: int,
    *,
    title: str = "a title",
    version: int = 0,
    time_ms: int = NOW_MS,
    ttl_seconds: int = 0,
    features: Sequence[float] = (),
    ids: Sequence[int] = (),
    schema_version: int = 0,
) -> record_pb2.Record:
    """A put_object of a pin."""
    put = event_pb2.PutObject(
        id=id,
        version=version,
        pin=type_pb2.Pin(title=title),
        ttl_seconds=ttl_seconds,
        features_f32=np.array(features, "<f4").tobytes(),
        feature_ids_u64=np.array(ids, "<u8").tobytes(),
        schema_version=schema_version,
    )
    return record(event_pb2.Event(put_object=put), key=id, time_ms=time_ms)


def delete_pin(id: int, *, version: int = 0, time_ms: int = NOW_MS) -> record_pb2.Record:
    """A delete_object of a pin."""
    delete = event_pb2.DeleteObject(id=id, version=version, kind=type_pb2.OBJECT_KIND_PIN)
    return record(event_pb2.Event(delete_object=delete), key=id, time_ms=time_ms)


@dataclass
class Rockstore:
    """Everything of one process but the log, the server and the follower's thread."""

    parts: Parts
    clock: FakeClock
    registry: CollectorRegistry

    @property
    def raw(self) -> Store:
        return self.parts.raw

    @property
    def store(self) -> RockstoreStore:
        return self.parts.store

    @property
    def view(self) -> ObjectsView:
        return self.parts.view

    @property
    def servicer(self) -> RockstoreServicer:
        return self.parts.servicer

    def follow(self, *records: record_pb2.Record) -> None:
        """Apply the records as one batch."""
        self.raw.write(self.applied(*records))

    def applied(self, *records: record_pb2.Record) -> Batch:
        """Apply the records, and leave their batch unwritten."""
        changes = [change for change in map(self.view.decode, records) if change is not None]
        batch = self.raw.batch()
        self.view.apply(changes, batch)
        return batch

    def metric(self, name: str, **labels: str) -> float:
        """One of Rockstore's own metrics."""
        return self.registry.get_sample_value(f"feedmesh_rockstore_{name}", labels) or 0.0

    def close(self) -> None:
        self.parts.close()


def open_rockstore(
    data_dir: Path,
    *,
    config: RockstoreConfig | None = None,
    schemas: Sequence[Schema] | None = None,
    owned: OwnedShards | None = None,
    clock: FakeClock | None = None,
) -> Rockstore:
    """A Rockstore in `data_dir`; the caller closes it."""
    config = config or RockstoreConfig()
    config = replace(config, process=replace(config.process, data_dir=data_dir))
    declared = Schemas([item.build() for item in config.schemas] if schemas is None else schemas)
    owned = owned or OwnedShards.everything(8)
    clock = clock or FakeClock()
    registry = CollectorRegistry()
    parts = assemble(config, declared, owned=owned, clock=clock, registry=registry)
    return Rockstore(parts, clock, registry)
