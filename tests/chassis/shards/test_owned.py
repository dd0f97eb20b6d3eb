"""The guard at the door."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import ConfigFaults, WrongShard
from services.chassis.ids import shard_of
from services.chassis.shards.map import ShardMap
from services.chassis.shards.owned import OwnedShards
from tests.chassis.shards.maps import text

MAP = ShardMap.parse(text({"10.0.0.1:1:z": range(5), "10.0.0.2:1:z": range(4, 8)}, num_shards=8))
OWNED = OwnedShards.of(MAP, "toy", address="10.0.0.1:1")


def ids_of(*, inside: bool, count: int = 5) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    found = [id for id in range(1, 1_000) if (shard_of(id, num_shards=8) < 5) is inside]
    return np.array(found[:count], np.uint64)


def test_the_map_says_what_is_owned() -> None:
    assert OWNED.shards.tolist() == [0, 1, 2, 3, 4]


def test_owned_ids_pass() -> None:
    OWNED.check(ids_of(inside=True))
    OWNED.check(np.empty(0, np.uint64))
    OWNED.check_one(int(ids_of(inside=True)[0]))


def test_one_strange_id_among_many_is_refused_with_its_facts() -> None:
    wrong = int(ids_of(inside=False)[2])
    ids = np.append(ids_of(inside=True), np.uint64(wrong))
    with pytest.raises(WrongShard) as raised:
        OWNED.check(ids)
    assert raised.value.facts == {
        "shards": str(shard_of(wrong, num_shards=8)),
        "shard_count": "1",
        "first_id": str(wrong),
        "num_shards": "8",
    }
    with pytest.raises(WrongShard):
        OWNED.check_one(wrong)


@given(st.lists(st.integers(1, 2**64 - 1), max_size=30))
def test_check_agrees_with_owns(ids: list[int]) -> None:
    array = np.array(ids, np.uint64)
    owned = OWNED.owns(array)
    assert owned.tolist() == [OWNED.owns_one(id) for id in ids]
    if owned.all():
        OWNED.check(array)
    else:
        with pytest.raises(WrongShard):
            OWNED.check(array)


def test_shard_numbers_are_checked_too() -> None:
    OWNED.check_shards(np.array([0, 4], np.uint32))
    for strange in (5, 8, 4_000_000_000):
        with pytest.raises(WrongShard):
            OWNED.check_shards(np.array([0, strange], np.uint32))


def test_an_address_that_the_map_lacks_is_a_fault_that_says_what_to_add() -> None:
    with pytest.raises(ConfigFaults, match=r'it has: 10.0.0.1:1, 10.0.0.2:1\); add "10.0.0.9:1:<placement>"'):
        OwnedShards.of(MAP, "toy", address="10.0.0.9:1")


def test_partitions_cover_the_shards_and_must_divide_them() -> None:
    assert OWNED.partitions(4) == [0, 1, 2, 3]
    assert OwnedShards.of(MAP, "toy", address="10.0.0.2:1").partitions(8) == [4, 5, 6, 7]
    with pytest.raises(ValueError, match="3 partitions do not divide 8 shards"):
        OWNED.partitions(3)


def test_everything_owns_everything() -> None:
    OwnedShards.everything(8).check(np.arange(1, 500, dtype=np.uint64))
