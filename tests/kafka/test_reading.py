"""The reading half of the log in Kafka: bounded in memory, honest about silence, ends and aborts."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from services.chassis.errors import LimitExceeded, LogUnavailable, OffsetOutOfRange
from services.chassis.log.kafka.client import Producer
from services.chassis.log.kafka.config import KafkaTailConfig, KafkaTopicsConfig
from services.chassis.log.kafka.tail import KafkaTail
from services.chassis.log.log import DEAD_LETTERS, Chunk, NewRecord
from tests.chassis.log.support import (
    WAIT_MS,
    new_records,
    read,
    values_of,
)
from tests.kafka.cluster import KafkaCluster
from tests.kafka.logs import KAFKA, OpenedLog, brokers, kafka_config, kafka_log
from tests.kafka.reader_bench import (
    PARTITIONS,
    PINS,
    WAIT_S,
    config_of,
    passed,
    reader_of,
    until,
    wait_end,
)

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]


@pytest.fixture
def log() -> Iterator[OpenedLog]:
    with kafka_log(config_of()) as opened:
        yield opened


def test_a_tail_that_nobody_polls_holds_its_bound_and_a_fetch_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kb = 1 << 10
    config = config_of(buffer_bytes_max=64 * kb, fetch_bytes_max=64 * kb, partition_bytes_max=32 * kb)
    config = replace(config, producer=replace(config.producer, batch_bytes_max=64 * kb))
    chance = random.Random(4)
    values = [chance.randbytes(1_000) for _ in range(6_000)]
    with kafka_log(config) as log:
        records = [NewRecord("pins", n % PARTITIONS, value) for n, value in enumerate(values)]
        log.publish(records).result(WAIT_S)
        everywhere = {("pins", number): 0 for number in range(PARTITIONS)}
        idle = log.tail(everywhere)
        until(lambda: idle._buffer.size_bytes > 64 * kb, "the buffer is full")
        # Time enough for all of it, as another tail shows.
        with reader_of(replace(config, tail=KafkaTailConfig())) as other:
            read(other.tail(everywhere), len(values))
        # Beyond the bound one `getmany`: what each broker's fetch had brought, a batch a partition at least.
        fetched_max = PARTITIONS * (64 * kb + 64 * 64)
        held = idle._buffer.size_bytes
        assert 64 * kb < held <= 64 * kb + fetched_max
        sizes: list[int] = []
        put = idle._buffer.put

        def measured(chunks: Sequence[Chunk], *, size_bytes: int) -> None:
            put(chunks, size_bytes=size_bytes)
            sizes.append(idle._buffer.size_bytes)

        monkeypatch.setattr(idle._buffer, "put", measured)
        chunks = read(idle, len(values))
        assert max(sizes) <= 64 * kb + fetched_max
        for number in range(PARTITIONS):
            assert values_of(chunks, "pins", number) == values[number::PARTITIONS]
        assert idle.silent_s < WAIT_S, "a slow reader is taken for a silent log"


def test_silence_is_unknown_at_first_small_at_the_tip_and_grows_while_brokers_hold_still(
    own: KafkaCluster,
) -> None:
    config = config_of(own.bootstrap, fetch_wait_ms=100)
    config = replace(config, connection=replace(config.connection, request_timeout_ms=1_000))
    with kafka_log(config) as log:
        with own.frozen(1):
            tail = log.tail({("pins", number): 0 for number in range(PARTITIONS)})
            assert tail.poll(timeout_ms=20) == []
            assert tail.silent_s == math.inf
        until(lambda: heard_again(log, tail), "a tail is opened on brokers that are back")
        tail = log.tail({("pins", number): 0 for number in range(PARTITIONS)})
        until(lambda: tail.silent_s < 0.4, "an idle tail hears that there is nothing")
        assert tail.poll(timeout_ms=0) == []
        with own.frozen(1):
            # Longer than a request may take: also a connection that breaks is no fault of the tail's.
            until(lambda: tail.poll(timeout_ms=20) == [] and tail.silent_s > 1.5, "the silence grows")
        log.publish(new_records("pins", 0, b"news")).result(30)
        assert values_of(read(tail, 1), *PINS) == [b"news"]
        until(lambda: tail.silent_s < 0.4, "it is over")


def heard_again(log: OpenedLog, tail: KafkaTail) -> bool:
    """The first tail may have given up meanwhile, which is its right: a follower opens another."""
    try:
        tail.poll(timeout_ms=20)
    except LogUnavailable:
        return True
    return tail.silent_s < math.inf


def test_end_offsets_cover_what_was_acknowledged_at_the_moment_it_is() -> None:
    config = kafka_config(brokers(), topics=KafkaTopicsConfig(partitions=2))
    with kafka_log(config) as log, reader_of(config) as reader:
        for number in range(10):
            positions = log.publish([*new_records("pins", 0, b"a"), *new_records("graph", 1, b"b")]).result()
            for asked in (reader, log):
                for (topic, partition), position in positions.items():
                    assert asked.end_offsets(topic)[partition] >= position, f"publish {number}"


def test_offsets_are_told_while_the_loop_itself_asks_for_some(log: OpenedLog) -> None:
    last = log.publish(new_records("pins", 0, *[b"x"] * 5)).result(WAIT_S)[PINS]
    with ThreadPoolExecutor(2) as threads:
        for number in range(last):
            # Both begin with the connection that the other makes at the same moment.
            log._loop.run(log._disconnect(), timeout_s=WAIT_S)
            trimmed = threads.submit(log.trim, {PINS: number + 1})
            told = threads.submit(log.end_offsets, "pins")
            trimmed.result(WAIT_S)
            assert told.result(WAIT_S)[0] >= last
    assert log.begin_offsets("pins")[0] == last


def test_a_trimmed_position_is_said_with_what_is_there(log: OpenedLog) -> None:
    log.publish([*new_records("pins", 0, b"a", b"b", b"c"), *new_records("pins", 1, b"d")]).result()
    wait_end(log, 4)
    log.trim({PINS: 2})
    tail = log.tail({PINS: 1, ("pins", 1): 0})
    with pytest.raises(OffsetOutOfRange, match=r"pins/0 has offsets 2 to 4, not 1: restore") as raised:
        while True:
            tail.poll(timeout_ms=WAIT_MS)
    assert raised.value.facts == {"topic": "pins", "partition": "0", "offset": "1"}
    with pytest.raises(OffsetOutOfRange):
        tail.poll(timeout_ms=0)


def test_what_came_before_a_position_was_trimmed_is_still_handed_out(log: OpenedLog) -> None:
    log.publish(new_records("pins", 0, b"a")).result()
    tail = log.tail({PINS: 0})
    assert values_of(read(tail, 1), *PINS) == [b"a"]
    log.publish(new_records("pins", 0, b"b")).result()
    until(lambda: tail._buffer.size_bytes > 0, "the next record is in the buffer")
    log.trim({PINS: log.end_offsets("pins")[0]})
    assert values_of(read(tail, 1), *PINS) == [b"b"]


def test_aborted_transactions_are_not_seen_and_positions_go_past_them(log: OpenedLog) -> None:
    topic = log.connection.topic_prefix + "pins"

    async def abort(count: int) -> None:
        producer = Producer(bootstrap_servers=brokers(), transactional_id=f"{topic}-other")
        await producer.start()
        try:
            await producer.begin_transaction()
            for _ in range(count):
                await producer.send_and_wait(topic, b"aborted", partition=0)
            await producer.abort_transaction()
        finally:
            await producer.stop()

    log.publish(new_records("pins", 0, b"a")).result()
    asyncio.run(abort(5))
    log.publish(new_records("pins", 0, b"b")).result()
    asyncio.run(abort(2))
    # A record and its mark, five aborted and theirs, another one, two aborted.
    end = 1 + 1 + 5 + 1 + 1 + 1 + 2 + 1
    wait_end(log, end)
    chunks = passed(log.tail({PINS: 0}), end)
    assert values_of(chunks, *PINS) == [b"a", b"b"]
    assert [offset for chunk in chunks for offset in chunk.offsets] == [0, 8]
    assert chunks[-1].next_offset == end


def test_an_open_transaction_holds_back_what_follows_it_and_the_end_that_chunks_tell(log: OpenedLog) -> None:
    topic = log.connection.topic_prefix + "pins"
    opened, may_end = threading.Event(), threading.Event()

    async def hold_open() -> None:
        producer = Producer(bootstrap_servers=brokers(), transactional_id=f"{topic}-other")
        await producer.start()
        try:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"other", partition=0)
            opened.set()
            await asyncio.to_thread(may_end.wait, WAIT_S)
            await producer.commit_transaction()
        finally:
            await producer.stop()

    log.publish(new_records("pins", 0, b"before")).result()
    other = threading.Thread(target=lambda: asyncio.run(hold_open()))
    other.start()
    try:
        assert opened.wait(WAIT_S)
        position = log.publish(new_records("pins", 0, b"mine")).result(WAIT_S)[PINS]
        assert log.end_offsets("pins")[0] >= position, "it is acknowledged: a token may ask for it"
        tail = log.tail({PINS: 0})
        chunks = passed(tail, 2)
        assert values_of(chunks, *PINS) == [b"before"]
        assert chunks[-1].end_offset == 2
        assert tail.poll(timeout_ms=200) == []
    finally:
        may_end.set()
        other.join(WAIT_S)
    assert values_of(read(tail, 2), *PINS) == [b"other", b"mine"]


def test_dead_letters_come_back_whole_and_in_order_with_their_offsets(log: OpenedLog) -> None:
    chance = random.Random(5)
    letters = [b"", b"small", chance.randbytes(1 << 20)]
    with reader_of(log._kafka) as reader:
        assert [reader.write_dead_letter(letter) for letter in letters] == [0, 1, 2]
        tail = reader.tail({(DEAD_LETTERS, 0): 0})
        assert values_of(read(tail, 3), DEAD_LETTERS, 0) == letters
        assert reader.end_offsets(DEAD_LETTERS) == [3]


@pytest.mark.parametrize("size", [2 << 20, 5 << 20], ids=["the brokers refuse", "the client refuses"])
def test_a_dead_letter_that_kafka_will_never_take_is_no_log_that_is_away(log: OpenedLog, size: int) -> None:
    with reader_of(log._kafka) as reader:
        with pytest.raises(LimitExceeded, match=f"a dead letter of {size} bytes is more than"):
            reader.append_dead_letter(random.Random(6).randbytes(size))
        assert reader.write_dead_letter(b"next") == 0
