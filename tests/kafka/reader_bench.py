"""What tests of the reading half share: a reader, and waits that end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from services.chassis.log.kafka.config import KafkaConfig, KafkaTailConfig, KafkaTopicsConfig
from services.chassis.log.kafka.reader import KafkaReader
from services.chassis.log.log import Chunk, Log, Tail
from tests.chassis.log.support import (
    WAIT_MS,
)
from tests.kafka.logs import brokers, kafka_config

WAIT_S: Final = WAIT_MS / 1000
PARTITIONS: Final = 4
ONE_REPLICA: Final = KafkaTopicsConfig(partitions=PARTITIONS, replication=1, min_insync=1)
PINS: Final = ("pins", 0)


def config_of(bootstrap: str = "", **tail: Any) -> KafkaConfig:
    """A log that is quick to make."""
    return kafka_config(
        bootstrap or brokers(), topics=ONE_REPLICA, tail=KafkaTailConfig(**{"advance_ms": 50, **tail})
    )


@contextmanager
def reader_of(config: KafkaConfig) -> Iterator[KafkaReader]:
    reader = KafkaReader(config.reader, name="test")
    try:
        yield reader
    finally:
        reader.close()


def until(true: Callable[[], bool], what: str, *, wait_s: float = WAIT_S) -> None:
    """Look again and again: for what tells nobody when it changes."""
    end = time.monotonic() + wait_s
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        threading.Event().wait(0.005)


def wait_end(log: Log, end: int) -> None:
    """Until pins/0 ends there: the mark that ends a transaction comes a moment after its acknowledgement."""
    until(lambda: log.end_offsets("pins")[0] == end, f"pins/0 ends at {end}")


def passed(tail: Tail, position: int) -> list[Chunk]:
    """Poll one partition until it is read up to `position`."""
    chunks: list[Chunk] = []
    while not chunks or chunks[-1].next_offset < position:
        polled = tail.poll(timeout_ms=WAIT_MS)
        assert polled, f"the tail stops before {position}"
        chunks += polled
    return chunks
