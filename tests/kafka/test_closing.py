"""The end of a log: what waits is committed, nothing is left behind, and no Kafka that is away holds it."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.chassis.errors import FeedmeshError, LogUnavailable
from services.chassis.log.log import DATA_TOPICS, Positions
from tests.chassis.log.support import WAIT_MS, new_records
from tests.kafka.cluster import KafkaCluster
from tests.kafka.logs import KAFKA, OpenedLog, kafka_log
from tests.kafka.writer_bench import (
    CLOSE_S_MAX,
    PINS,
    WAIT_S,
    config_of,
    impatient,
)

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """No thread and no client is left when the block ends, and its close took a few seconds."""
    gc.collect()
    before = set(threading.enumerate())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    left = [thread.name for thread in set(threading.enumerate()) - before if "kafka" in thread.name]
    assert not left
    assert [str(warning.message) for warning in told if warning.category is ResourceWarning] == []


def close_in_time(log: OpenedLog) -> None:
    began = time.monotonic()
    log.close()
    assert time.monotonic() - began < CLOSE_S_MAX


def test_a_log_that_is_closed_commits_what_waits_and_leaves_nothing_behind() -> None:
    config = config_of(group_wait_ms=1_000)
    with nothing_left_behind(), kafka_log(config) as log:
        log.end_offsets("pins")
        log.append_dead_letter(b"letter")
        tail = log.tail({PINS: 0})
        futures = [log.publish(new_records("pins", 0, b"%d" % n)) for n in range(5)]
        close_in_time(log)
        assert [future.result(0)[PINS] for future in futures] == [1, 2, 3, 4, 5]
        with pytest.raises(LogUnavailable):
            while True:
                tail.poll(timeout_ms=WAIT_MS)
        del tail


@pytest.mark.parametrize("away", ["frozen", "gone"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_log_is_closed_in_time_while_kafka_is_away(
    own: KafkaCluster, tmp_path: Path, away: str, busy: bool
) -> None:
    with nothing_left_behind(), cluster_to_lose(own, tmp_path, away) as (cluster, lose):
        log_config = config_of(cluster.bootstrap, stalled_ms=200)
        with kafka_log(log_config) as log, ThreadPoolExecutor(4) as threads:
            log.end_offsets("pins")
            log.append_dead_letter(b"letter")
            tail = log.tail(dict.fromkeys([(topic, 0) for topic in DATA_TOPICS], 0))
            lose()
            asked: list[Any] = []
            if busy:
                asked = [log.publish(new_records("pins", 0, b"%d" % n)) for n in range(3)]
                asked.append(threads.submit(log.end_offsets, "graph"))
                asked.append(threads.submit(log.append_dead_letter, b"letter"))
                asked.append(threads.submit(tail.poll, timeout_ms=60_000))
            close_in_time(log)
            for future in asked:
                with pytest.raises(LogUnavailable):
                    future.result(CLOSE_S_MAX)
            del tail, asked


@contextmanager
def cluster_to_lose(
    own: KafkaCluster, folder: Path, away: str
) -> Iterator[tuple[KafkaCluster, Callable[[], None]]]:
    """A cluster, and how to lose it; it is frozen and thawed, or a new one that is killed."""
    if away == "gone":
        with KafkaCluster(folder, nodes=1) as cluster:
            yield cluster, lambda: cluster.kill(1)
        return
    try:
        yield own, lambda: own.freeze(1)
    finally:
        own.thaw(1)


@pytest.mark.parametrize("away", ["frozen", "never there"])
def test_a_log_that_has_not_connected_is_closed_in_time(own: KafkaCluster, away: str) -> None:
    bootstrap = "127.0.0.1:1" if away == "never there" else own.bootstrap
    if away == "frozen":
        own.freeze(1)
    try:
        with nothing_left_behind(), kafka_log(config_of(bootstrap), connected=False) as log:
            waiting: list[bool] = []
            thread = threading.Thread(target=lambda: waiting.append(log.wait_connected(timeout_s=60)))
            thread.start()
            close_in_time(log)
            thread.join(WAIT_S)
            assert waiting == [False]
    finally:
        if away == "frozen":
            own.thaw(1)


def test_producers_that_are_thrown_away_leave_nothing_behind(own: KafkaCluster) -> None:
    config = impatient(config_of(own.bootstrap, transaction_timeout_ms=1_000))
    with nothing_left_behind(), kafka_log(config) as log:
        with own.frozen(1):
            for publish in (publish_one, write_letter, publish_one):
                with pytest.raises(FeedmeshError):
                    publish(log)
        publish_one(log)
        write_letter(log)
        # On the loop: what the log itself runs is one tail's task at most, and aiokafka's of three clients.
        assert len(asyncio.all_tasks(log._loop._loop)) < 20


def publish_one(log: OpenedLog) -> Positions:
    return log.publish(new_records("pins", 0, b"x")).result(WAIT_S)


def write_letter(log: OpenedLog) -> None:
    log.append_dead_letter(b"letter")
