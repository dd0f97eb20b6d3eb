"""Claims about filling the row cache after a start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.rockstore.config import MemoryConfig, RockstoreConfig
from services.rockstore.schema import Kind, Schema
from tests.rockstore.records import NOW_MS, Rockstore, delete_pin, open_rockstore, put_pin

SCHEMA = Schema(Kind.PIN, 1, ("a",), (0.5,), ("x",))
PINS = 3_000


def filled(folder: Path, config: RockstoreConfig | None = None) -> Rockstore:
    """Rows that were written by a process that is gone; the cache of this one is empty."""
    before = open_rockstore(folder, schemas=[SCHEMA])
    pins = [
        put_pin(pin, version=1, features=[float(pin)], ids=[1], schema_version=1)
        for pin in range(1, PINS + 1)
    ]
    before.follow(*pins)
    before.follow(delete_pin(7, version=2))
    before.close()
    return open_rockstore(folder, schemas=[SCHEMA], config=config)


def misses(rockstore: Rockstore, ids: list[int]) -> int:
    return rockstore.parts.rows.read(SCHEMA, np.array(ids, np.uint64), now_ms=NOW_MS).miss_count


def test_rows_of_all_shards_are_in_memory_after_it(tmp_path: Path) -> None:
    rockstore = filled(tmp_path)
    rockstore.parts.warming.fill()
    assert misses(rockstore, list(range(1, PINS + 1))) == 0
    read = rockstore.parts.rows.read(SCHEMA, np.array([5, 7], np.uint64), now_ms=NOW_MS)
    assert read.features[:, 0].tolist() == [5.0, 0.5]
    assert read.present.tolist() == [1, 0]
    rockstore.close()


def test_it_ends_when_the_cache_is_nearly_full(tmp_path: Path) -> None:
    small = RockstoreConfig(memory=MemoryConfig(row_cache_bytes=40_000))
    rockstore = filled(tmp_path, small)
    rockstore.parts.warming.fill()
    share = rockstore.parts.rows.filled_share(Kind.PIN)
    assert 0.8 <= share <= 1.0
    rockstore.close()


def test_a_cache_without_room_is_not_filled(tmp_path: Path) -> None:
    rockstore = filled(tmp_path, RockstoreConfig(memory=MemoryConfig(row_cache_bytes=0)))
    rockstore.parts.warming.fill()
    assert rockstore.parts.rows.cached_count == 0
    rockstore.close()


def test_it_ends_before_the_store_closes(tmp_path: Path) -> None:
    rockstore = filled(tmp_path)
    rockstore.parts.warming.start()
    rockstore.close()
    assert not rockstore.parts.warming._thread.is_alive()
