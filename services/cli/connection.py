"""A client's connection to a local mesh: the few calls that the commands make, by the chassis' own channels.

Finds every service in the data folder's shard map. Errors are those of the tree (`chassis/errors.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self

import numpy as np
from prometheus_client import CollectorRegistry

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.clock import SystemClock
from services.chassis.columns.packed import pack_u64
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.channel import Channels, Pending
from services.chassis.rpc.context import CallContext, enter
from services.chassis.rpc.method import Method
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.chassis.shards.router import Router
from services.chassis.shards.routing import Choices, RouterMetrics, raise_first_error
from services.chassis.shards.watch import ShardMapMetrics, WatchedShardMap
from services.cli.mesh.layout import Layout

PUBLISH: Final = Method(
    "/feedmesh.ingest.v1.IngestService/Publish", ingest_pb2.PublishRequest, ingest_pb2.PublishResponse
)
GET_FEED: Final = Method(
    "/feedmesh.feedgen.v1.FeedGeneratorService/GetFeed",
    feedgen_pb2.GetFeedRequest,
    feedgen_pb2.GetFeedResponse,
)
GET_OBJECTS: Final = Method(
    "/feedmesh.rockstore.v1.RockstoreService/GetObjects",
    rockstore_pb2.GetObjectsRequest,
    rockstore_pb2.GetObjectsResponse,
)
GET_SCHEMA: Final = Method(
    "/feedmesh.rockstore.v1.RockstoreService/GetSchema",
    rockstore_pb2.GetSchemaRequest,
    rockstore_pb2.GetSchemaResponse,
)
EVENTS_MAX: Final = 1_000
"""Events in one Publish, as Ingest allows."""
_TIMEOUT_S: Final = 10.0
_ANY_ID: Final = 1
"""Ingest has one shard; any id leads there."""
_OBJECTS_MAX: Final = 5_000


class Connection:
    """Used from one thread."""

    def __init__(self, layout: Layout) -> None:
        registry = CollectorRegistry()
        # A publish that was cut off by a restart is sent again with the same ids, and counts once.
        channel_config = ChannelConfig(retry_attempts=5, retry_backoff_ms=200)
        self.layout = layout
        self.channels = Channels(channel_config, ClientMetrics(registry), message_bytes_max=64 << 20)
        shards = WatchedShardMap.read(layout.map_path, metrics=ShardMapMetrics(registry))
        choices = Choices(shards, ProcessConfig(channels=channel_config), SystemClock())
        self.router = Router(self.channels, choices, RouterMetrics(registry))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channels.close()

    @property
    def ingest(self) -> str:
        """Where Ingest listens."""
        return self.layout.addresses("ingest")[0]

    def publish(self, events: Sequence[event_pb2.Event], *, timeout_s: float = _TIMEOUT_S) -> bytes:
        """Publish up to `EVENTS_MAX` events, each with an id; their token. Any Ingest will do."""
        request = ingest_pb2.PublishRequest(events=events)
        return self.router.call_one("ingest", _ANY_ID, PUBLISH, request, timeout_s).token

    def start_publish(
        self, events: Sequence[event_pb2.Event], *, timeout_s: float = _TIMEOUT_S
    ) -> Pending[ingest_pb2.PublishResponse]:
        """`publish` at the first Ingest, without waiting."""
        request = ingest_pb2.PublishRequest(events=events)
        return self.channels.start(self.ingest, PUBLISH, request, timeout_s=timeout_s)

    def feed(
        self, request: feedgen_pb2.GetFeedRequest, *, timeout_s: float = _TIMEOUT_S
    ) -> feedgen_pb2.GetFeedResponse:
        """One page."""
        return self.channels.call(self.layout.addresses("feedgen")[0], GET_FEED, request, timeout_s=timeout_s)

    def objects(
        self, kind: type_pb2.ObjectKind.ValueType, ids: Sequence[int]
    ) -> dict[int, rockstore_pb2.Object]:
        """Objects that are there, by id."""
        found: dict[int, rockstore_pb2.Object] = {}
        for at in range(0, len(ids), _OBJECTS_MAX):
            wanted = np.array(ids[at : at + _OBJECTS_MAX], np.uint64)
            answers = self.router.call(
                "rockstore",
                wanted,
                GET_OBJECTS,
                lambda rows, wanted=wanted: rockstore_pb2.GetObjectsRequest(  # type: ignore[misc]
                    kind=kind, ids_u64=pack_u64(wanted[rows])
                ),
                _TIMEOUT_S,
            )
            raise_first_error(answers)
            found.update(
                {item.id: item for answer in answers for item in answer.get().objects if item.version}
            )
        return found

    def schema(self, kind: type_pb2.ObjectKind.ValueType) -> rockstore_pb2.GetSchemaResponse:
        """The newest feature row schema of a kind."""
        return self.router.call_one(
            "rockstore", 1, GET_SCHEMA, rockstore_pb2.GetSchemaRequest(kind=kind), _TIMEOUT_S
        )


@contextmanager
def reading_after(token: bytes) -> Iterator[None]:
    """Calls made inside see what the token's events wrote."""
    enter(CallContext(f"cli-{os.urandom(6).hex()}", deadline=None, token=token or None))
    try:
        yield
    finally:
        enter(CallContext(f"cli-{os.urandom(6).hex()}", deadline=None))
