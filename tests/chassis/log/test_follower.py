"""A follower applies each record once, in order, whatever fails around it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.registry import CollectorRegistry

from feedmesh.log.v1 import record_pb2
from services.chassis.clock import FakeClock
from services.chassis.errors import (
    DiskFull,
    FeedmeshError,
    InvalidToken,
    LogUnavailable,
    OffsetOutOfRange,
    StaleReplica,
    StorageFault,
    TokenAhead,
)
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.log import DEAD_LETTERS, Chunk, Positions, Tail
from services.chassis.log.memory import MemoryLog
from services.chassis.log.offsets import ForeignLog
from services.chassis.log.token import Token
from services.chassis.metrics import new_registry
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.batch import Batch
from tests.chassis.log.support import (
    POISON_KEY,
    TOPICS,
    USELESS_KEY,
    VIEW_FAMILIES,
    WAIT_MS,
    FaultyStore,
    KeepingView,
    new_records,
    record,
    stored_keys,
)

WAIT_S = WAIT_MS / 1000
FAST = FollowerConfig(backoff_ms=1, backoff_ms_max=2, poll_ms=10, dedup_window=100)


class WeatheredLog(MemoryLog):
    """A log that is away when a test says so."""

    def __init__(self, *, offset_step: int = 3, log_id: str = "memory") -> None:
        super().__init__(TOPICS, offset_step=offset_step, log_id=log_id)
        self.away = threading.Event()
        self.letters_refused = 0
        self.polled: list[int] = []

    def end_offsets(self, topic: str) -> list[int]:
        self._check_weather()
        return super().end_offsets(topic)

    def tail(self, positions: Positions) -> Tail:  # type: ignore[override]
        self._check_weather()
        return WeatheredTail(self, super().tail(positions))

    def append_dead_letter(self, letter: bytes) -> None:
        if self.letters_refused:
            self.letters_refused -= 1
            raise LogUnavailable("no letters now")
        super().append_dead_letter(letter)

    def _check_weather(self) -> None:
        if self.away.is_set():
            raise LogUnavailable("the log is away")


class WeatheredTail:
    def __init__(self, log: WeatheredLog, tail: Tail) -> None:
        self._log = log
        self._tail = tail

    def poll(self, *, timeout_ms: int) -> list[Chunk]:
        self._log._check_weather()
        chunks = self._tail.poll(timeout_ms=timeout_ms)
        # What was on its way when the weather turned does not arrive.
        self._log._check_weather()
        self._log.polled.append(sum(len(chunk.values) for chunk in chunks))
        return chunks

    def close(self) -> None:
        self._tail.close()


@dataclass
class Bench:
    """One follower and everything around it; `restart` is a new process on the same store."""

    path: Path
    log: WeatheredLog = field(default_factory=WeatheredLog)
    owned: OwnedShards = field(default_factory=lambda: OwnedShards.everything(8))
    config: FollowerConfig = FAST
    registry: CollectorRegistry = field(default_factory=new_registry)
    fatal: list[BaseException] = field(default_factory=list)
    died: threading.Event = field(default_factory=threading.Event)

    def open(self, view_class: type[KeepingView] = KeepingView, topics: Sequence[str] = ("pins",)) -> None:
        self.store = FaultyStore(self.path, VIEW_FAMILIES)
        self.view = view_class(self.store, topics)
        self.registry = new_registry()
        self.follower = Follower(
            log=self.log,
            store=self.store,
            view=self.view,
            owned=self.owned,
            config=self.config,
            metrics=FollowerMetrics(self.registry),
            clock=FakeClock(),
            service="bench",
            on_fatal=self._die,
        )

    def start(self) -> Bench:
        self.open()
        self.follower.start()
        return self

    def restart(self) -> None:
        self.close()
        self.start()

    def close(self) -> None:
        self.follower.stop()
        self.store.close()

    def publish(self, *values: bytes, topic: str = "pins", partition: int = 0) -> Positions:
        return self.log.publish(new_records(topic, partition, *values)).result()

    def apply(self, *values: bytes, partition: int = 0) -> None:
        """Publish, and wait until it is applied."""
        self.follower.wait_applied(self.publish(*values, partition=partition), timeout_s=WAIT_S)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"feedmesh_follower_{name}", labels) or 0.0

    def _die(self, fault: BaseException) -> None:
        self.fatal.append(fault)
        self.died.set()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "store")
    yield made
    if hasattr(made, "follower"):
        made.close()


def test_records_are_applied_in_order_and_once(bench: Bench) -> None:
    bench.start().apply(*[record(n + 1, key=n) for n in range(50)])
    assert bench.view.kept == list(range(50)) == stored_keys(bench.store)


def test_the_follower_resumes_from_the_committed_offset(bench: Bench) -> None:
    bench.start().apply(record(1, key=1), record(2, key=2))
    bench.restart()
    bench.apply(record(3, key=3))
    assert bench.view.kept == [3], "nothing was read twice"
    assert stored_keys(bench.store) == [1, 2, 3]


def test_what_is_not_written_is_read_again_by_the_next_process(bench: Bench) -> None:
    bench.config = FollowerConfig(backoff_ms=1, write_attempts_max=1, poll_ms=10)
    bench.start().apply(record(1, key=1))
    bench.store.write_faults = [StorageFault("gone")]
    positions = bench.publish(record(2, key=2), record(3, key=3))
    assert bench.died.wait(WAIT_S)
    bench.restart()
    bench.follower.wait_applied(positions, timeout_s=WAIT_S)
    assert stored_keys(bench.store) == [1, 2, 3]


def test_duplicates_are_dropped_also_across_a_restart(bench: Bench) -> None:
    bench.start().apply(record(7, key=1), record(7, key=1), record(8, key=2))
    assert bench.metric("duplicates_total", topic="pins") == 1
    bench.restart()
    bench.apply(record(8, key=2), record(7, key=1), record(9, key=3))
    assert stored_keys(bench.store) == [1, 2, 3]
    assert bench.metric("duplicates_total", topic="pins") == 2


def test_the_same_id_in_two_partitions_is_two_records(bench: Bench) -> None:
    bench.start().apply(record(7, key=1), partition=0)
    bench.apply(record(7, key=2), partition=1)
    assert stored_keys(bench.store) == [1, 2]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (record(2, key=POISON_KEY), "the key is poison"),
        (b"\xff\xff\xff", "the bytes are not a Record"),
        (record(2, version=2), "newer than 1"),
    ],
    ids=["refused by the view", "not a record", "of a newer writer"],
)
def test_poison_goes_to_the_dead_letters_and_the_partition_goes_on(
    bench: Bench, value: bytes, reason: str
) -> None:
    bench.start().apply(record(1, key=1), value, record(3, key=3))
    assert bench.view.kept == [1, 3]
    (chunk,) = bench.log.tail({(DEAD_LETTERS, 0): 0}).poll(timeout_ms=0)
    letter = record_pb2.DeadLetter.FromString(chunk.values[0])
    assert (letter.topic, letter.partition, letter.offset, letter.service) == ("pins", 0, 3, "bench")
    assert reason in letter.reason
    assert letter.value == value
    assert bench.metric("dead_letters_total", topic="pins") == 1


def test_any_error_of_decode_is_poison(bench: Bench) -> None:
    class Clumsy(KeepingView):
        def decode(self, record: record_pb2.Record) -> int | None:
            return {1: 1, 3: 3}[record.key]

    bench.open(Clumsy)
    bench.follower.start()
    bench.apply(record(1, key=1), record(2, key=2), record(3, key=3))
    assert bench.view.kept == [1, 3]
    assert not bench.fatal


def test_a_dead_letter_is_tried_until_it_is_durable_before_its_record_is_skipped(bench: Bench) -> None:
    bench.log.letters_refused = 5
    bench.start().apply(record(1, key=POISON_KEY), record(2, key=2))
    assert bench.log.end_offsets(DEAD_LETTERS)[0] == 3, "one letter, offsets are three apart"
    assert bench.view.kept == [2]


def test_a_record_that_the_view_does_not_want_is_passed_over(bench: Bench) -> None:
    bench.start().apply(record(1, key=USELESS_KEY), record(2, key=2))
    assert bench.view.kept == [2]
    assert bench.metric("applied_total", topic="pins") == 2


def test_a_failed_write_is_tried_again_with_the_same_changes(bench: Bench) -> None:
    bench.start().apply(record(1, key=1))
    bench.store.write_faults = [DiskFull("full"), DiskFull("full"), StorageFault("odd")]
    bench.apply(record(2, key=2), record(3, key=3))
    assert bench.view.kept == [1, 2, 3], "the view was asked once"
    assert stored_keys(bench.store) == [1, 2, 3]
    assert bench.metric("write_retries_total") == 3


def test_positions_do_not_move_before_the_write(bench: Bench) -> None:
    bench.start().apply(record(1, key=1))
    bench.config = FollowerConfig(backoff_ms=60_000, backoff_ms_max=60_000, poll_ms=10)
    bench.restart()
    bench.store.write_faults = [DiskFull("full")]
    with pytest.raises(StaleReplica):
        bench.follower.wait_applied(bench.publish(record(2, key=2)), timeout_s=0.2)
    assert bench.follower.positions["pins", 0] == 3
    assert bench.fatal == []


def test_a_store_that_fails_for_good_ends_the_process_and_says_why(bench: Bench) -> None:
    bench.config = FollowerConfig(backoff_ms=1, backoff_ms_max=1, write_attempts_max=3, poll_ms=10)
    bench.start().apply(record(1, key=1))
    bench.store.write_faults = [DiskFull("no room at all")] * 3
    bench.publish(record(2, key=2), record(3, key=3))
    assert bench.died.wait(WAIT_S)
    assert "no room at all" in str(bench.fatal[0])
    assert stored_keys(bench.store) == [1]


def test_a_view_that_fails_in_apply_ends_the_process(bench: Bench) -> None:
    class Broken(KeepingView):
        def apply(self, changes: Sequence[int], batch: Batch) -> None:
            raise KeyError("a bug")

    bench.open(Broken)
    bench.follower.start()
    bench.publish(record(1))
    assert bench.died.wait(WAIT_S)
    assert bench.follower.positions["pins", 0] == 0


def test_the_follower_starts_without_a_log_and_goes_on_when_it_comes(bench: Bench) -> None:
    bench.log.away.set()
    bench.start()
    assert not bench.follower.caught_up()
    with pytest.raises(StaleReplica, match="not reached the log"):
        bench.follower.wait_applied({("pins", 0): 1}, timeout_s=0.01)
    bench.log.away.clear()
    bench.apply(record(1, key=1))
    assert bench.view.kept == [1]


def test_a_log_that_goes_away_is_waited_for_without_loss_or_repeat(bench: Bench) -> None:
    bench.start().apply(record(1, key=1))
    bench.log.away.set()
    positions = bench.publish(record(2, key=2))
    with pytest.raises(StaleReplica):
        bench.follower.wait_applied(positions, timeout_s=0.05)
    bench.log.away.clear()
    bench.follower.wait_applied(positions, timeout_s=WAIT_S)
    assert stored_keys(bench.store) == [1, 2]


def test_batches_are_bounded_and_nothing_is_polled_while_one_is_applied(bench: Bench) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(KeepingView):
        def apply(self, changes: Sequence[int], batch: Batch) -> None:
            entered.set()
            assert leave.wait(WAIT_S)
            super().apply(changes, batch)

    bench.config = FollowerConfig(batch_records_max=10, poll_ms=10)
    bench.publish(*[record(n + 1, key=n) for n in range(25)])
    bench.publish(*[record(n + 100, key=n) for n in range(25, 30)], partition=1)
    bench.open(Slow)
    bench.follower.start()
    assert entered.wait(WAIT_S)
    later = bench.publish(*[record(n + 200, key=n) for n in range(30, 40)])
    polls = len(bench.log.polled)
    leave.set()
    bench.follower.wait_applied(later, timeout_s=WAIT_S)
    assert polls <= 1, "the first poll is being applied; there was no other"
    assert max(bench.view.batches) <= 10
    assert bench.view.kept == list(range(40))


def test_a_read_that_carries_a_token_waits_until_it_is_applied(bench: Bench) -> None:
    bench.start()
    bench.log.away.set()
    positions = bench.publish(record(1, key=1))
    token = Token(bench.log.log_id, positions).encode()
    bench.follower.wait_applied({}, timeout_s=WAIT_S)
    done: list[list[int]] = []

    def wait() -> None:
        bench.follower.wait_token(token, WAIT_S)
        done.append(list(bench.view.kept))

    thread = threading.Thread(target=wait)
    thread.start()
    bench.log.away.clear()
    thread.join(WAIT_S)
    assert done == [[1]]


def test_positions_of_other_topics_and_shards_do_not_concern_this_host(bench: Bench) -> None:
    mask = np.zeros(4, dtype=np.bool_)
    mask[1] = True
    bench.owned = OwnedShards(4, mask)
    bench.start().apply(record(1), partition=1)
    bench.follower.wait_applied({("graph", 0): 999, ("pins", 0): 999, ("gone", 7): 9}, timeout_s=0)


def test_a_token_that_the_log_reaches_but_the_replica_does_not_is_stale(bench: Bench) -> None:
    bench.config = FollowerConfig(backoff_ms=60_000, backoff_ms_max=60_000, poll_ms=10)
    bench.start().apply(record(1))
    bench.store.write_faults = [DiskFull("full")]
    positions = bench.publish(record(2))
    with pytest.raises(StaleReplica, match="pins/0 is applied up to 3, not 6"):
        bench.follower.wait_applied(positions, timeout_s=0.01)
    assert bench.metric("stale_reads_total") == 1


def test_a_token_beyond_the_end_of_the_log_is_ahead(bench: Bench) -> None:
    bench.start().apply(record(1))
    with pytest.raises(TokenAhead, match="ends at 3"):
        bench.follower.wait_applied({("pins", 0): 1_000_000}, timeout_s=0.01)


def test_a_token_beyond_the_known_end_is_stale_while_the_log_cannot_say(bench: Bench) -> None:
    bench.start().apply(record(1))
    bench.log.away.set()
    with pytest.raises(StaleReplica):
        bench.follower.wait_applied({("pins", 0): 1_000_000}, timeout_s=0.01)


def test_a_token_of_another_log_is_invalid_and_says_so(bench: Bench) -> None:
    bench.start().apply(record(1))
    with pytest.raises(InvalidToken, match="of log 'other', this is log 'memory'"):
        bench.follower.wait_token(Token("other", {("pins", 0): 1}).encode(), WAIT_S)


@pytest.mark.parametrize("partitions", [4, 2], ids=["pins has 4", "graph has 2"])
def test_only_records_of_owned_shards_are_applied_where_partitions_hold_several(
    bench: Bench, partitions: int
) -> None:
    topic = {4: "pins", 2: "graph"}[partitions]
    mask = np.zeros(8, dtype=np.bool_)
    mask[[1, 5]] = True
    bench.owned = OwnedShards(8, mask)
    keys = list(range(1, 200))
    for key in keys:
        bench.publish(record(key, key=key), topic=topic, partition=bench.owned.shard_of(key) % partitions)
    bench.open(topics=(topic,))
    bench.follower.start()
    ends = {(topic, n): end for n, end in enumerate(bench.log.end_offsets(topic))}
    bench.follower.wait_applied(ends, timeout_s=WAIT_S)
    assert sorted(bench.view.kept) == [key for key in keys if bench.owned.owns_one(key)]
    assert set(bench.follower.positions) == {(topic, 1)}, "shards 1 and 5 live in partition 1"
    assert bench.metric("not_owned_total", topic=topic) > 0 or partitions == 4


def test_packed_counts_are_left_to_the_view_to_filter(bench: Bench) -> None:
    mask = np.zeros(8, dtype=np.bool_)
    mask[0] = True
    bench.owned = OwnedShards(8, mask)
    foreign = next(id for id in range(1, 1_000) if bench.owned.shard_of(id) == 4)
    packed = record_pb2.Record(record_id=1, key=foreign, version=1, time_ms=1)
    packed.counts.entities.append(foreign)
    bench.start().apply(packed.SerializeToString(), record(2, key=foreign))
    assert bench.view.kept == [foreign]


def test_partitions_that_do_not_divide_the_shards_end_the_process(bench: Bench) -> None:
    bench.owned = OwnedShards.everything(6)
    bench.start()
    assert bench.died.wait(WAIT_S)
    assert "4 partitions do not divide 6 shards" in str(bench.fatal[0])


def test_a_host_without_shards_is_caught_up_and_lets_every_token_pass(bench: Bench) -> None:
    bench.owned = OwnedShards(8, np.zeros(8, dtype=np.bool_))
    bench.start()
    bench.follower.wait_applied(bench.publish(record(1)), timeout_s=WAIT_S)
    assert bench.follower.caught_up()
    assert bench.fatal == []


def test_caught_up_means_the_ends_of_the_first_contact(bench: Bench) -> None:
    positions = bench.publish(record(1), record(2))
    bench.open()
    assert not bench.follower.caught_up()
    bench.follower.start()
    bench.follower.wait_applied(positions, timeout_s=WAIT_S)
    assert bench.follower.caught_up()
    assert bench.follower.lag == {"pins": 0}


def test_an_empty_log_is_caught_up_with_at_once(bench: Bench) -> None:
    bench.start()
    bench.follower.wait_applied({("pins", 0): 0}, timeout_s=WAIT_S)
    assert bench.follower.caught_up()


def _dies_with(bench: Bench, error: type[FeedmeshError], why: str) -> None:
    assert bench.died.wait(WAIT_S)
    assert isinstance(bench.fatal[0], error)
    assert why in str(bench.fatal[0])


def test_a_store_of_another_log_is_refused(bench: Bench) -> None:
    bench.start().apply(record(1))
    bench.close()
    bench.log = WeatheredLog(log_id="another")
    bench.start()
    _dies_with(bench, ForeignLog, "follows log 'memory', this is log 'another'")


def test_a_store_that_is_behind_the_trimmed_begin_is_refused(bench: Bench) -> None:
    bench.start().apply(record(1))
    bench.close()
    bench.log.trim(bench.publish(record(2), record(3)))
    bench.start()
    _dies_with(bench, OffsetOutOfRange, "restore a newer checkpoint")


def test_an_empty_store_does_not_follow_a_trimmed_log_in_silence(bench: Bench) -> None:
    bench.log.trim(bench.publish(record(1)))
    bench.start()
    _dies_with(bench, OffsetOutOfRange, "restore a newer checkpoint")


def test_an_empty_store_follows_a_trimmed_log_when_told_to(bench: Bench) -> None:
    bench.log.trim(bench.publish(record(1, key=1)))
    bench.config = FollowerConfig(begin_trimmed=True, poll_ms=10)
    bench.start().apply(record(2, key=2))
    assert bench.view.kept == [2]


def test_stopping_twice_and_before_the_log_came_is_fine(bench: Bench) -> None:
    bench.log.away.set()
    bench.start()
    bench.follower.stop()
    bench.follower.stop()
    assert bench.fatal == []
