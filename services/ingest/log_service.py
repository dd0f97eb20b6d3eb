"""LogService over gRPC: the embedded log as followers in other processes see it, and the dead letters of any.

Each Tail holds one thread of the stream pool (`process.streams_max`) for as long as the follower lives. A log
that is Kafka is read there: its followers need no second way, which would be slower and know less.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError

from feedmesh.log.v1 import log_pb2, log_pb2_grpc, record_pb2
from services.chassis.clock import Clock
from services.chassis.errors import BadRequest, LimitExceeded, OffsetOutOfRange
from services.chassis.log.embedded import EmbeddedLog
from services.chassis.log.log import DEAD_LETTERS, Chunk, Log, Positions
from services.chassis.log.replay import replayed
from services.chassis.log.token import Token
from services.ingest.config import IngestConfig
from services.ingest.durable import wait_durable
from services.ingest.metrics import IngestMetrics

FULL_NAME: Final = "feedmesh.log.v1.LogService"
CHUNK_BYTES_MAX: Final = 4 << 20
REPLAY_BYTES_MAX: Final = 4 << 20
"""Of a letter whose record is whole again; only others than Ingest write records of more than 1 MiB."""


class LogServicer(log_pb2_grpc.LogServiceServicer):
    """Reads of `log`, and the append of dead letters."""

    def __init__(self, log: Log, config: IngestConfig, *, metrics: IngestMetrics, clock: Clock) -> None:
        self._log = log
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._reserve_s = config.answer_reserve_ms / 1000

    def Tail(self, request: log_pb2.TailRequest, context: Any) -> Iterator[log_pb2.TailResponse]:
        """See log.proto."""
        log = self._log
        if not isinstance(log, EmbeddedLog):
            raise BadRequest("this mesh's log is Kafka: follow it there (follower.log_kind = kafka)")
        positions = self._positions(request)
        tail = log.tail(positions, chunk_bytes=min(request.chunk_bytes, CHUNK_BYTES_MAX))
        # A caller that went away wakes the poll, so its thread is free at once.
        context.add_callback(tail.close)
        try:
            log_id = log.log_id
            while context.is_active():
                chunks = tail.poll(timeout_ms=self._config.sign_of_life_ms)
                yield self._response(chunks, log_id)
                log_id = ""
        finally:
            tail.close()

    def GetLog(self, request: log_pb2.GetLogRequest, context: Any) -> log_pb2.GetLogResponse:
        """See log.proto."""
        log = self._log
        response = log_pb2.GetLogResponse(log_id=log.log_id)
        for name in log.topics:
            response.topics.add(
                name=name, begin_offsets=log.begin_offsets(name), end_offsets=log.end_offsets(name)
            )
        return response

    def AppendDeadLetter(
        self, request: log_pb2.AppendDeadLetterRequest, context: Any
    ) -> log_pb2.AppendDeadLetterResponse:
        """See log.proto."""
        self._letter(request.dead_letter, bytes_max=self._config.dead_letter_bytes_max)
        offset = self._log.write_dead_letter(request.dead_letter)
        self._metrics.dead_letters.inc()
        return log_pb2.AppendDeadLetterResponse(offset=offset)

    def ReplayDeadLetter(
        self, request: log_pb2.ReplayDeadLetterRequest, context: Any
    ) -> log_pb2.ReplayDeadLetterResponse:
        """See log.proto."""
        letter = self._letter(request.dead_letter, bytes_max=REPLAY_BYTES_MAX)
        record = replayed(letter, offset=request.offset)
        if record.topic == DEAD_LETTERS or record.partition >= self._log.topics.get(record.topic, 0):
            raise BadRequest(f"no service follows a {record.topic}/{record.partition} of this log")
        positions = wait_durable(self._log, self._log.publish([record]), reserve_s=self._reserve_s)
        self._metrics.replays.inc()
        return log_pb2.ReplayDeadLetterResponse(token=Token(self._log.log_id, positions).encode())

    def _letter(self, data: bytes, *, bytes_max: int) -> record_pb2.DeadLetter:
        if not 1 <= len(data) <= bytes_max:
            raise LimitExceeded(f"dead_letter has {len(data)} bytes, must have 1 to {bytes_max}")
        try:
            return record_pb2.DeadLetter.FromString(data)
        except DecodeError as fault:
            raise BadRequest("dead_letter is not a serialised DeadLetter") from fault

    def _positions(self, request: log_pb2.TailRequest) -> Positions:
        log, limit = self._log, self._config.tail_partitions_max
        if not 1 <= len(request.positions) <= limit:
            raise LimitExceeded(f"the request has {len(request.positions)} positions, must have 1 to {limit}")
        if request.log_id and request.log_id != log.log_id:
            raise OffsetOutOfRange(
                f"the positions are of log {request.log_id!r}, this is log {log.log_id!r}: restore a "
                "checkpoint of this log, or start from an empty store"
            )
        positions: Positions = {}
        for position in request.positions:
            place = (position.topic, position.partition)
            if position.partition >= log.topics.get(position.topic, 0):
                raise BadRequest(f"there is no partition {place[1]} of topic {place[0]!r} in this log")
            if place in positions:
                raise BadRequest(f"{place[0]}/{place[1]} is named twice; send each partition once")
            positions[place] = position.offset
        return positions

    def _response(self, chunks: list[Chunk], log_id: str) -> log_pb2.TailResponse:
        response = log_pb2.TailResponse(time_ms=self._clock.now_ms(), log_id=log_id)
        add = response.chunks.add
        count = 0
        for chunk in chunks:
            add(
                topic=chunk.topic,
                partition=chunk.partition,
                base_offset=chunk.offsets[0],
                records=chunk.values,
                end_offset=chunk.end_offset,
            )
            count += len(chunk.values)
        if count:
            self._metrics.tail_records.inc(count)
        return response
