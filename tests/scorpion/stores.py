"""A Rockstore and a Counter that keep the proto's promises, in this process, on real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from feedmesh.counter.v1 import counter_pb2, counter_pb2_grpc
from feedmesh.rockstore.v1 import rockstore_pb2, rockstore_pb2_grpc

PATIENCE_S = 30.0


class Rockstore(rockstore_pb2_grpc.RockstoreServiceServicer):
    """Pin rows by declared columns. `columns` and `version` may change while serving."""

    def __init__(self, rows: Mapping[int, Mapping[str, float]]) -> None:
        self.rows = rows
        self.features = ["quality", "description_chars", "interest_count"]
        self.defaults = [0.5, 0.0, 0.0]
        self.ids = ["board", "owner", "interest_0", "interest_1", "interest_2"]
        self.version = 1
        self.asked: list[list[int]] = []
        self.schemas_asked = 0
        self.broken = False
        self.gate: threading.Event | None = None

    def GetFeatureRows(  # noqa: N802
        self, request: rockstore_pb2.GetFeatureRowsRequest, context: grpc.ServicerContext
    ) -> rockstore_pb2.GetFeatureRowsResponse:
        pins = np.frombuffer(request.ids_u64, "<u8").tolist()
        self.asked.append(pins)
        if self.gate is not None:
            self.gate.wait(PATIENCE_S)
        if self.broken:
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        defaults = dict(zip(self.features, self.defaults, strict=True))
        values = [[{**defaults, **self.rows.get(pin, {})}[name] for name in self.features] for pin in pins]
        ids = [[int(self.rows.get(pin, {}).get(name, 0)) for name in self.ids] for pin in pins]
        return rockstore_pb2.GetFeatureRowsResponse(
            features_f32=np.array(values, "<f4").tobytes(),
            feature_ids_u64=np.array(ids, "<u8").tobytes(),
            present_u8=bytes(pin in self.rows for pin in pins),
            schema_version=self.version,
        )

    def GetSchema(  # noqa: N802
        self, request: rockstore_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> rockstore_pb2.GetSchemaResponse:
        self.schemas_asked += 1
        if self.broken:
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        return rockstore_pb2.GetSchemaResponse(
            schema_version=self.version,
            features=self.features,
            defaults=self.defaults,
            id_columns=self.ids,
        )

    def GetObjects(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "Scorpion asks for rows only")


class Counter(counter_pb2_grpc.CounterServiceServicer):
    """Counts by entity and counter."""

    def __init__(self, counts: Mapping[int, Mapping[str, float]]) -> None:
        self.counts = counts
        self.asked: list[list[int]] = []
        self.broken = False
        self.gate: threading.Event | None = None

    def GetCounts(  # noqa: N802
        self, request: counter_pb2.GetCountsRequest, context: grpc.ServicerContext
    ) -> counter_pb2.GetCountsResponse:
        pins = np.frombuffer(request.entities_u64, "<u8").tolist()
        self.asked.append(pins)
        if self.gate is not None:
            self.gate.wait(PATIENCE_S)
        if self.broken:
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        counts = [[self.counts.get(pin, {}).get(name, 0.0) for name in request.counters] for pin in pins]
        return counter_pb2.GetCountsResponse(
            counts_f16=np.array(counts, "<f2").tobytes(), counter_count=len(request.counters)
        )

    def GetTop(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "Scorpion asks for counts only")

    def ListCounters(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return counter_pb2.ListCountersResponse()


@contextmanager
def served(*servicers: Any) -> Iterator[list[str]]:
    """Serves each in a server of its own; yields the addresses."""
    servers = []
    addresses = []
    for servicer in servicers:
        server = grpc.server(ThreadPoolExecutor(4))
        if isinstance(servicer, Rockstore):
            rockstore_pb2_grpc.add_RockstoreServiceServicer_to_server(servicer, server)
        else:
            counter_pb2_grpc.add_CounterServiceServicer_to_server(servicer, server)
        addresses.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        server.start()
        servers.append(server)
    try:
        yield addresses
    finally:
        for server in servers:
            server.stop(None).wait()
