"""A small log for tests of its writer: quick to make, read whole, and its metrics."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from services.chassis.log.kafka.client import Producer
from services.chassis.log.kafka.config import (
    KafkaConfig,
    KafkaProducerConfig,
    KafkaTopicsConfig,
)
from services.chassis.log.log import Chunk, TopicPartition
from tests.chassis.log.support import WAIT_MS, read
from tests.kafka.logs import OpenedLog, brokers, kafka_config

WAIT_S: Final = WAIT_MS / 1000
CLOSE_S_MAX: Final = 5.0
"""What a supervisor gives a process to end is more."""
ONE_REPLICA: Final = KafkaTopicsConfig(partitions=2, replication=1, min_insync=1)
PINS: Final = ("pins", 0)


def config_of(bootstrap: str = "", **producer: Any) -> KafkaConfig:
    """A log that is quick to make."""
    return kafka_config(bootstrap or brokers(), topics=ONE_REPLICA, producer=KafkaProducerConfig(**producer))


def impatient(config: KafkaConfig, *, request_timeout_ms: int = 500) -> KafkaConfig:
    """The same log, for brokers that do not answer."""
    connection = replace(
        config.connection, request_timeout_ms=request_timeout_ms, call_timeout_ms=1_000, retry_backoff_ms=20
    )
    return replace(config, connection=connection, tail=replace(config.tail, fetch_wait_ms=100))


def everything(log: OpenedLog, count: int, *places: TopicPartition) -> list[Chunk]:
    """All records of these partitions, of which there must be `count`, and what follows them."""
    tail = log.tail(dict.fromkeys(places or (PINS,), 0))
    chunks = read(tail, count)
    ends = {place: log.end_offsets(place[0])[place[1]] for place in places or (PINS,)}
    reached = {(chunk.topic, chunk.partition): chunk.next_offset for chunk in chunks}
    while any(reached.get(place, 0) < end for place, end in ends.items()):
        polled = tail.poll(timeout_ms=WAIT_MS)
        assert polled, f"the tail stops at {reached}, the log ends at {ends}"
        chunks += polled
        reached |= {(chunk.topic, chunk.partition): chunk.next_offset for chunk in polled}
    tail.close()
    assert sum(len(chunk.values) for chunk in chunks) == count
    return chunks


def offsets_of(chunks: Sequence[Chunk]) -> dict[bytes, int]:
    """Where each value is; no value is there twice."""
    pairs = [pair for chunk in chunks for pair in zip(chunk.values, chunk.offsets, strict=True)]
    found = dict(pairs)
    assert len(found) == len(pairs), "a record is there twice"
    return found


def metric(log: OpenedLog, name: str) -> float:
    """A sample of the log's metrics."""
    for collector in vars(log._metrics).values():
        for family in collector.collect():
            for sample in family.samples:
                if sample.name == name:
                    return float(sample.value)
    raise AssertionError(f"no sample {name}")


class Commits:
    """aiokafka's commits, of which the next one waits, with all its records written, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.may_go = threading.Event()
        self._armed = True
        commit = Producer.commit_transaction

        async def held(producer: Any) -> None:
            if self._armed:
                self._armed = False
                await producer.flush()
                self.reached.set()
                while not self.may_go.is_set():
                    await asyncio.sleep(0.01)
            await commit(producer)

        monkeypatch.setattr(Producer, "commit_transaction", held)
