"""The peers of the log in Kafka: its client libraries with nothing around them, and our log with no mesh.

Each writes transactions of the same number of records, of the same size, over the same partitions of topics
made alike, one transaction after the other, compressed alike; the clock runs from first to last commit.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer
from numpy.typing import NDArray

from services.chassis.log.kafka.config import KafkaConfig, KafkaConnection
from services.chassis.log.kafka.log import KafkaLog
from services.chassis.log.kafka.metrics import KafkaMetrics
from services.chassis.log.log import DATA_TOPICS, NewRecord
from services.chassis.metrics import new_registry

SECONDS = 8.0
SINGLES = 150
"""Transactions of one event's records, for the wait."""
_CONNECT_S = 60.0


@dataclass(frozen=True)
class Bare:
    """What one client came to."""

    records_per_s: float
    waits_s: NDArray[np.float64]
    """Of transactions with one event's records, one at a time."""


def groups(*, records: int, size: int, partitions: int) -> Callable[[int], list[NewRecord]]:
    """Makes the records of one transaction, spread over every partition of every topic; half of their bytes
    are chance, so that they compress about as events do."""
    values = [os.urandom(size // 2) + bytes(size - size // 2) for _ in range(1_000)]
    places = list(itertools.product(DATA_TOPICS, range(partitions)))

    def make(count: int = records) -> list[NewRecord]:
        return [NewRecord(*places[i * 7 % len(places)], values[i % len(values)]) for i in range(count)]

    return make


async def bare_aiokafka(
    connection: KafkaConnection, batch: Sequence[NewRecord], single: Sequence[NewRecord]
) -> Bare:
    """aiokafka as its documentation uses it: `send` for each record, inside a transaction."""
    producer = AIOKafkaProducer(
        bootstrap_servers=connection.bootstrap,
        transactional_id="bare-aiokafka",
        acks="all",
        compression_type="zstd",
        max_batch_size=1 << 20,
    )
    prefix = connection.topic_prefix

    async def write(records: Sequence[NewRecord]) -> None:
        async with producer.transaction():
            sent = [
                await producer.send(prefix + topic, value, partition=partition)
                for topic, partition, value in records
            ]
            await asyncio.gather(*sent)

    await producer.start()
    try:
        await write(batch)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            await write(batch)
            count += len(batch)
        rate = count / (time.perf_counter() - began)
        waits = []
        for _ in range(SINGLES):
            begun = time.perf_counter()
            await write(single)
            waits.append(time.perf_counter() - begun)
    finally:
        await producer.stop()
    return Bare(rate, np.array(waits))


def bare_librdkafka(
    connection: KafkaConnection, batch: Sequence[NewRecord], single: Sequence[NewRecord]
) -> Bare:
    """librdkafka through confluent-kafka."""
    producer = Producer(
        {
            "bootstrap.servers": connection.bootstrap,
            "transactional.id": "bare-librdkafka",
            "compression.type": "zstd",
            "linger.ms": 1,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    prefix = connection.topic_prefix

    def write(records: Sequence[NewRecord]) -> None:
        producer.begin_transaction()
        for topic, partition, value in records:
            producer.produce(prefix + topic, value, partition=partition)
        producer.commit_transaction()

    producer.init_transactions()
    write(batch)
    rate, waits = _timed(lambda: write(batch), len(batch), lambda: write(single))
    return Bare(rate, waits)


def our_log(config: KafkaConfig, batch: Sequence[NewRecord], single: Sequence[NewRecord]) -> Bare:
    """Our log with the same batches: group commit, packing and positions, without RPC and followers."""
    log = KafkaLog(
        config,
        address="bench",
        metrics=KafkaMetrics(new_registry()),
        on_fatal=lambda fault: None,
    )
    try:
        assert log.wait_connected(timeout_s=_CONNECT_S), log.trouble
        log.publish(batch).result()
        rate, waits = _timed(
            lambda: log.publish(batch).result(), len(batch), lambda: log.publish(single).result()
        )
    finally:
        log.close()
    return Bare(rate, waits)


def _timed(
    write_batch: Callable[[], object], count: int, write_single: Callable[[], object]
) -> tuple[float, NDArray[np.float64]]:
    began, written = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        write_batch()
        written += count
    rate = written / (time.perf_counter() - began)
    waits = []
    for _ in range(SINGLES):
        begun = time.perf_counter()
        write_single()
        waits.append(time.perf_counter() - begun)
    return rate, np.array(waits)
