"""The harness itself: what the other tests of Kafka take for granted about their cluster."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.kafka.cluster import KafkaCluster
from tests.kafka.jars import why_kafka_is_not_here
from tests.kafka.questions import view_of

WHY_NOT = why_kafka_is_not_here()

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    pytest.mark.xdist_group("kafka"),
    # The first run on a machine fetches Kafka.
    pytest.mark.timeout(700),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three brokers that are missed after 3 s, not 9."""
    folder = tmp_path_factory.mktemp("kafka")
    with KafkaCluster(folder, nodes=3, broker_session_timeout_ms=3_000) as cluster:
        yield cluster


def test_three_brokers_keep_a_topic_three_times_and_commit_transactions(cluster: KafkaCluster) -> None:
    cluster.create_topic("kept", partitions=4)
    partitions = [part for part in view_of(cluster.address(1)).partitions if part.topic == "kept"]
    assert [part.replicas for part in partitions] == [frozenset({1, 2, 3})] * 4
    values = asyncio.run(_committed_and_read_back(cluster.bootstrap, "kept", count=8))
    assert values == {b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"}


def test_a_killed_broker_comes_back_and_the_cluster_is_whole_again(cluster: KafkaCluster) -> None:
    cluster.create_topic("survives", partitions=6)
    cluster.kill(2)
    assert sorted(cluster.pids) == [1, 3]
    _wait_until_missed(cluster, 2)
    cluster.start_node(2)
    cluster.wait_up(2)
    cluster.wait_whole()


def test_a_frozen_broker_is_missed_until_it_thaws(cluster: KafkaCluster) -> None:
    cluster.create_topic("thaws", partitions=6)
    with cluster.frozen(3):
        _wait_until_missed(cluster, 3)
    cluster.wait_whole()


def test_no_broker_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.kafka.cluster", "--nodes", "1"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"127.0.0.1:")
        assert len(_brokers_in(tmp_path)) == 1
        process.kill()
        process.wait()
        until = time.monotonic() + 10
        while _brokers_in(tmp_path):
            assert time.monotonic() < until, "the broker lives on"
            time.sleep(0.02)


async def _committed_and_read_back(bootstrap: str, topic: str, *, count: int) -> set[bytes]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id="t")
    async with producer, producer.transaction():
        for value in range(count):
            await producer.send(topic, b"%d" % value, partition=value % 4)
    read: set[bytes] = set()
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as consumer:
        while len(read) < count:
            read.add((await asyncio.wait_for(consumer.getone(), 20)).value)
    return read


def _wait_until_missed(cluster: KafkaCluster, node: int) -> None:
    """Until another broker has learned that `node` is away, and that its replicas are behind."""
    other = next(at for at in cluster.pids if at != node)
    until = time.monotonic() + 20
    while True:
        view = view_of(cluster.address(other))
        if node not in view.nodes and all(node not in part.in_sync for part in view.partitions):
            return
        assert time.monotonic() < until, f"broker {other} still counts broker {node} in"
        time.sleep(0.05)


def _brokers_in(folder: Path) -> list[int]:
    """Java processes whose command names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == b"java" and str(folder).encode() in b" ".join(words):
            found.append(int(entry.parent.name))
    return found
