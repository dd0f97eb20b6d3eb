"""The keyspace: lanes agree, a shard is one range, the redo log is checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.aperture.mutable import LANES
from services.aperture.store import HISTORY, REDO, ApertureStore, Part, families, redo_group, rows_of
from services.chassis.errors import CorruptValue
from services.chassis.ids import ShardScheme
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store
from tests.aperture.whole import OWNED


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "db", families()) as opened:
        yield opened


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApertureStore]:
    with Store(tmp_path_factory.mktemp("lanes") / "db", families()) as opened:
        yield ApertureStore(opened, OWNED, bucket_s=86_400)


@given(users=st.lists(st.integers(1, (1 << 64) - 1), min_size=1, max_size=20))
def test_a_user_has_the_same_lane_alone_and_among_many(one: ApertureStore, users: list[int]) -> None:
    assert one.lanes_of(np.array(users, np.uint64)).tolist() == [one.lane_of(user) for user in users]


def test_every_lane_of_every_shard_has_users(one: ApertureStore) -> None:
    lanes = one.lanes_of(np.arange(1, 5_000, dtype=np.uint64))
    assert set(lanes.tolist()) == set(range(OWNED.num_shards * LANES))


def test_every_key_of_a_user_begins_with_the_shard_that_the_scheme_gives(raw: Store) -> None:
    owned = OwnedShards.everything(8, scheme=ShardScheme.EMBEDDED)
    keys = ApertureStore(raw, owned, bucket_s=86_400)
    batch = raw.batch()
    keys.put_tail(batch, user=5 << 46 | 77, bucket=3, generation=0, data=b"")
    raw.write(batch)
    assert [key[:2] for key, _ in raw.scan(HISTORY)] == [(5).to_bytes(2, "big")]


def test_a_cut_redo_entry_is_found(raw: Store) -> None:
    keys = ApertureStore(raw, OWNED, bucket_s=86_400)
    whole = redo_group(1, 2, b"x" * 32)
    for size in (5, len(whole) - 1):
        batch = raw.batch()
        batch.put(REDO, b"\0\0\0" + bytes(8), whole[:size])
        raw.write(batch)
        with pytest.raises(CorruptValue):
            list(keys.redo())


def test_tails_that_are_only_together_of_whole_rows_are_corrupt() -> None:
    tails = [Part(bucket=1, generation=n, key=b"", value=bytes(8)) for n in range(2)]
    with pytest.raises(CorruptValue):
        rows_of(tails)
