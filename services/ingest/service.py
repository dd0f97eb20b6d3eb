"""IngestService over gRPC: check → fill in → build records → queue → wait until durable → token."""

from __future__ import annotations

import itertools
import os
import time
from concurrent.futures import Future
from typing import Any, Final

from feedmesh.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.errors import BadRequest, LogUnavailable, TooLate
from services.chassis.log.log import Log, Positions
from services.chassis.log.token import Token
from services.ingest.durable import wait_durable
from services.ingest.metrics import IngestMetrics
from services.ingest.records import RecordBuilder
from services.ingest.validate import EventValidator

FULL_NAME: Final = "feedmesh.ingest.v1.IngestService"


class IngestServicer(ingest_pb2_grpc.IngestServiceServicer):
    """A call holds its worker thread until its records are durable: one fsync, shared with all that wait."""

    def __init__(
        self,
        log: Log,
        *,
        validator: EventValidator,
        builder: RecordBuilder,
        metrics: IngestMetrics,
        clock: Clock,
        answer_reserve_ms: int = 0,
    ) -> None:
        self._log = log
        self._validator = validator
        self._builder = builder
        self._metrics = metrics
        self._clock = clock
        self._reserve_s = answer_reserve_ms / 1000
        # Ids for events without one: unlike any other process's, and cheap. Ended by the process.
        self._id_prefix = os.urandom(8).hex()
        self._id_numbers = itertools.count()

    def Publish(self, request: ingest_pb2.PublishRequest, context: Any) -> ingest_pb2.PublishResponse:
        """See ingest.proto."""
        now_ms = self._clock.now_ms()
        try:
            self._validator.check(request.events, request_bytes=request.ByteSize(), now_ms=now_ms)
            for event in request.events:
                if not event.time_ms:
                    event.time_ms = now_ms
                if not event.id:
                    event.id = f"{self._id_prefix}-{next(self._id_numbers):x}"
            records = self._builder.build(request.events)
        except BadRequest:
            self._metrics.refused.inc()
            raise
        positions = self._wait(self._log.publish(records))
        self._metrics.events.inc(len(request.events))
        return ingest_pb2.PublishResponse(token=Token(self._log.log_id, positions).encode())

    def _wait(self, future: Future[Positions]) -> Positions:
        began = time.perf_counter()
        try:
            positions = wait_durable(self._log, future, reserve_s=self._reserve_s)
        except TooLate:
            self._metrics.abandoned.inc()
            raise
        except LogUnavailable:
            if not future.done() or future.cancelled():
                self._metrics.abandoned.inc()
            raise
        self._metrics.durable.observe(time.perf_counter() - began)
        return positions
