"""Brokers that are away, wrong or silent: what is said, and what happens when they come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from services.chassis.errors import LogUnavailable
from services.chassis.log.kafka import log as log_module
from services.chassis.log.kafka.meta import identify
from tests.chassis.log.support import new_records, read
from tests.kafka.cluster import KafkaCluster
from tests.kafka.logs import KAFKA, OpenedLog, kafka_log
from tests.kafka.writer_bench import (
    PINS,
    WAIT_S,
    config_of,
    impatient,
    metric,
    offsets_of,
)

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]


def wait_trouble(log: OpenedLog, text: str) -> None:
    until = time.monotonic() + WAIT_S
    while text not in log.trouble:
        assert time.monotonic() < until, log.trouble
        log.wait_connected(timeout_s=0.01)


def test_a_log_that_starts_before_kafka_connects_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_RETRY_S_MAX", 0.2)
    with KafkaCluster(tmp_path, nodes=1, broker_session_timeout_ms=1_000) as cluster:
        cluster.kill(1)
        with kafka_log(impatient(config_of(cluster.bootstrap)), connected=False) as log:
            assert not log.wait_connected(timeout_s=0.1)
            wait_trouble(log, f"Kafka is not reached: {cluster.bootstrap}: [Errno")
            with pytest.raises(LogUnavailable, match="Kafka is not reached"):
                log.publish(new_records("pins", 0, b"x"))
            assert metric(log, "feedmesh_log_connected") == 0
            cluster.start_node(1)
            assert log.wait_connected(timeout_s=60), log.trouble
            assert log.trouble == ""
            assert metric(log, "feedmesh_log_connected") == 1
            log.publish(new_records("pins", 0, b"x")).result(WAIT_S)
            assert not log.fatal


def test_a_broker_that_gives_a_wrong_address_is_said(tmp_path: Path) -> None:
    wrong = {"advertised.listeners": "PLAINTEXT://127.0.0.1:1"}
    with (
        KafkaCluster(tmp_path, nodes=1, settings=wrong) as cluster,
        kafka_log(config_of(cluster.bootstrap), connected=False) as log,
    ):
        wait_trouble(log, "are its advertised.listeners wrong?")


def test_what_nobody_thought_of_does_not_end_the_attempts_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [RuntimeError("a surprise")]

    async def surprise(*arguments: Any, **named: Any) -> Any:
        if faults:
            raise faults.pop()
        return await identify(*arguments, **named)

    monkeypatch.setattr(log_module, "identify", surprise)
    with kafka_log(config_of(), connected=False) as log:
        wait_trouble(log, "Kafka failed to be connected to: RuntimeError: a surprise")
        assert log.wait_connected(timeout_s=60), log.trouble


def test_brokers_that_do_not_answer_are_said_and_waited_out(own: KafkaCluster) -> None:
    config = impatient(config_of(own.bootstrap))
    with own.frozen(1):
        log_opened = kafka_log(config, connected=False)
        log = log_opened.__enter__()
        wait_trouble(log, f"Kafka is not reached: {own.bootstrap}: no answer within 500 ms")
    try:
        assert log.wait_connected(timeout_s=60), log.trouble
        log.publish(new_records("pins", 0, b"x")).result(WAIT_S)
    finally:
        log_opened.__exit__(None, None, None)


def test_a_publish_into_frozen_brokers_fails_in_time_and_later_ones_go_through(own: KafkaCluster) -> None:
    config = impatient(config_of(own.bootstrap, transaction_timeout_ms=1_000))
    with kafka_log(config) as log:
        log.publish(new_records("pins", 0, b"before")).result(WAIT_S)
        with own.frozen(1):
            for _ in range(2):
                with pytest.raises(LogUnavailable, match=r"no answer in time|did not confirm|is not reached"):
                    log.publish(new_records("pins", 0, b"during")).result(WAIT_S)
                assert log.trouble
        log.publish(new_records("pins", 0, b"after")).result(30)
        assert log.trouble == ""
        values = list(offsets_of(read(log.tail({PINS: 0}), 2)))
        assert values[0] == b"before"
        assert values[-1] == b"after"
        assert log.fences == []
