"""Lost shards are refused at the door, and a router can read from the refusal which ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.chassis.errors import FeedmeshError, NotReady, ShardLost, WrongShard
from services.chassis.ids import shard_of
from services.chassis.shards.lost import LostPartition, lost_rows
from services.chassis.shards.owned import OwnedShards

SHARDS = 8
TRIMMED = LostPartition("pins", 1, 4, applied=120, begin=200, end=900)
AHEAD = LostPartition("graph", 0, 2, applied=1_200, begin=200, end=900)
ALL_SHARDS = np.arange(SHARDS, dtype=np.uint32)


def id_of(shard: int) -> int:
    return next(id for id in range(1, 1_000) if shard_of(id, num_shards=SHARDS) == shard)


def ids_of(*shards: int) -> NDArray[np.uint64]:
    return np.array([id_of(shard) for shard in shards], np.uint64)


def owned_without(*partitions: LostPartition, mask: NDArray[np.bool_] | None = None) -> OwnedShards:
    owned = OwnedShards.everything(SHARDS) if mask is None else OwnedShards(SHARDS, mask)
    owned.lost.replace(partitions)
    return owned


def test_the_refusal_says_what_is_missing_and_what_to_do() -> None:
    with pytest.raises(ShardLost) as raised:
        owned_without(TRIMMED).check(ids_of(0, 5))
    text = str(raised.value)
    assert "pins/1 is applied up to 120, the log has 200 to 900: 80 offsets are gone" in text
    assert "ask another replica, or start this one from a newer checkpoint" in text
    assert "empty data directory and follower.begin_trimmed" in text
    assert raised.value.facts["gone"] == "80"
    assert (raised.value.facts["topic"], raised.value.facts["partition"]) == ("pins", "1")


def test_a_log_that_ends_before_the_view_has_lost_its_last_offsets() -> None:
    assert "graph/0 is applied up to 1200, the log has 200 to 900: the log lost the last 300" in AHEAD.text


@pytest.mark.parametrize("shard", range(SHARDS))
def test_exactly_the_shards_of_the_partition_are_refused(shard: int) -> None:
    owned = owned_without(TRIMMED)
    doors: list[Callable[[], None]] = [
        lambda: owned.check(ids_of(shard)),
        lambda: owned.check_one(id_of(shard)),
        lambda: owned.check_shards(np.array([shard], np.uint32)),
    ]
    lost = shard in (1, 5)
    assert owned.serves(ids_of(shard)).tolist() == [not lost]
    for door in doors:
        if lost:
            with pytest.raises(ShardLost, match="pins/1"):
                door()
        else:
            door()


def test_another_hosts_shard_is_wrong_also_while_something_is_lost() -> None:
    with pytest.raises(WrongShard):
        owned_without(TRIMMED, mask=ALL_SHARDS < 4).check(ids_of(1, 5))


def test_the_whole_process_is_lost_with_the_last_of_its_shards() -> None:
    mask = np.isin(ALL_SHARDS, [1, 5, 6])
    assert owned_without(TRIMMED, mask=mask).whole_loss() is None
    refusal = owned_without(TRIMMED, AHEAD, mask=mask).whole_loss()
    assert isinstance(refusal, ShardLost)
    assert refusal.facts["lost"] == "all"
    assert OwnedShards.everything(SHARDS).whole_loss() is None


@given(st.sets(st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(0, 7)), min_size=1))
def test_a_router_reads_from_a_refusal_what_the_door_refuses(places: set[tuple[int, int]]) -> None:
    owned = owned_without(
        *(
            LostPartition(f"t{count}", number % count, count, applied=0, begin=1, end=1)
            for count, number in places
        )
    )
    with pytest.raises(ShardLost) as raised:
        owned.lost.check(ALL_SHARDS)
    named = lost_rows(raised.value, ALL_SHARDS)
    assert named is not None
    assert named.tolist() == owned.lost.among(ALL_SHARDS).tolist()


@pytest.mark.parametrize(
    "error",
    [
        NotReady("starting", lost="4:1"),
        ShardLost("a token's", topic="pins"),
        ShardLost("everything", lost="all"),
        ShardLost("none of these", lost="16:15"),
        ShardLost("of a stranger", lost="?:x"),
        ShardLost("of a stranger", lost="0:1"),
    ],
    ids=["another error", "token", "whole host", "other shards", "no numbers", "no partitions"],
)
def test_a_refusal_that_names_no_row_is_one_of_the_whole_call(error: FeedmeshError) -> None:
    assert lost_rows(error, ALL_SHARDS) is None


def test_a_refusal_names_no_more_than_fits_into_metadata() -> None:
    owned = OwnedShards.everything(1 << 16)
    owned.lost.replace(
        LostPartition("pins", number, 1 << 16, applied=0, begin=1, end=1) for number in range(1 << 15)
    )
    with pytest.raises(ShardLost) as raised:
        owned.lost.check(np.array([7], np.uint32))
    assert len(raised.value.facts["lost"]) < 2_000
