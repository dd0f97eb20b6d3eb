"""Claims about keys and bytes."""

from __future__ import annotations

import numpy as np
import pytest

from services.chassis.errors import CorruptValue
from services.chassis.ids import shards_of
from services.rockstore.cells import Row
from services.rockstore.schema import Kind
from services.rockstore.store import OBJECTS, ROWS
from tests.rockstore.records import NOW_MS, Rockstore

IDS = np.array([1, 256, 2**63, 2**64 - 1], np.uint64)


def test_a_key_is_shard_kind_id_big_endian(rockstore: Rockstore) -> None:
    shards = shards_of(IDS, num_shards=8)
    assert rockstore.store.keys(Kind.BOARD, IDS) == [
        int(shard).to_bytes(2, "big") + b"\x02" + int(id).to_bytes(8, "big")
        for shard, id in zip(shards, IDS, strict=True)
    ]


def test_each_id_may_have_its_own_kind(rockstore: Rockstore) -> None:
    kinds = [Kind.USER, Kind.PIN, Kind.BOARD, Kind.INTEREST]
    assert [key[2] for key in rockstore.store.keys(kinds, IDS)] == kinds


def test_stored_bytes_are_frozen(rockstore: Rockstore) -> None:
    key = rockstore.store.keys(Kind.PIN, IDS[:1])[0]
    batch = rockstore.raw.batch()
    row = Row(3, np.array([1.5, 2.5], "<f4").tobytes(), np.array([7], "<u8").tobytes())
    rockstore.store.put_row(batch, key, version=9, gone_ms=0, row=row)
    rockstore.raw.write(batch)
    assert rockstore.raw.get(ROWS, key) == bytes.fromhex(
        "01 00 0300 0200 0100 0900000000000000 0000000000000000 0000c03f 00002040 0700000000000000"
    )


def test_rows_without_floats_or_without_ids_are_read_back(rockstore: Rockstore) -> None:
    keys = rockstore.store.keys(Kind.PIN, IDS[:2])
    batch = rockstore.raw.batch()
    floats, ids = np.array([1.5], "<f4").tobytes(), np.array([7], "<u8").tobytes()
    rockstore.store.put_row(batch, keys[0], version=1, gone_ms=0, row=Row(1, floats, b""))
    rockstore.store.put_row(batch, keys[1], version=1, gone_ms=0, row=Row(2, b"", ids))
    rockstore.raw.write(batch)
    rows = rockstore.store.rows(Kind.PIN, IDS, now_ms=NOW_MS)
    assert [(r.version, r.places.tolist(), r.features.tolist(), r.ids.tolist()) for r in rows] == [
        (1, [0], [[1.5]], [[]]),
        (2, [1], [[]], [[7]]),
    ]


def test_rows_of_one_length_and_two_shapes_are_kept_apart(rockstore: Rockstore) -> None:
    keys = rockstore.store.keys(Kind.PIN, IDS[:2])
    batch = rockstore.raw.batch()
    floats, ids = np.array([1.5, 2.5], "<f4").tobytes(), np.array([7], "<u8").tobytes()
    rockstore.store.put_row(batch, keys[0], version=1, gone_ms=0, row=Row(1, floats, b""))
    rockstore.store.put_row(batch, keys[1], version=1, gone_ms=0, row=Row(1, b"", ids))
    rockstore.raw.write(batch)
    rows = rockstore.store.rows(Kind.PIN, IDS, now_ms=NOW_MS)
    assert sorted((r.places.tolist(), r.features.tolist(), r.ids.tolist()) for r in rows) == [
        ([0], [[1.5, 2.5]], [[]]),
        ([1], [[]], [[7]]),
    ]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x01" * 23, id="too short"),
        pytest.param(b"\x02" + bytes(23), id="unknown format"),
        pytest.param(b"\x01" + bytes(26), id="longer than its counts"),
    ],
)
def test_a_value_that_is_no_cell_is_corrupt(rockstore: Rockstore, value: bytes) -> None:
    key = rockstore.store.keys(Kind.PIN, IDS[:1])[0]
    batch = rockstore.raw.batch()
    batch.put(ROWS, key, value)
    batch.put(OBJECTS, key, value[:23])
    rockstore.raw.write(batch)
    with pytest.raises(CorruptValue):
        rockstore.store.rows(Kind.PIN, IDS, now_ms=NOW_MS)
    with pytest.raises(CorruptValue):
        rockstore.store.objects(Kind.PIN, IDS, now_ms=NOW_MS)
