"""Claims about reading rows: from the cache or from the store, the answer is the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmesh.log.v1 import record_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.rockstore.config import MemoryConfig, RockstoreConfig
from services.rockstore.rows import RowsRead
from services.rockstore.schema import Kind, Schema
from tests.rockstore.records import NOW_MS, Rockstore, delete_pin, open_rockstore, put_pin

FIRST = Schema(Kind.PIN, 1, ("a",), (0.5,), ("x",))
SECOND = Schema(Kind.PIN, 2, ("b", "a"), (7.0, 0.5), ("x",), {})


def read(rockstore: Rockstore, *ids: int, now_ms: int = NOW_MS, newest: Schema = FIRST) -> RowsRead:
    return rockstore.parts.rows.read(newest, np.array(ids, np.uint64), now_ms=now_ms)


def values(rockstore: Rockstore, *ids: int, now_ms: int = NOW_MS) -> list[float | None]:
    """The first feature of each; None where absent."""
    rows = read(rockstore, *ids, now_ms=now_ms)
    pairs = zip(rows.features[:, 0].tolist(), rows.present.tolist(), strict=True)
    return [value if there else None for value, there in pairs]


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Rockstore]:
    opened = open_rockstore(tmp_path, schemas=[FIRST])
    yield opened
    opened.close()


def put(id: int, value: float, **fields: int) -> record_pb2.Record:
    return put_pin(id, features=[value], ids=[id], schema_version=1, **fields)  # type: ignore[arg-type]


def test_a_second_read_asks_the_store_for_nothing(pins: Rockstore) -> None:
    pins.follow(put(1, 1.0))
    pins.follow(put(2, 2.0))
    pins.parts.rows._caches[Kind.PIN].clear(generation=0)
    pins.follow(put(9, 9.0))  # What was written last stays in flight, and is not filled.
    assert read(pins, 1, 2, 3).miss_count == 3
    again = read(pins, 1, 2, 3)
    assert again.miss_count == 0
    assert again.features[:, 0].tolist() == [1, 2, 0.5]
    assert again.ids[:, 0].tolist() == [1, 2, 0]
    assert again.present.tolist() == [1, 1, 0]


def test_what_was_written_last_is_cached_again_when_no_record_comes(pins: Rockstore) -> None:
    pins.follow(put(1, 1.0))
    pins.parts.rows._caches[Kind.PIN].clear(generation=0)
    assert [read(pins, 1).miss_count for _ in range(2)] == [1, 1]
    assert pins.view.upkeep_waits
    batch = pins.raw.batch()
    pins.view.upkeep(batch)
    assert (pins.view.upkeep_waits, len(batch)) == (False, 0)
    assert [read(pins, 1).miss_count for _ in range(2)] == [1, 0]


def test_what_the_follower_wrote_is_read_without_the_store(pins: Rockstore) -> None:
    pins.follow(put(1, 1.0), put(2, 2.0))
    assert read(pins, 1, 2).miss_count == 0
    assert values(pins, 1, 2) == [1, 2]


def test_a_deleted_row_is_absent_and_known_to_be(pins: Rockstore) -> None:
    pins.follow(put(1, 1.0))
    pins.follow(delete_pin(1, time_ms=NOW_MS + 1))
    rows = read(pins, 1)
    assert (rows.miss_count, rows.present.tolist()) == (0, [0])


def test_an_outdated_write_changes_nothing(pins: Rockstore) -> None:
    pins.follow(put(1, 2.0, version=5))
    pins.follow(put(1, 1.0, version=4))
    assert values(pins, 1) == [2]


def test_a_read_between_apply_and_write_does_not_keep_the_old_row(pins: Rockstore) -> None:
    pins.follow(put(1, 1.0))
    cache = pins.parts.rows._caches[Kind.PIN]
    batch = pins.applied(put(1, 2.0, time_ms=NOW_MS + 1))
    cache.clear(generation=0)  # As if other rows had pushed it out.
    values(pins, 1)  # The store still holds the old row here.
    pins.raw.write(batch)
    assert values(pins, 1) == [2]
    pins.follow(put(5, 5.0))
    assert values(pins, 1) == [2]
    assert read(pins, 1).miss_count == 0


def test_an_expired_row_is_absent_from_the_cache_too(pins: Rockstore) -> None:
    pins.follow(put(1, 1.0, ttl_seconds=60))
    assert values(pins, 1, now_ms=NOW_MS + 59_999) == [1]
    assert values(pins, 1, now_ms=NOW_MS + 60_000) == [None]


def test_a_row_of_an_old_schema_is_kept_as_one_of_the_newest(tmp_path: Path) -> None:
    rockstore = open_rockstore(tmp_path, schemas=[FIRST, SECOND])
    rockstore.follow(put(1, 1.0))
    for _ in range(2):
        rows = read(rockstore, 1, newest=SECOND)
        assert (rows.features.tolist(), rows.ids.tolist()) == ([[7, 1]], [[1]])
    rockstore.close()


def test_a_row_that_cannot_be_read_any_more_is_counted_each_time(tmp_path: Path) -> None:
    before = open_rockstore(tmp_path, schemas=[FIRST])
    before.follow(put(1, 1.0))
    before.close()
    rockstore = open_rockstore(tmp_path, schemas=[SECOND])
    for _ in range(2):
        rows = read(rockstore, 1, newest=SECOND)
        assert (rows.unreadable_count, rows.present.tolist()) == (1, [0])
    rockstore.close()


def test_kinds_do_not_share_rows(tmp_path: Path) -> None:
    interest = Schema(Kind.INTEREST, 1, ("a",), (3.0,))
    rockstore = open_rockstore(tmp_path, schemas=[FIRST, interest])
    rockstore.follow(put(1, 1.0))
    assert read(rockstore, 1, newest=interest).features.tolist() == [[3]]
    assert read(rockstore, 1).features.tolist() == [[1]]
    rockstore.close()


def test_the_cache_is_measured(pins: Rockstore) -> None:
    pins.follow(put(1, 1.0))
    asked = np.array([1, 2], "<u8").tobytes()
    request = rockstore_pb2.GetFeatureRowsRequest(kind=type_pb2.OBJECT_KIND_PIN, ids_u64=asked)
    for _ in range(2):
        pins.servicer.GetFeatureRows(request, None)  # type: ignore[arg-type]
    assert pins.metric("row_cache_hits_total") == 3
    assert pins.metric("row_cache_misses_total") == 1
    assert pins.metric("row_cache_rows") == 2
    assert pins.metric("row_cache_bytes") > 0


WRITES = st.lists(
    st.tuples(st.integers(1, 12), st.integers(1, 9), st.booleans(), st.booleans()), min_size=1, max_size=40
)


@settings(max_examples=25, deadline=None)
@given(writes=WRITES)
def test_with_and_without_a_cache_every_read_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, int, bool, bool]]
) -> None:
    with_cache = open_rockstore(tmp_path_factory.mktemp("with"), schemas=[FIRST])
    without = open_rockstore(
        tmp_path_factory.mktemp("without"),
        schemas=[FIRST],
        config=RockstoreConfig(memory=MemoryConfig(row_cache_bytes=0)),
    )
    for number, (id, version, deletes, asks) in enumerate(writes):
        record = delete_pin(id, version=version) if deletes else put(id, float(number), version=version)
        for rockstore in (with_cache, without):
            rockstore.follow(record)
        if asks:
            assert values(with_cache, *range(1, 14)) == values(without, *range(1, 14))
    assert values(with_cache, *range(1, 14)) == values(without, *range(1, 14))
    with_cache.close()
    without.close()
