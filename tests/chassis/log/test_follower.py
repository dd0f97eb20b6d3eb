"""A follower applies each record once, in order, whatever fails around it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import (
    DiskFull,
    StaleReplica,
    StorageFault,
)
from services.chassis.log.follower import FollowerConfig
from services.chassis.log.log import DEAD_LETTERS
from services.chassis.storage.batch import Batch
from tests.chassis.log.follower_bench import WAIT_S, Bench
from tests.chassis.log.support import (
    POISON_KEY,
    USELESS_KEY,
    KeepingView,
    record,
    stored_keys,
)


def test_records_are_applied_in_order_and_once(bench: Bench) -> None:
    bench.start().apply(*[record(n + 1, key=n) for n in range(50)])
    assert bench.view.kept == list(range(50)) == stored_keys(bench.store)


def test_the_follower_resumes_from_the_committed_offset(bench: Bench) -> None:
    bench.start().apply(record(1, key=1), record(2, key=2))
    bench.restart()
    bench.apply(record(3, key=3))
    assert bench.view.kept == [3]
    assert bench.metric("applied_total", topic="pins") == 1, "nothing was read twice, not even as duplicates"
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
        (record(2, version=4), "newer than 3"),
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
