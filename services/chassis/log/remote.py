"""The embedded log of another process, over feedmesh.log.v1.LogService: what followers read by default.

A reader only: tails, offsets, and the append of dead letters. Every failure on the way is LogUnavailable,
which followers wait out; trimmed offsets, another log's identity and damage stay what they are, because
waiting does not cure them. A stream that is silent for longer than its signs of life (one a second) is
given up, even when the connection itself still answers pings.
Where next: `services/ingest/log_service.py`, the other end.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from feedmesh.log.v1 import log_pb2
from services.chassis.errors import BadRequest, DataLoss, FeedmeshError, LogUnavailable
from services.chassis.log.log import Chunk, Positions
from services.chassis.rpc.channel import Channels, ResponseStream
from services.chassis.rpc.method import Method

TAIL: Final = Method("/feedmesh.log.v1.LogService/Tail", log_pb2.TailRequest, log_pb2.TailResponse)
GET_LOG: Final = Method("/feedmesh.log.v1.LogService/GetLog", log_pb2.GetLogRequest, log_pb2.GetLogResponse)
APPEND_DEAD_LETTER: Final = Method(
    "/feedmesh.log.v1.LogService/AppendDeadLetter",
    log_pb2.AppendDeadLetterRequest,
    log_pb2.AppendDeadLetterResponse,
    idempotent=False,
)

_SILENCE_S: Final = 5.0
"""Several signs of life."""
_BUFFERED_MAX: Final = 4
"""Responses that wait for `poll`; when they do, the stream is not read, and HTTP/2 holds the server back."""
_CALL_S: Final = 2.0
_APPEND_S: Final = 10.0
_LASTING = (DataLoss, BadRequest)
T = TypeVar("T")


class RemoteLog:
    """A `LogReader` on the log that `address` serves. Makes no call before it is asked something."""

    def __init__(
        self, channels: Channels, address: str, *, chunk_bytes: int = 0, silence_s: float = _SILENCE_S
    ) -> None:
        self._channels = channels
        self._address = address
        self._chunk_bytes = chunk_bytes
        self._silence_s = silence_s
        self._identity: tuple[str, Mapping[str, int]] | None = None

    @property
    def log_id(self) -> str:
        """Identity, as told at the first contact. Raises LogUnavailable before it."""
        return self._known()[0]

    @property
    def topics(self) -> Mapping[str, int]:
        """Partition count by topic, as told at the first contact. Raises LogUnavailable before it."""
        return self._known()[1]

    def begin_offsets(self, topic: str) -> list[int]:
        """See `LogReader.begin_offsets`; one call."""
        return list(self._topic(topic).begin_offsets)

    def end_offsets(self, topic: str) -> list[int]:
        """See `LogReader.end_offsets`; one call."""
        return list(self._topic(topic).end_offsets)

    def tail(self, positions: Positions) -> RemoteTail:
        """See `LogReader.tail`. Opens the stream; a log that is away shows at the first `poll`."""
        request = log_pb2.TailRequest(chunk_bytes=self._chunk_bytes, log_id=self.log_id)
        for (topic, partition), offset in positions.items():
            request.positions.add(topic=topic, partition=partition, offset=offset)
        stream = self._reach(lambda: self._channels.stream(self._address, TAIL, request))
        return RemoteTail(stream, silence_s=self._silence_s)

    def append_dead_letter(self, letter: bytes) -> None:
        """See `LogReader.append_dead_letter`."""
        request = log_pb2.AppendDeadLetterRequest(dead_letter=letter)
        self._reach(
            lambda: self._channels.call(self._address, APPEND_DEAD_LETTER, request, timeout_s=_APPEND_S)
        )

    def close(self) -> None:
        """Nothing: the channels are the process's."""

    def _known(self) -> tuple[str, Mapping[str, int]]:
        if self._identity is None:
            log = self._get_log()
            self._identity = (log.log_id, {topic.name: len(topic.end_offsets) for topic in log.topics})
        return self._identity

    def _topic(self, name: str) -> log_pb2.Topic:
        for topic in self._get_log().topics:
            if topic.name == name:
                return topic
        raise BadRequest(f"the log at {self._address} has no topic {name!r}")

    def _get_log(self) -> log_pb2.GetLogResponse:
        return self._reach(
            lambda: self._channels.call(self._address, GET_LOG, log_pb2.GetLogRequest(), timeout_s=_CALL_S)
        )

    def _reach(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except _LASTING:
            raise
        except FeedmeshError as fault:
            raise LogUnavailable(f"the log at {self._address} cannot be reached: {fault}") from fault


class RemoteTail:
    """One open stream, read ahead by a thread of its own so that `poll` can merge and time out."""

    def __init__(self, stream: ResponseStream[log_pb2.TailResponse], *, silence_s: float) -> None:
        self._stream = stream
        self._silence_s = silence_s
        self._heard = time.monotonic()
        self._heard_once = False
        # The reading thread waits for room: what it would hear lies in the connection.
        self._full = False
        self._ready: deque[log_pb2.TailResponse] = deque()
        self._fault: FeedmeshError | None = None
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, name="log-tail", daemon=True).start()

    def poll(self, *, timeout_ms: int) -> list[Chunk]:
        """See `Tail.poll`; returns all that was received so far."""
        deadline = time.monotonic() + timeout_ms / 1000
        with self._changed:
            while not self._ready:
                if self._closed:
                    raise LogUnavailable("the tail is closed")
                if self._fault is not None:
                    raise self._fault
                now = time.monotonic()
                if now - self._heard > self._silence_s:
                    raise LogUnavailable(f"the log gave no sign of life for {self._silence_s:.0f} s")
                if now >= deadline:
                    return []
                self._changed.wait(min(deadline - now, self._silence_s))
            responses = list(self._ready)
            self._ready.clear()
            # The reading thread may have waited for room all this while.
            self._heard = time.monotonic()
            self._changed.notify_all()
        return [_chunk(chunk) for response in responses for chunk in response.chunks]

    @property
    def silent_s(self) -> float:
        """See `Tail.silent_s`; one stream carries all partitions. A slow reader is no silent log."""
        if not self._heard_once:
            return math.inf
        return 0.0 if self._full else time.monotonic() - self._heard

    def close(self) -> None:
        """See `Tail.close`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._stream.cancel()

    def _read(self) -> None:
        try:
            for response in self._stream:
                self._keep(response)
                if self._closed:
                    return
            fault: FeedmeshError = LogUnavailable("the log ended the stream")
        except _LASTING as lasting:
            fault = lasting
        except Exception as error:  # noqa: BLE001  whatever ended the stream, `poll` must hear of it
            fault = LogUnavailable(f"the log's stream broke: {error}")
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

    def _keep(self, response: log_pb2.TailResponse) -> None:
        with self._changed:
            self._heard = time.monotonic()
            self._heard_once = True
            if not response.chunks:
                return
            while len(self._ready) >= _BUFFERED_MAX and not self._closed:
                self._full = True
                self._changed.wait()
                # A slow reader is no silent log.
                self._heard = time.monotonic()
            self._full = False
            self._ready.append(response)
            self._changed.notify_all()


def _chunk(chunk: log_pb2.TailChunk) -> Chunk:
    values = list(chunk.records)
    first = chunk.base_offset
    next_offset = first + len(values)
    return Chunk(
        chunk.topic, chunk.partition, range(first, next_offset), values, next_offset, chunk.end_offset
    )
