"""Logs in a real Kafka for tests: a cluster that runs share, and a log of its own for each test.

`FEEDMESH_TEST_KAFKA` names the brokers of a cluster that is up already (`python -m tests.kafka` sets it for
all workers); without it a test process starts its own.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from services.chassis.log.kafka.config import (
    KafkaConfig,
    KafkaConnection,
    KafkaProducerConfig,
    KafkaTailConfig,
    KafkaTopicsConfig,
)
from services.chassis.log.kafka.log import KafkaLog
from services.chassis.log.kafka.metrics import KafkaMetrics
from services.chassis.metrics import new_registry
from tests.kafka.cluster import KafkaCluster
from tests.kafka.jars import why_kafka_is_not_here

BROKERS: Final = "FEEDMESH_TEST_KAFKA"
WHY_NOT: Final = "" if os.environ.get(BROKERS) else why_kafka_is_not_here()

KAFKA = [
    pytest.mark.kafka,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    # The first run on a machine fetches Kafka.
    pytest.mark.timeout(700),
]
"""The marks of every test that needs it."""

CONNECT_S: Final = 60.0
_numbers = itertools.count()
_own = ExitStack()


def brokers() -> str:
    """Bootstrap servers of the cluster that is shared; starts one when there is none."""
    named = os.environ.get(BROKERS)
    if not named:
        folder = _own.enter_context(tempfile.TemporaryDirectory(prefix="feedmesh-kafka-"))
        named = _own.enter_context(KafkaCluster(Path(folder))).bootstrap
        os.environ[BROKERS] = named
    return named


def stop_own_cluster() -> None:
    """End the cluster that `brokers` started, if it did."""
    _own.close()


def new_prefix() -> str:
    """A topic prefix that no other test has."""
    return f"test-{os.getpid()}-{next(_numbers)}."


def kafka_config(
    bootstrap: str,
    *,
    prefix: str = "",
    topics: KafkaTopicsConfig | None = None,
    producer: KafkaProducerConfig | None = None,
    tail: KafkaTailConfig | None = None,
) -> KafkaConfig:
    """A small log with fast answers."""
    return KafkaConfig(
        connection=KafkaConnection(bootstrap=bootstrap, topic_prefix=prefix or new_prefix()),
        topics=topics or KafkaTopicsConfig(partitions=4),
        producer=producer or KafkaProducerConfig(),
        tail=tail or KafkaTailConfig(advance_ms=50),
    )


class OpenedLog(KafkaLog):
    """A log that keeps what it gave up for."""

    fatal: list[BaseException]
    fences: list[BaseException]


@contextmanager
def kafka_log(
    config: KafkaConfig, *, address: str = "127.0.0.1:1", connected: bool = True
) -> Iterator[OpenedLog]:
    """The log of this configuration, written by an Ingest at `address`; closed at the end."""
    fatal: list[BaseException] = []
    fences: list[BaseException] = []
    log = OpenedLog(
        config,
        address=address,
        metrics=KafkaMetrics(new_registry()),
        on_fatal=fatal.append,
        on_fenced=fences.append,
    )
    log.fatal, log.fences = fatal, fences
    try:
        if connected:
            assert log.wait_connected(timeout_s=CONNECT_S), log.trouble
        yield log
    finally:
        log.close()


def with_producer(config: KafkaConfig, producer: KafkaProducerConfig) -> KafkaConfig:
    """The same log, written otherwise."""
    return replace(config, producer=producer)
