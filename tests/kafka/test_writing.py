"""Ingest's half of the log in Kafka: real offsets, what is too large, and who shares a transaction."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from dataclasses import replace
from typing import Any

import pytest

from services.chassis.errors import LimitExceeded
from services.chassis.log.kafka.client import Producer
from services.chassis.log.kafka.config import (
    BATCH_OVERHEAD_BYTES,
)
from services.chassis.log.log import NewRecord
from tests.chassis.log.support import new_records, values_of
from tests.kafka.logs import KAFKA, kafka_log
from tests.kafka.writer_bench import (
    ONE_REPLICA,
    PINS,
    WAIT_S,
    Commits,
    config_of,
    everything,
    metric,
    offsets_of,
)

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]


def test_positions_are_real_offsets_also_when_a_publish_needs_many_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(2)
    send = Producer.send_batch
    batches: list[int] = []

    def counted(producer: Any, batch: Any, topic: str, *, partition: int) -> Any:
        batches.append(partition)
        return send(producer, batch, topic, partition=partition)

    monkeypatch.setattr(Producer, "send_batch", counted)
    with kafka_log(config_of(batch_bytes_max=1 << 16)) as log:
        for _ in range(3):
            written = [
                NewRecord("pins", number % 2, b"%d:" % number + chance.randbytes(chance.randrange(3_000)))
                for number in range(400)
            ]
            positions = log.publish(written).result(WAIT_S)
            last = {(record.topic, record.partition): record.value for record in written}
            chunks = everything(log, int(metric(log, "feedmesh_log_records_total")), *last)
            offsets = offsets_of(chunks)
            assert positions == {place: offsets[value] + 1 for place, value in last.items()}
        assert min(batches.count(0), batches.count(1)) > 9, "one batch was enough: nothing was tested"


def test_positions_are_real_where_two_ingest_write_between_each_others_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config_of(batch_bytes_max=1 << 16)
    together = threading.Barrier(2)
    send = Producer.send_batch

    async def in_turns(producer: Any, *arguments: Any, **named: Any) -> Any:
        await asyncio.to_thread(together.wait, WAIT_S)
        return await send(producer, *arguments, **named)

    with (
        kafka_log(config, address="127.0.0.1:1") as one,
        kafka_log(config, address="127.0.0.1:2") as other,
    ):
        monkeypatch.setattr(Producer, "send_batch", in_turns)
        expected: list[tuple[int, bytes]] = []
        sources: dict[bytes, str] = {}
        for turn in range(3):
            futures = []
            for log in (one, other):
                values = [b"%s/%d/%d:" % (log._address.encode(), turn, n) + bytes(20_000) for n in range(30)]
                sources |= dict.fromkeys(values, log._address)
                futures.append((log.publish(new_records("pins", 0, *values)), values))
            expected += [(future.result(WAIT_S)[PINS], values[-1]) for future, values in futures]
        monkeypatch.undo()
        offsets = offsets_of(everything(one, len(sources)))
    for position, value in expected:
        assert position == offsets[value] + 1
    order = [sources[value] for value, _ in sorted(offsets.items(), key=lambda item: item[1])]
    changes = sum(before != after for before, after in itertools.pairwise(order))
    assert changes > 6, "nobody wrote between another's batches: this test has tested nothing"


@pytest.mark.parametrize("compression", ["none", "zstd", "lz4", "snappy", "gzip"])
def test_whatever_the_compression_records_come_back_as_they_were(compression: str) -> None:
    chance = random.Random(3)
    topics = replace(ONE_REPLICA, batch_bytes_max=1 << 20)
    config = replace(config_of(compression=compression, batch_bytes_max=1 << 19), topics=topics)
    largest = chance.randbytes(topics.batch_bytes_max - BATCH_OVERHEAD_BYTES)
    values = [b"", b"x" * 300_000, *(chance.randbytes(1_000) for _ in range(600)), largest]
    with kafka_log(config) as log:
        log.publish(new_records("pins", 0, *values)).result(WAIT_S)
        assert values_of(everything(log, len(values)), *PINS) == values


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (
            new_records("pins", 0, b"a", b"b", b"c", b"d"),
            "4 records of 4 bytes are more than one publish may",
        ),
        (new_records("pins", 0, *[bytes(60_000)] * 2), "2 records of 120000 bytes are more than one publish"),
        (new_records("pins", 0, bytes(65_537)), "a record has 65537 bytes, Kafka's topics take 65536"),
    ],
    ids=["too many records", "too many bytes", "a record too large"],
)
def test_what_is_too_large_is_refused_and_nothing_is_queued(records: list[NewRecord], why: str) -> None:
    config = config_of(request_records_max=3, request_bytes_max=100_000, batch_bytes_max=1 << 16)
    config = replace(config, topics=replace(ONE_REPLICA, batch_bytes_max=(1 << 16) + BATCH_OVERHEAD_BYTES))
    with kafka_log(config) as log:
        with pytest.raises(LimitExceeded, match=why):
            log.publish(records)
        assert metric(log, "feedmesh_log_queue_records") == 0
        log.publish(new_records("pins", 0, b"x")).result(WAIT_S)
        assert values_of(everything(log, 1), *PINS) == [b"x"]


def test_publishes_that_wait_share_one_transaction() -> None:
    with kafka_log(config_of(group_wait_ms=300)) as log:
        futures = [log.publish(new_records("pins", n % 2, b"%d" % n)) for n in range(20)]
        positions = [future.result(WAIT_S) for future in futures]
        assert metric(log, "feedmesh_log_group_requests_count") == 1
        assert metric(log, "feedmesh_log_group_requests_sum") == 20
        offsets = offsets_of(everything(log, 20, ("pins", 0), ("pins", 1)))
        assert positions == [{("pins", n % 2): offsets[b"%d" % n] + 1} for n in range(20)]


def test_without_a_wait_the_first_goes_alone_and_those_that_come_meanwhile_share_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commits = Commits(monkeypatch)
    with kafka_log(config_of(group_wait_ms=0)) as log:
        futures = [log.publish(new_records("pins", 0, b"first"))]
        assert commits.reached.wait(WAIT_S)
        futures += [log.publish(new_records("pins", 0, b"%d" % n)) for n in range(20)]
        commits.may_go.set()
        for future in futures:
            future.result(WAIT_S)
        assert metric(log, "feedmesh_log_group_requests_count") == 2
        assert metric(log, "feedmesh_log_group_requests_sum") == 21
