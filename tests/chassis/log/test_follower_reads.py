"""Which records and which reads concern a host, and when a read has waited enough."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import (
    DiskFull,
    InvalidToken,
    StaleReplica,
    TokenAhead,
)
from services.chassis.log.follower import FollowerConfig
from services.chassis.log.token import Token
from services.chassis.shards.owned import OwnedShards
from tests.chassis.log.follower_bench import WAIT_S, Bench
from tests.chassis.log.support import (
    record,
)


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
