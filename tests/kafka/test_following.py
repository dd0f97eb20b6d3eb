"""A follower on the log in Kafka: each record once, and what the log no longer has."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from feedmesh.log.v1 import record_pb2
from services.chassis.clock import SystemClock
from services.chassis.errors import ShardLost
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.kafka.config import KafkaConfig
from services.chassis.log.kafka.reader import KafkaReader
from services.chassis.log.log import DEAD_LETTERS, Log, Positions
from services.chassis.metrics import new_registry
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.batch import Batch
from services.chassis.storage.store import Store
from tests.chassis.log.support import (
    POISON_KEY,
    VIEW_FAMILIES,
    KeepingView,
    new_records,
    read,
    record,
    stored_keys,
    values_of,
)
from tests.kafka.logs import KAFKA, OpenedLog, kafka_log
from tests.kafka.reader_bench import (
    PARTITIONS,
    PINS,
    WAIT_S,
    config_of,
    until,
    wait_end,
)

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]


@pytest.fixture
def log() -> Iterator[OpenedLog]:
    with kafka_log(config_of()) as opened:
        yield opened


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
