"""Claims about swapping loads: all or none, back again, and who wins against single writes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import CorruptValue
from services.rockstore.config import MemoryConfig, RockstoreConfig
from services.rockstore.loads.generation_files import LIVE, Pointer
from services.rockstore.loads.generations import LoadInProgress, NoSuchGeneration
from services.rockstore.schema import Kind, Schema
from tests.rockstore.loads.made import (
    LOADED_VERSION,
    SCHEMA,
    answers,
    loaded,
    loader,
    prepared,
    spec,
    staged,
)
from tests.rockstore.records import DAY_MS, NOW_MS, Rockstore, delete_pin, open_rockstore, put_pin


def put(
    id: int, value: float, *, version: int = 0, time_ms: int = NOW_MS, ttl_seconds: int = 0
) -> record_pb2.Record:
    return put_pin(
        id,
        features=[value],
        ids=[id],
        schema_version=1,
        version=version,
        time_ms=time_ms,
        ttl_seconds=ttl_seconds,
    )


def folders(rockstore: Rockstore) -> list[str]:
    path = rockstore.parts.generations.folder(Kind.PIN).path
    return sorted(child.name for child in path.iterdir() if child.name != LIVE)


def reopened(rockstore: Rockstore, tmp_path: Path) -> Rockstore:
    rockstore.close()
    return open_rockstore(tmp_path / "host", schemas=[SCHEMA])


def test_a_staged_load_is_not_answered_until_it_is_activated(pins: Rockstore, tmp_path: Path) -> None:
    prepared(tmp_path / "load", {1: 10.0, 2: 20.0})
    number = staged(pins, tmp_path / "load")
    assert answers(pins, 1, 2) == [None, None]
    pins.parts.generations.activate(Kind.PIN, number)
    assert answers(pins, 1, 2, 3) == [10, 20, None]
    again = pins.parts.rows.read(SCHEMA, np.array([1, 2, 3], np.uint64), now_ms=NOW_MS)
    assert again.miss_count == 0
    assert again.features[:, 0].tolist() == [10, 20, 0.5]


def test_a_load_replaces_the_one_before_whole_and_a_rollback_brings_it_back(
    pins: Rockstore, tmp_path: Path
) -> None:
    loaded(pins, tmp_path / "first", {1: 10.0, 2: 20.0})
    loaded(pins, tmp_path / "second", {2: 21.0, 3: 31.0})
    assert answers(pins, 1, 2, 3) == [None, 21, 31]
    pins.parts.generations.roll_back(Kind.PIN)
    assert answers(pins, 1, 2, 3) == [10, 20, None]
    pins.parts.generations.roll_back(Kind.PIN, 2)
    assert answers(pins, 1, 2, 3) == [None, 21, 31]
    pins.parts.generations.roll_back(Kind.PIN)  # Forward again had made the first one the way back.
    assert answers(pins, 1, 2, 3) == [10, 20, None]
    pins.parts.generations.roll_back(Kind.PIN, 0)
    assert answers(pins, 1, 2, 3) == [None, None, None]


def test_a_rollback_that_leads_nowhere_is_refused(pins: Rockstore, tmp_path: Path) -> None:
    with pytest.raises(NoSuchGeneration, match="name 0"):
        pins.parts.generations.roll_back(Kind.PIN)
    loaded(pins, tmp_path / "load", {1: 10.0})
    with pytest.raises(NoSuchGeneration, match="name 0"):
        pins.parts.generations.roll_back(Kind.PIN)
    with pytest.raises(NoSuchGeneration):
        pins.parts.generations.roll_back(Kind.PIN, 7)
    with pytest.raises(NoSuchGeneration):
        pins.parts.generations.activate(Kind.PIN, 7)
    assert answers(pins, 1) == [10]


@pytest.mark.parametrize("written_first", [True, False], ids=["written first", "loaded first"])
@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(LOADED_VERSION - 1, 10, id="an older write loses"),
        pytest.param(LOADED_VERSION, 1, id="of equals the write wins"),
        pytest.param(LOADED_VERSION + 1, 1, id="a newer write wins"),
    ],
)
def test_versions_decide_between_a_write_and_a_load(
    pins: Rockstore, tmp_path: Path, written_first: bool, version: int, expected: float
) -> None:
    if written_first:
        pins.follow(put(1, 1.0, version=version))
    loaded(pins, tmp_path / "load", {1: 10.0, 2: 20.0})
    if not written_first:
        assert answers(pins, 1, 2) == [10, 20]
        pins.follow(put(1, 1.0, version=version))
    for _ in range(2):
        assert answers(pins, 1, 2) == [expected, 20]
    pins.parts.generations.roll_back(Kind.PIN, 0)
    assert answers(pins, 1, 2) == [1, None]


def test_a_delete_hides_a_loaded_row_also_after_its_tombstone_is_due(pins: Rockstore, tmp_path: Path) -> None:
    loaded(pins, tmp_path / "load", {1: 10.0})
    pins.follow(delete_pin(1))
    for day in range(8, 11):
        # Purging takes one shard in turn; the tombstone is due several times over.
        for turn in range(8):
            pins.follow(put_pin(7, time_ms=NOW_MS + day * DAY_MS + turn))
        pins.parts.rows._caches[Kind.PIN].clear(generation=1)
        assert answers(pins, 1) == [None]
    assert pins.metric("purged_total") > 0  # Of the object, which no load lies under.


def test_an_expired_write_hides_a_loaded_row_also_when_it_is_due(pins: Rockstore, tmp_path: Path) -> None:
    loaded(pins, tmp_path / "load", {1: 10.0})
    pins.follow(put(1, 1.0, ttl_seconds=60))
    assert answers(pins, 1) == [1]
    later_ms = NOW_MS + 9 * DAY_MS
    for turn in range(8):
        pins.follow(put_pin(7, time_ms=later_ms + turn))
    pins.parts.rows._caches[Kind.PIN].clear(generation=1)
    assert answers(pins, 1, now_ms=later_ms) == [None]


def test_loaded_rows_expire(pins: Rockstore, tmp_path: Path) -> None:
    loaded(pins, tmp_path / "load", {1: 10.0}, spec(gone_ms=NOW_MS + 5))
    assert answers(pins, 1, now_ms=NOW_MS + 4) == [10]
    assert answers(pins, 1, now_ms=NOW_MS + 5) == [None]


def test_loaded_rows_of_an_old_schema_are_upgraded(tmp_path: Path) -> None:
    second = Schema(Kind.PIN, 2, ("b", "a"), (7.0, 0.5), ("x",))
    rockstore = open_rockstore(tmp_path / "host", schemas=[SCHEMA, second])
    loaded(rockstore, tmp_path / "load", {1: 10.0})
    rows = rockstore.parts.rows.read(second, np.array([1], np.uint64), now_ms=NOW_MS)
    assert (rows.features.tolist(), rows.ids.tolist()) == ([[7, 10]], [[1]])
    rockstore.close()


def test_only_so_many_generations_are_kept(tmp_path: Path) -> None:
    pins = open_rockstore(tmp_path / "host", schemas=[SCHEMA], config=RockstoreConfig(generations_kept=2))
    for number in range(1, 6):
        loaded(pins, tmp_path / f"load-{number}", {1: float(number)})
    assert folders(pins) == ["000003", "000004", "000005"]
    pins.parts.generations.roll_back(Kind.PIN)
    pins.parts.generations.roll_back(Kind.PIN)
    assert answers(pins, 1) == [3]
    # What was rolled back from is in the way of a later load, and no way back.
    loaded(pins, tmp_path / "load-6", {1: 6.0})
    assert folders(pins) == ["000003", "000006"]
    pins.parts.generations.roll_back(Kind.PIN)
    assert answers(pins, 1) == [3]
    pins.close()


def test_what_is_live_stays_so_over_a_restart(pins: Rockstore, tmp_path: Path) -> None:
    loaded(pins, tmp_path / "first", {1: 10.0})
    loaded(pins, tmp_path / "second", {1: 11.0})
    pins.parts.generations.roll_back(Kind.PIN)
    again = reopened(pins, tmp_path)
    assert answers(again, 1) == [10]
    assert again.parts.generations.list(Kind.PIN).pointer == Pointer(1, ())
    assert again.metric("live_generation", kind="pin") == 1
    again.close()


def test_a_read_that_holds_a_generation_ends_with_it_though_it_is_dropped(tmp_path: Path) -> None:
    pins = open_rockstore(tmp_path / "host", schemas=[SCHEMA], config=RockstoreConfig(generations_kept=1))
    loaded(pins, tmp_path / "first", {1: 10.0})
    keys = pins.store.keys(Kind.PIN, np.array([1], np.uint64))
    with pins.parts.generations.lease(Kind.PIN) as lease:
        loaded(pins, tmp_path / "second", {1: 11.0})
        loaded(pins, tmp_path / "third", {1: 12.0})
        assert lease.loaded is not None
        assert lease.loaded.values(keys)[0] is not None
        assert "000001" in folders(pins)
    assert folders(pins) == ["000002", "000003"]
    pins.close()


def test_a_lost_live_generation_stops_the_start_and_a_lost_older_one_does_not(
    pins: Rockstore, tmp_path: Path
) -> None:
    loaded(pins, tmp_path / "first", {1: 10.0})
    loaded(pins, tmp_path / "second", {1: 11.0})
    folder = pins.parts.generations.folder(Kind.PIN)
    pins.close()
    folder.drop(1)
    again = open_rockstore(tmp_path / "host", schemas=[SCHEMA])
    assert answers(again, 1) == [11]
    again.close()
    folder.drop(2)
    with pytest.raises(CorruptValue, match="lost its live generation 2"):
        open_rockstore(tmp_path / "host", schemas=[SCHEMA])


def test_one_load_is_staged_at_a_time(pins: Rockstore, tmp_path: Path) -> None:
    prepared(tmp_path / "load", {1: 10.0})
    first = loader(pins).stage(tmp_path / "load")
    next(first)
    with pytest.raises(LoadInProgress):
        list(loader(pins).stage(tmp_path / "load"))
    del first  # The caller goes away.
    assert folders(pins) == []
    assert staged(pins, tmp_path / "load") == 1


@pytest.mark.parametrize("row_cache_bytes", [0, 1 << 20], ids=["without cache", "with cache"])
def test_readers_see_all_of_one_load_whatever_is_swapped(tmp_path: Path, row_cache_bytes: int) -> None:
    config = RockstoreConfig(memory=MemoryConfig(row_cache_bytes=row_cache_bytes))
    pins = open_rockstore(tmp_path / "host", schemas=[SCHEMA], config=config)
    ids = list(range(1, 200))
    for number in (1, 2):
        loaded(pins, tmp_path / f"load-{number}", dict.fromkeys(ids, float(number)))
    done = threading.Event()
    mixed: list[set[float | None]] = []

    def read() -> None:
        while not done.is_set():
            seen = set(answers(pins, *ids))
            if len(seen) != 1:
                mixed.append(seen)
            # A part only, so that later answers are put together from hits and misses.
            answers(pins, *ids[::3])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(100):
        pins.parts.generations.roll_back(Kind.PIN, 1 + turn % 2)
    done.set()
    for reader in readers:
        reader.join()
    assert mixed == []
    pins.close()
