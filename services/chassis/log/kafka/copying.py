"""Copies a whole log into Kafka, record by record at the same offsets, under the same identity.

    topics made → "copying" noted → records → read back and compared → identity noted: now it is that log

Because every record keeps its offset, views, tokens and dedup windows of the old log go on with the new one:
nothing is built again. Kafka numbers a partition's records itself, from 0; so the target must be empty at
first, nobody else may write to it, and what the old log has trimmed is filled with empty records and trimmed
there, too. Nothing is transactional here: the end of a transaction would take an offset.
How far a partition is copied is its end in Kafka, so a copy that was cut off goes on where it stopped.
The identity comes last: until then Ingest and followers refuse the log, however complete it looks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin.records_to_delete import RecordsToDelete

from services.chassis.errors import BadRequest, DataLoss
from services.chassis.log.kafka.client import Consumer, Place, Producer, connection_options
from services.chassis.log.kafka.comparing import Progress, Source, compare
from services.chassis.log.kafka.config import BATCH_OVERHEAD_BYTES, KafkaConnection, KafkaTopicsConfig
from services.chassis.log.kafka.faults import translated
from services.chassis.log.kafka.meta import append_meta, read_meta
from services.chassis.log.kafka.topics import (
    META,
    admin_client,
    check_topics,
    make_topics,
    read_topics,
    wait_for_topics,
)
from services.chassis.log.log import DATA_TOPICS, DEAD_LETTERS, Positions, TopicPartition

_NAME: Final = "feedmesh-log-copy"
_AT_ONCE: Final = 16
_BATCH_BYTES: Final = 512 << 10
_FILLERS: Final = 10_000
_TOPICS: Final = (*DATA_TOPICS, DEAD_LETTERS)


@dataclass(frozen=True)
class Copied:
    """What is in Kafka now."""

    records: int
    copied: int
    """Of these, in this run."""
    size_bytes: int
    digest: str
    """Over every record's place, offset and bytes: of the source, and of what was read back."""


async def copy_log(
    source: Source, connection: KafkaConnection, topics: KafkaTopicsConfig, *, progress: Progress
) -> Copied:
    """Copy, compare, name. Again after it is whole: compare once more.

    Raises:
        BadRequest: Kafka holds another log there, or the log cannot be copied so.
        ConfigFaults: the topics are not as they must be.
        LogUnavailable: Kafka is in trouble; what was copied stays, run it again.
        DataLoss: what was read back differs from the source.
    """
    begins: Positions = {
        (topic, number): source.begin((topic, number))
        for topic in _TOPICS
        for number in range(source.topics.get(topic, 0))
    }
    ends = {place: source.end(place, begin=begin) for place, begin in begins.items()}
    _check_counts(source, topics)
    await _prepare(source.log_id, connection, topics)
    there = await _ends_in_kafka(connection, list(begins))
    _check_ends(there, begins, ends, connection)
    job = _Job(source, connection, begins, ends, progress)
    copied = await job.copy(there)
    await _trim(connection, begins)
    digest, size_bytes = await compare(source, connection, begins, ends, progress=progress)
    if not (await read_meta(connection, name=_NAME)).log_id:
        await append_meta(connection, {"kind": "identity", "log_id": source.log_id}, name=_NAME)
    return Copied(job.total, copied, size_bytes, digest)


class _Job:
    """One run over all partitions."""

    def __init__(
        self,
        source: Source,
        connection: KafkaConnection,
        begins: Positions,
        ends: Positions,
        progress: Progress,
    ) -> None:
        self._source = source
        self._connection = connection
        self._begins = begins
        self._ends = ends
        self._progress = progress
        self.total = sum(ends[place] - begin for place, begin in begins.items())
        self._done = 0

    async def copy(self, there: Positions) -> int:
        """Every record that Kafka does not have yet; how many that were."""
        self._done = sum(max(0, there[place] - begin) for place, begin in self._begins.items())
        before = self._done
        self._progress("copying", self._done, self.total)
        producer = Producer(
            **connection_options(self._connection, name=_NAME),
            enable_idempotence=True,
            compression_type="zstd",
            max_batch_size=_BATCH_BYTES,
            max_request_size=8 * _BATCH_BYTES,
        )
        with translated("to copy the log"):
            try:
                await producer.start()
                limit = asyncio.Semaphore(_AT_ONCE)
                async with asyncio.TaskGroup() as group:
                    for place, offset in there.items():
                        group.create_task(self._copy_partition(producer, place, offset, limit))
            except BaseExceptionGroup as faults:
                # The first is enough: the others are its consequence.
                raise faults.exceptions[0] from None
            finally:
                await producer.stop()
        return self._done - before

    async def _copy_partition(
        self, producer: Any, place: TopicPartition, offset: int, limit: asyncio.Semaphore
    ) -> None:
        async with limit:
            begin, end = self._begins[place], self._ends[place]
            while offset < begin:
                offset = await self._send(producer, place, offset, [b""] * min(_FILLERS, begin - offset))
            values: list[bytes] = []
            size = 0
            for _, value in self._source.read(place, start=offset, end=end):
                values.append(value)
                size += len(value) + BATCH_OVERHEAD_BYTES // 8
                if size >= _BATCH_BYTES:
                    offset = await self._send(producer, place, offset, values)
                    values, size = [], 0
            if values:
                offset = await self._send(producer, place, offset, values)
            if offset != end:
                raise DataLoss(f"{place[0]}/{place[1]} of the source ends at {offset}, not {end}")

    async def _send(self, producer: Any, place: TopicPartition, offset: int, values: Sequence[bytes]) -> int:
        """Append the values, which must come to lie from `offset` on; the offset after them."""
        now_ms = time.time_ns() // 1_000_000
        topic = self._connection.topic_prefix + place[0]
        sent = 0
        while sent < len(values):
            batch = producer.create_batch()
            first = sent
            # A batch takes its first record whatever its size.
            while sent < len(values) and batch.append(key=None, value=values[sent], timestamp=now_ms):
                sent += 1
            written = await (await producer.send_batch(batch, topic, partition=place[1]))
            if written.offset != offset + first:
                raise BadRequest(
                    f"Kafka put the record at {offset + first} of {topic}/{place[1]} at {written.offset}: "
                    "somebody else writes there; delete the topics and copy again with nothing else running"
                )
        if offset >= self._begins[place]:
            self._done += sent
            self._progress("copying", self._done, self.total)
        return offset + sent


def _check_counts(source: Source, topics: KafkaTopicsConfig) -> None:
    counts = {topic: source.topics[topic] for topic in DATA_TOPICS if topic in source.topics}
    if set(counts.values()) != {topics.partitions} or len(counts) != len(DATA_TOPICS):
        raise BadRequest(
            f"the log to copy has the partitions {counts}, Kafka is to have {topics.partitions} of each: "
            "records keep their places, so the counts must be the same; set topics.partitions"
        )


def _check_ends(there: Positions, begins: Positions, ends: Positions, connection: KafkaConnection) -> None:
    for place, end in there.items():
        if end > ends[place]:
            raise BadRequest(
                f"{connection.topic_prefix}{place[0]}/{place[1]} ends at {end} in Kafka, at {ends[place]} in "
                "the log to copy: it is another log's, or was written since; nothing was copied"
            )


async def _prepare(log_id: str, connection: KafkaConnection, topics: KafkaTopicsConfig) -> None:
    """Topics as they must be, and a note of whose copy this is."""
    names = (*_TOPICS, META)
    async with admin_client(connection, name=_NAME) as client:
        states = await read_topics(client, connection.topic_prefix)
        absent = [name for name in names if name not in states]
        if absent:
            await make_topics(client, connection, topics, absent)
            states = await wait_for_topics(client, connection.topic_prefix, names)
        await check_topics(client, connection, topics, states)
    meta = await read_meta(connection, name=_NAME)
    known = meta.log_id or meta.copying
    if known not in ("", log_id):
        raise BadRequest(
            f"the topics {connection.topic_prefix}* in Kafka are of log {known}, not {log_id}: choose "
            "another topic_prefix, or delete these topics"
        )
    if not known:
        places = [(topic, number) for topic in _TOPICS for number in range(states[topic].partitions)]
        ends = await _ends_in_kafka(connection, places)
        if any(ends.values()):
            raise BadRequest(
                f"the topics {connection.topic_prefix}* in Kafka hold records, and no log's identity: "
                "choose another topic_prefix, or delete these topics"
            )
        await append_meta(connection, {"kind": "copying", "log_id": log_id}, name=_NAME)


async def _ends_in_kafka(connection: KafkaConnection, places: Sequence[TopicPartition]) -> Positions:
    consumer = Consumer(**connection_options(connection, name=_NAME), enable_auto_commit=False)
    names = {Place(connection.topic_prefix + topic, number): (topic, number) for topic, number in places}
    with translated("to tell its offsets"):
        try:
            await consumer.start()
            ends = await consumer.end_offsets(list(names))
        finally:
            await consumer.stop()
    return {names[name]: end for name, end in ends.items()}


async def _trim(connection: KafkaConnection, begins: Positions) -> None:
    trimmed = {
        Place(connection.topic_prefix + topic, number): RecordsToDelete(before_offset=begin)
        for (topic, number), begin in begins.items()
        if begin
    }
    if trimmed:
        async with admin_client(connection, name=_NAME) as client:
            with translated("to trim what the log had trimmed"):
                await client.delete_records(trimmed)
