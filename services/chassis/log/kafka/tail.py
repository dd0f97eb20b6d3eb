"""A place in the log, read from Kafka: assigned by hand, committed records only, from our own positions.

    broker ─ fetch ─► aiokafka ─► _follow (the event loop) ─► TailBuffer ─► poll (the follower's thread)

No consumer group: which partitions to read follows from the shards that a process serves, where to go on
from its own store; nothing is rebalanced and nothing is committed to Kafka.
Fresh: what is fetched is taken at once. aiokafka leaves a partition whose records nobody took out of the next
fetch, and that fetch is then held by the broker for up to `fetch_wait_ms` while the partition has news.
Bounded: beyond `buffer_bytes_max` every partition is paused until half of it is taken.
Offsets without records (the end of a transaction takes one) are passed on as empty chunks, but only
`advance_ms` after they were read: at the tip, the next records come with them for nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from aiokafka import errors

from services.chassis.errors import ConfigFaults, FeedmeshError, LogUnavailable, OffsetOutOfRange
from services.chassis.log.kafka.client import Consumer, Place, connection_options
from services.chassis.log.kafka.config import KafkaConnection, KafkaTailConfig
from services.chassis.log.kafka.contact import start
from services.chassis.log.kafka.faults import translate
from services.chassis.log.kafka.loop import EventLoop
from services.chassis.log.log import Chunk, Positions
from services.chassis.log.tail_buffer import TailBuffer

_ROOM_POLL_S = 0.005
_RECORD_BYTES = 64
"""What a record, or a chunk without any, costs in memory beside its values, about."""


class KafkaTail:
    """See `Tail`. Owns one consumer, which it stops on `close`."""

    def __init__(
        self,
        loop: EventLoop,
        connection: KafkaConnection,
        config: KafkaTailConfig,
        positions: Positions,
        *,
        name: str,
    ) -> None:
        self._connection = connection
        self._config = config
        self._name = name
        self._buffer = TailBuffer()
        self._places = {place: Place(connection.topic_prefix + place[0], place[1]) for place in positions}
        self._topics = {place.topic: topic for (topic, _), place in self._places.items()}
        self._told: dict[Any, int] = {self._places[place]: offset for place, offset in positions.items()}
        # On time.monotonic(); negative infinity: not yet from every partition.
        self._heard = -math.inf
        self._following: Future[None] = loop.start(self._follow())

    @property
    def silent_s(self) -> float:
        """See `Tail.silent_s`."""
        return time.monotonic() - self._heard

    def poll(self, *, timeout_ms: int) -> list[Chunk]:
        """See `Tail.poll`; returns all that was fetched so far."""
        return self._buffer.take(timeout_ms=timeout_ms)

    def close(self) -> None:
        """See `Tail.close`."""
        self._buffer.close()
        self._following.cancel()

    async def _follow(self) -> None:
        consumer: Any = None
        try:
            consumer = self._consumer()
            await start(consumer, self._connection, name=self._name)
            consumer.assign(list(self._told))
            for place, offset in self._told.items():
                consumer.seek(place, offset)
            await self._fetch(consumer)
        except errors.OffsetOutOfRangeError as fault:
            self._buffer.fail(await self._out_of_range(consumer, fault.args[0]))
        except ConfigFaults as fault:
            # They were right at the first contact: files that are being replaced, one after the other.
            self._buffer.fail(LogUnavailable("; ".join(fault.faults)))
        except (errors.KafkaError, OSError, FeedmeshError) as fault:
            self._buffer.fail(translate(fault, "to be followed"))
        except asyncio.CancelledError:
            self._buffer.fail(LogUnavailable("the log is closed"))
            raise
        except Exception as fault:  # noqa: BLE001  whatever ended the task, `poll` must hear of it
            self._buffer.fail(LogUnavailable(f"following Kafka broke: {type(fault).__name__}: {fault}"))
        finally:
            if consumer is not None:
                await consumer.stop()

    async def _fetch(self, consumer: Any) -> None:
        advance_s = self._config.advance_ms / 1000
        advance_at = time.monotonic() + advance_s
        while True:
            fetched = await consumer.getmany(timeout_ms=self._config.advance_ms)
            if fetched:
                await self._pass_on(consumer, fetched)
            now = time.monotonic()
            if now >= advance_at:
                advance_at = now + advance_s
                await self._advance(consumer)
            if self._buffer.size_bytes > self._config.buffer_bytes_max:
                await self._wait_for_room(consumer)

    async def _pass_on(self, consumer: Any, fetched: Mapping[Any, Sequence[Any]]) -> None:
        chunks, size = [], 0
        for place, records in fetched.items():
            values = [record.value or b"" for record in records]
            offsets = [record.offset for record in records]
            size += sum(map(len, values)) + _RECORD_BYTES * len(values)
            chunks.append(self._chunk(consumer, place, await consumer.position(place), offsets, values))
        self._buffer.put(chunks, size_bytes=size)

    async def _advance(self, consumer: Any) -> None:
        """Tell of offsets that were passed without a record, and note who was heard of."""
        chunks = []
        for place, told in self._told.items():
            position = await consumer.position(place)
            if position > told:
                chunks.append(self._chunk(consumer, place, position, (), ()))
        if chunks:
            # Without records, and yet something that waits: aborted transactions must not pile up unbounded.
            self._buffer.put(chunks, size_bytes=_RECORD_BYTES * len(chunks))
        polled = [consumer.last_poll_timestamp(place) for place in self._told]
        if all(polled):
            # aiokafka notes it on the wall clock, which may be set meanwhile.
            age_s = max(0.0, time.time() - min(polled) / 1000)
            self._heard = max(self._heard, time.monotonic() - age_s)

    def _chunk(
        self, consumer: Any, place: Any, position: int, offsets: Sequence[int], values: Sequence[bytes]
    ) -> Chunk:
        self._told[place] = position
        # The last stable offset: what lies beyond is of transactions that are open.
        end = consumer.last_stable_offset(place) or 0
        topic = self._topics[place.topic]
        return Chunk(topic, place.partition, offsets, values, position, max(position, end))

    async def _wait_for_room(self, consumer: Any) -> None:
        """Pause until half of the bound is taken. What was fetched meanwhile waits inside aiokafka."""
        places = list(self._told)
        consumer.pause(*places)
        while self._buffer.size_bytes > self._config.buffer_bytes_max // 2:
            await asyncio.sleep(_ROOM_POLL_S)
            # A slow reader is no silent log.
            self._heard = time.monotonic()
        consumer.resume(*places)

    async def _out_of_range(self, consumer: Any, offsets: Mapping[Any, int]) -> FeedmeshError:
        """What is missing, from what Kafka still has."""
        ((place, offset),) = list(offsets.items())[:1]
        try:
            begin = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
        except (errors.KafkaError, OSError) as fault:
            return translate(fault, "to tell what it still has")
        topic = self._topics[place.topic]
        return OffsetOutOfRange(
            f"{topic}/{place.partition} has offsets {begin} to {end}, not {offset}: restore a "
            "newer checkpoint",
            topic=topic,
            partition=place.partition,
            offset=offset,
        )

    def _consumer(self) -> Any:
        config = self._config
        return Consumer(
            **connection_options(self._connection, name=self._name),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=config.fetch_wait_ms,
            fetch_max_bytes=config.fetch_bytes_max,
            max_partition_fetch_bytes=config.partition_bytes_max,
            client_rack=config.rack or None,
        )
