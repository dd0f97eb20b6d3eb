"""The reading half of the log in Kafka: bounded in memory, honest about silence; and a follower on it."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from feedmesh.log.v1 import record_pb2
from services.chassis.clock import SystemClock
from services.chassis.errors import LimitExceeded, LogUnavailable, OffsetOutOfRange, ShardLost
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.kafka.client import Producer
from services.chassis.log.kafka.config import KafkaConfig, KafkaTailConfig, KafkaTopicsConfig
from services.chassis.log.kafka.reader import KafkaReader
from services.chassis.log.kafka.tail import KafkaTail
from services.chassis.log.log import DEAD_LETTERS, Chunk, Log, NewRecord, Positions, Tail
from services.chassis.metrics import new_registry
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.batch import Batch
from services.chassis.storage.store import Store
from tests.chassis.log.support import (
    POISON_KEY,
    VIEW_FAMILIES,
    WAIT_MS,
    KeepingView,
    new_records,
    read,
    record,
    stored_keys,
    values_of,
)
from tests.kafka.cluster import KafkaCluster
from tests.kafka.logs import KAFKA, OpenedLog, brokers, kafka_config, kafka_log

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]

WAIT_S: Final = WAIT_MS / 1000
PARTITIONS: Final = 4
ONE_REPLICA: Final = KafkaTopicsConfig(partitions=PARTITIONS, replication=1, min_insync=1)
PINS: Final = ("pins", 0)


def config_of(bootstrap: str = "", **tail: Any) -> KafkaConfig:
    """A log that is quick to make."""
    return kafka_config(
        bootstrap or brokers(), topics=ONE_REPLICA, tail=KafkaTailConfig(**{"advance_ms": 50, **tail})
    )


@pytest.fixture
def log() -> Iterator[OpenedLog]:
    with kafka_log(config_of()) as opened:
        yield opened


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker to freeze; its long session outlasts that."""
    with KafkaCluster(tmp_path_factory.mktemp("own"), nodes=1, broker_session_timeout_ms=60_000) as cluster:
        yield cluster


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


# Tails


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


# Dead letters


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


# Followers


class Following:
    """A follower of `pins` with a real store, and what is around it; `stop` and `start` are a restart."""

    def __init__(self, folder: Path, config: KafkaConfig, view: type[KeepingView] = KeepingView) -> None:
        self._folder = folder
        self._config = config
        self._view_class = view
        self.fatal: list[BaseException] = []

    def start(self) -> None:
        self.reader = KafkaReader(self._config.reader, name="test")
        self.store = Store(self._folder, VIEW_FAMILIES)
        self.view = self._view_class(self.store)
        self.owned = OwnedShards.everything(2 * PARTITIONS)
        self.registry = new_registry()
        self.follower = Follower(
            log=self.reader,
            store=self.store,
            view=self.view,
            owned=self.owned,
            config=FollowerConfig(poll_ms=20, backoff_ms=5, backoff_ms_max=50, dedup_window=100),
            metrics=FollowerMetrics(self.registry),
            clock=SystemClock(),
            service="test",
            on_fatal=self.fatal.append,
        )
        self.follower.start()

    def stop(self) -> None:
        self.follower.stop()
        self.store.close()
        self.reader.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def told_lag(self) -> float | None:
        """The metric; None before the first chunk."""
        return self.registry.get_sample_value("feedmesh_follower_lag_records", {"topic": "pins"})

    def lost_shards(self) -> list[int]:
        shards = self.owned.shards
        return [int(shard) for shard in shards[self.owned.lost.among(shards)]]


@contextmanager
def following(
    folder: Path, config: KafkaConfig, view: type[KeepingView] = KeepingView
) -> Iterator[Following]:
    made = Following(folder, config, view)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        assert made.fatal == []


def publish(log: Log, *values: bytes, partition: int = 0) -> Positions:
    return log.publish(new_records("pins", partition, *values)).result(WAIT_S)


def test_a_follower_keeps_each_record_once_over_its_restarts(log: OpenedLog, tmp_path: Path) -> None:
    keys: list[int] = []

    def publish_more() -> None:
        for _ in range(10):
            key = len(keys) + 1
            publish(log, record(key, key=key), partition=key % PARTITIONS)
            keys.append(key)

    publish_more()
    with following(tmp_path, log._kafka) as followed:
        for _ in range(3):
            # Stopped wherever it is: more is published while it runs, and while it does not.
            writing = threading.Thread(target=publish_more)
            writing.start()
            until(lambda: len(stored_keys(followed.store)) >= 5, "it has begun")
            followed.restart()
            writing.join(WAIT_S)
        ends = {("pins", number): end for number, end in enumerate(log.end_offsets("pins"))}
        followed.follower.wait_applied(ends, timeout_s=WAIT_S)
        assert Counter(stored_keys(followed.store)) == Counter(keys)
        for number in range(PARTITIONS):
            own = [key for key in stored_keys(followed.store) if key % PARTITIONS == number]
            assert own == sorted(own)


def test_a_follower_catches_up_although_the_last_offset_is_no_record(log: OpenedLog, tmp_path: Path) -> None:
    position = publish(log, record(1, key=1))[PINS]
    wait_end(log, position + 1)
    with following(tmp_path, log._kafka) as followed:
        until(followed.follower.caught_up, "caught up")
        until(lambda: followed.follower.lag == {"pins": 0}, "no lag")
        until(lambda: followed.told_lag() == 0, "no lag in the metrics")
        assert followed.follower.positions[PINS] == position + 1
        followed.restart()
        until(followed.follower.caught_up, "caught up again, with nothing new")
        assert followed.follower.lag == {"pins": 0}
        assert stored_keys(followed.store) == [1]


def test_an_id_that_was_published_twice_counts_once(log: OpenedLog, tmp_path: Path) -> None:
    publish(log, record(7, key=7))
    with following(tmp_path, log._kafka) as followed:
        followed.follower.wait_applied(publish(log, record(7, key=7), record(8, key=8)), timeout_s=WAIT_S)
        followed.restart()
        followed.follower.wait_applied(
            publish(log, record(8, key=8), record(7, key=7), record(9, key=9)), timeout_s=WAIT_S
        )
        assert stored_keys(followed.store) == [7, 8, 9]


def test_poison_goes_to_the_dead_letters_and_the_rest_is_applied(log: OpenedLog, tmp_path: Path) -> None:
    poison = record(2, key=POISON_KEY)
    with following(tmp_path, log._kafka) as followed:
        position = publish(log, record(1, key=1), poison, b"\xff no record", record(3, key=3))
        followed.follower.wait_applied(position, timeout_s=WAIT_S)
        assert stored_keys(followed.store) == [1, 3]
    values = values_of(read(log.tail({(DEAD_LETTERS, 0): 0}), 2), DEAD_LETTERS, 0)
    letters = sorted(map(record_pb2.DeadLetter.FromString, values), key=lambda letter: letter.offset)
    assert [(letter.topic, letter.partition, letter.offset) for letter in letters] == [
        ("pins", 0, 1),
        ("pins", 0, 2),
    ]
    assert [letter.value for letter in letters] == [poison, b"\xff no record"]
    assert letters[0].reason == "the key is poison"


def test_a_follower_that_was_away_for_too_long_refuses_the_trimmed_partition_alone(
    log: OpenedLog, tmp_path: Path
) -> None:
    with following(tmp_path, log._kafka) as followed:
        for number in range(PARTITIONS):
            positions = publish(log, record(number + 1, key=number), partition=number)
            followed.follower.wait_applied(positions, timeout_s=WAIT_S)
        # The marker of its last transaction too: what is trimmed is exactly what it has not read.
        until(lambda: followed.follower.positions[PINS] == 2, "all is read")
        followed.stop()
        position = publish(log, record(11), record(12))
        wait_end(log, 5)
        log.trim(position)
        followed.start()
        positions = publish(log, record(13, key=13), partition=1)
        followed.follower.wait_applied(positions, timeout_s=WAIT_S)
        assert followed.lost_shards() == [0, PARTITIONS]
        with pytest.raises(ShardLost, match="pins/0 is applied up to 2, the log has 4 to 5: 2 offsets"):
            followed.follower.wait_applied({PINS: 1}, timeout_s=WAIT_S)
        until(followed.follower.caught_up, "caught up with what is left")
        assert followed.follower.lag == {"pins": 0}
        assert stored_keys(followed.store) == [0, 1, 2, 3, 13]


class HeldView(KeepingView):
    """A view that applies nothing beyond its first batch until it may."""

    may_apply = threading.Event()
    applying = threading.Event()

    def apply(self, changes: Sequence[int], batch: Batch) -> None:
        super().apply(changes, batch)
        self.applying.set()
        assert self.may_apply.wait(WAIT_S)


def test_a_follower_that_is_overtaken_by_the_trimming_refuses_that_partition_alone(tmp_path: Path) -> None:
    config = config_of(buffer_bytes_max=1, fetch_bytes_max=1 << 10, partition_bytes_max=1 << 10)
    HeldView.may_apply.clear()
    HeldView.applying.clear()
    with kafka_log(config) as log, following(tmp_path, config, HeldView) as followed:
        publish(log, record(1, key=1))
        assert HeldView.applying.wait(WAIT_S)
        for number in range(8):
            last = publish(log, *[record(100 * number + n + 2) for n in range(50)])
        log.trim(last)
        HeldView.may_apply.set()
        with pytest.raises(ShardLost, match=r"pins/0 is applied up to \d+, the log has"):
            followed.follower.wait_applied(last, timeout_s=WAIT_S)
        followed.follower.wait_applied(publish(log, record(9_999, key=2), partition=1), timeout_s=WAIT_S)
        assert followed.lost_shards() == [0, PARTITIONS]
        kept = stored_keys(followed.store)
        assert (kept[0], kept[-1]) == (1, 2)
