"""Routing by property: every row once, to an owner, preferring near and healthy, stable and balanced."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.chassis.ids import shards_of
from services.chassis.shards.map import Segment
from services.chassis.shards.plan import common_prefix_length, plan, plan_one, plan_shards
from tests.chassis.shards.maps import one_segment

LABELS = ["us-east-1a_pg1", "us-east-1a_pg2", "us-east-1c_pg1", "eu-west-1a_pg1"]


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """1 to 32 shards on 1 to 6 hosts; every shard has at least one host."""
    num_shards = draw(st.integers(1, 32))
    count = draw(st.integers(1, 6))
    owners = [draw(st.sets(st.integers(0, count - 1), min_size=1)) for _ in range(num_shards)]
    hosts = {
        f"10.0.0.{host}:7002:{draw(st.sampled_from(LABELS))}": [
            s for s in range(num_shards) if host in owners[s]
        ]
        for host in range(count)
    }
    return one_segment(hosts, num_shards=num_shards)


ids_arrays = st.lists(st.integers(1, 2**64 - 1), max_size=60).map(lambda ids: np.array(ids, np.uint64))
addresses = st.frozensets(st.integers(0, 5).map(lambda host: f"10.0.0.{host}:7002"))


@given(segments(), ids_arrays, st.sampled_from(["", *LABELS]), addresses, st.integers(0, 1_000))
def test_every_row_is_planned_once_to_a_host_that_serves_its_shard(
    segment: Segment, ids: NDArray[np.uint64], prefer: str, unhealthy: frozenset[str], rotation: int
) -> None:
    planned = plan(segment, ids, prefer=prefer, unhealthy=unhealthy, rotation=rotation)
    assert sorted(row for _, rows in planned for row in rows.tolist()) == list(range(ids.size))
    shards = shards_of(ids, num_shards=segment.num_shards)
    for host, rows in planned:
        assert set(shards[rows].tolist()) <= set(host.shards)
        assert (np.diff(rows) > 0).all()


@given(segments(), ids_arrays, st.sampled_from(["", *LABELS]), addresses, st.integers(0, 1_000))
def test_no_host_is_called_twice_and_hosts_come_in_order(
    segment: Segment, ids: NDArray[np.uint64], prefer: str, unhealthy: frozenset[str], rotation: int
) -> None:
    hosts = [
        call.host.address
        for call in plan(segment, ids, prefer=prefer, unhealthy=unhealthy, rotation=rotation)
    ]
    assert hosts == sorted(set(hosts))


@given(segments(), ids_arrays, st.sampled_from(LABELS), addresses, st.integers(0, 1_000))
def test_the_choice_is_healthy_first_then_near(
    segment: Segment, ids: NDArray[np.uint64], prefer: str, unhealthy: frozenset[str], rotation: int
) -> None:
    shards = shards_of(ids, num_shards=segment.num_shards)
    for chosen, rows in plan(segment, ids, prefer=prefer, unhealthy=unhealthy, rotation=rotation):
        near = common_prefix_length(chosen.placement, prefer)
        for shard in set(shards[rows].tolist()):
            others = [host for host in segment.hosts if shard in host.shards]
            if chosen.address in unhealthy:
                assert all(host.address in unhealthy for host in others)
            else:
                healthy = [host for host in others if host.address not in unhealthy]
                assert near == max(common_prefix_length(host.placement, prefer) for host in healthy)


@given(segments(), st.integers(1, 2**64 - 1), st.integers(0, 1_000))
def test_one_id_goes_where_it_goes_among_many(segment: Segment, id: int, rotation: int) -> None:
    (call,) = plan(segment, np.array([id], np.uint64), rotation=rotation)
    assert plan_one(segment, id, rotation=rotation) is call.host


@given(segments(), ids_arrays, st.integers(0, 1_000))
def test_a_plan_is_stable(segment: Segment, ids: NDArray[np.uint64], rotation: int) -> None:
    first, second = plan(segment, ids, rotation=rotation), plan(segment, ids, rotation=rotation)
    assert [(call.host, call.rows.tolist()) for call in first] == [
        (call.host, call.rows.tolist()) for call in second
    ]


def test_equal_replicas_share_the_calls_evenly() -> None:
    everything = list(range(64))
    segment = one_segment({f"10.0.0.{host}:1:z_{host}": everything for host in range(3)}, num_shards=64)
    shards = np.arange(64, dtype=np.uint32)
    asked = Counter(
        call.host.address
        for rotation in range(300)
        for call in plan_shards(segment, shards, rotation=rotation)
    )
    assert set(asked.values()) == {100}


def test_equal_replicas_that_hold_the_same_shards_cost_one_call() -> None:
    everything = list(range(64))
    segment = one_segment({"10.0.0.1:1:z_1": everything, "10.0.0.2:1:z_2": everything}, num_shards=64)
    for rotation in range(4):
        assert len(plan_shards(segment, np.arange(64, dtype=np.uint32), rotation=rotation)) == 1


@pytest.mark.parametrize("counts", [(1, 2), (2, 3), (3, 5, 7)], ids=str)
def test_shards_with_unlike_replica_counts_are_balanced_each(counts: tuple[int, ...]) -> None:
    hosts = {
        f"10.0.{shard}.{replica}:1:z": [shard]
        for shard, count in enumerate(counts)
        for replica in range(count)
    }
    segment = one_segment(hosts, num_shards=len(counts))
    rounds = int(np.prod(counts)) if np.prod(counts) <= 64 else 64 * 3
    shards = np.arange(len(counts), dtype=np.uint32)
    asked = Counter(
        call.host.address
        for rotation in range(rounds)
        for call in plan_shards(segment, shards, rotation=rotation)
    )
    for shard, count in enumerate(counts):
        each = [asked[f"10.0.{shard}.{replica}:1"] for replica in range(count)]
        assert max(each) - min(each) <= rounds * 0.1


def test_only_the_shards_given_to_a_new_host_move() -> None:
    before = one_segment({"10.0.0.1:1:z": range(32), "10.0.0.2:1:z": range(32, 64)}, num_shards=64)
    after = one_segment(
        {
            "10.0.0.1:1:z": range(24),
            "10.0.0.2:1:z": range(32, 56),
            "10.0.0.3:1:z": [*range(24, 32), *range(56, 64)],
        },
        num_shards=64,
    )
    moved = 0
    for id in range(1, 2_001):
        old, new = plan_one(before, id), plan_one(after, id)
        if old.address != new.address:
            moved += 1
            assert new.address == "10.0.0.3:1"
    assert 0.2 < moved / 2_000 < 0.3


def test_the_prefix_is_counted_in_characters() -> None:
    assert common_prefix_length("us-east-1a_pg1", "us-east-1c_pg1") == 9
    assert common_prefix_length("", "us") == 0
    assert common_prefix_length("us", "us-east") == 2


def test_no_rows_no_calls() -> None:
    segment = one_segment({"10.0.0.1:1:z": [0]}, num_shards=1)
    assert plan(segment, np.empty(0, np.uint64)) == []


def test_a_host_that_is_alone_is_asked_for_everything_healthy_or_not() -> None:
    segment = one_segment({"10.0.0.1:1:a": range(4)}, num_shards=4)
    shards = np.array([3, 0, 2, 2], np.uint32)
    for unhealthy in (frozenset[str](), frozenset({"10.0.0.1:1"})):
        ((host, rows),) = plan_shards(segment, shards, unhealthy=unhealthy)
        assert (host.address, rows.tolist()) == ("10.0.0.1:1", [0, 1, 2, 3])
    assert plan_shards(segment, shards[:0]) == []
