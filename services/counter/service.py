"""The gRPC adapter of Counter: requests to table and tops, and back.

Refuses at the door: entity 0, ragged or overlong columns, unknown counters, negative times, entities of
other hosts. An entity that was never counted is an answer of zeros, not an error.
Next: `table.py`, `top.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import numpy as np
from numpy.typing import NDArray

from feedmesh.counter.v1 import counter_pb2, counter_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.columns.packed import pack_f16, pack_f32, pack_u64, unpack_u64
from services.chassis.errors import BadRequest, InvalidId, LimitExceeded
from services.chassis.shards.owned import OwnedShards
from services.counter.config import CounterConfig
from services.counter.counters import Counters
from services.counter.metrics import CounterMetrics
from services.counter.table import CounterTable
from services.counter.top import Top, TopCache, greatest


class CounterServicer(counter_pb2_grpc.CounterServiceServicer):
    """Answers reads of counts. Threads share it; the table is guarded, the tops have a lock."""

    def __init__(
        self,
        table: CounterTable,
        counters: Counters,
        metrics: CounterMetrics,
        *,
        config: CounterConfig,
        owned: OwnedShards,
        clock: Clock,
    ) -> None:
        self._table = table
        self._counters = counters
        self._metrics = metrics
        self._config = config
        self._owned = owned
        self._clock = clock
        self._tops = TopCache(keep_ms=config.top_cache_ms, entries_max=config.top_cache_max)

    def GetCounts(
        self, request: counter_pb2.GetCountsRequest, context: grpc.ServicerContext
    ) -> counter_pb2.GetCountsResponse:
        """Counts of entities as one matrix."""
        entities = unpack_u64(request.entities_u64, "entities_u64")
        if len(entities) > self._config.asked_max:
            raise LimitExceeded(
                f"{len(entities)} entities in one request: ask for {self._config.asked_max} at most",
                limit=self._config.asked_max,
            )
        if not entities.all():
            raise InvalidId("entities_u64 holds 0, which is nobody's id", row=int(np.argmin(entities)))
        columns = self._columns(request.counters or self._counters.names)
        self._owned.check(entities)
        counts, found_count = self._table.counts(entities, columns, now_ms=self._now_ms(request.now_ms))
        self._metrics.read(asked=len(entities), found=found_count)
        return counter_pb2.GetCountsResponse(counts_f16=pack_f16(counts), counter_count=len(columns))

    def GetTop(
        self, request: counter_pb2.GetTopRequest, context: grpc.ServicerContext
    ) -> counter_pb2.GetTopResponse:
        """The entities with the greatest counts."""
        limit = request.limit or self._config.top_default
        if limit > self._config.top_max:
            raise LimitExceeded(
                f"limit is {limit}: ask for {self._config.top_max} at most", limit=self._config.top_max
            )
        column = int(self._columns([request.counter])[0])
        now_ms = self._now_ms(request.now_ms)

        def scan() -> Top:
            # As many as anyone may ask for: the next request may have another limit.
            return greatest(*self._table.column(column, now_ms=now_ms), count=self._config.top_max)

        # "Now" is one key, whatever the clock says: that is what keeping is for.
        top, cached = self._tops.get(
            (request.counter, request.now_ms), scan, monotonic_s=self._clock.monotonic()
        )
        self._metrics.top(cached=cached)
        top = top.first(limit)
        return counter_pb2.GetTopResponse(
            entities_u64=pack_u64(top.entities), values_f32=pack_f32(top.values)
        )

    def ListCounters(
        self, request: counter_pb2.ListCountersRequest, context: grpc.ServicerContext
    ) -> counter_pb2.ListCountersResponse:
        """The declared counters."""
        return counter_pb2.ListCountersResponse(names=self._counters.names)

    def _columns(self, names: Sequence[str]) -> NDArray[np.int32]:
        if len(names) > self._config.counters_max:
            raise LimitExceeded(f"{len(names)} counters in one request, {self._config.counters_max} at most")
        return self._counters.columns(names)

    def _now_ms(self, asked_ms: int) -> int:
        if asked_ms < 0:
            raise BadRequest(f"now_ms is {asked_ms}: send milliseconds since 1970, or 0 for now")
        return asked_ms or self._clock.now_ms()
