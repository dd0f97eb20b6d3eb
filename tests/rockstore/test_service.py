"""Claims about the RPCs. The servicer asks nothing of its context, so it is called without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import (
    CorruptValue,
    FeedmeshError,
    InvalidColumns,
    InvalidId,
    LimitExceeded,
    NotFound,
    UnknownEnum,
    WrongShard,
)
from services.chassis.shards.owned import OwnedShards
from services.rockstore.config import RockstoreConfig
from services.rockstore.schema import Kind, Schema
from services.rockstore.store import OBJECTS
from tests.rockstore.records import Rockstore, open_rockstore, put_pin, record

CONTEXT: Any = None
PIN, BOARD, USER, INTEREST = (
    type_pb2.OBJECT_KIND_PIN,
    type_pb2.OBJECT_KIND_BOARD,
    type_pb2.OBJECT_KIND_USER,
    type_pb2.OBJECT_KIND_INTEREST,
)


def pack(*ids: int) -> bytes:
    return np.array(ids, "<u8").tobytes()


def objects(rockstore: Rockstore, **fields: Any) -> rockstore_pb2.GetObjectsResponse:
    return rockstore.servicer.GetObjects(rockstore_pb2.GetObjectsRequest(**fields), CONTEXT)


def rows(rockstore: Rockstore, *ids: int) -> rockstore_pb2.GetFeatureRowsResponse:
    request = rockstore_pb2.GetFeatureRowsRequest(kind=PIN, ids_u64=pack(*ids))
    return rockstore.servicer.GetFeatureRows(request, CONTEXT)


def test_objects_come_in_the_order_asked_for_and_absent_ones_have_version_0(rockstore: Rockstore) -> None:
    rockstore.follow(put_pin(1, version=4, title="one"), put_pin(2, version=5, title="two"))
    answer = objects(rockstore, kind=PIN, ids_u64=pack(2, 9, 1, 2))
    assert [(o.id, o.version, o.pin.title, o.WhichOneof("object")) for o in answer.objects] == [
        (2, 5, "two", "pin"),
        (9, 0, "", None),
        (1, 4, "one", "pin"),
        (2, 5, "two", "pin"),
    ]


def test_objects_of_several_kinds_come_in_one_call(rockstore: Rockstore) -> None:
    user = event_pb2.Event(put_object=event_pb2.PutObject(id=1, user=type_pb2.User(name="Ada")))
    board = event_pb2.Event(
        put_board=event_pb2.PutBoard(board=3, board_data=type_pb2.Board(title="tiles", owner=1))
    )
    rockstore.follow(put_pin(1, title="pin"), record(user, key=1), record(board, key=3))
    answer = objects(rockstore, ids_u64=pack(1, 1, 3, 3), kinds_u8=bytes([USER, PIN, BOARD, INTEREST]))
    found = answer.objects
    assert [o.WhichOneof("object") for o in found] == ["user", "pin", "board", None]
    assert (found[0].user.name, found[1].pin.title, found[2].board.title) == ("Ada", "pin", "tiles")


def test_an_object_without_any_field_is_still_there(rockstore: Rockstore) -> None:
    rockstore.follow(put_pin(1, title=""))
    assert objects(rockstore, kind=PIN, ids_u64=pack(1)).objects[0].HasField("pin")


def test_expired_objects_are_absent(rockstore: Rockstore) -> None:
    rockstore.follow(put_pin(1, ttl_seconds=10))
    rockstore.clock.advance_ms(10_000)
    assert objects(rockstore, kind=PIN, ids_u64=pack(1)).objects[0].version == 0


def test_feature_rows_are_matrices_with_defaults_where_absent(rockstore: Rockstore) -> None:
    rockstore.follow(put_pin(1, features=[0.9, 120, 2], ids=[11, 12, 13, 14, 15], schema_version=1))
    answer = rows(rockstore, 8, 1)
    features = np.frombuffer(answer.features_f32, "<f4").reshape(2, 3)
    ids = np.frombuffer(answer.feature_ids_u64, "<u8").reshape(2, 5)
    assert features.tolist() == [[0.5, 0, 0], [np.float32(0.9), 120, 2]]
    assert ids.tolist() == [[0] * 5, [11, 12, 13, 14, 15]]
    assert (answer.present_u8, answer.schema_version) == (b"\x00\x01", 1)


def test_old_rows_are_answered_under_the_newest_schema(tmp_path: Path) -> None:
    first = Schema(Kind.PIN, 1, ("a", "b"), (0, 0), ("x",))
    second = Schema(Kind.PIN, 2, ("b", "c"), (0, 7), ("y", "x"))
    before = open_rockstore(tmp_path, schemas=[first])
    before.follow(put_pin(1, features=[1, 2], ids=[5], schema_version=1))
    before.close()
    rockstore = open_rockstore(tmp_path, schemas=[first, second])
    rockstore.follow(put_pin(2, features=[3, 4], ids=[6, 7], schema_version=2))
    answer = rows(rockstore, 1, 2)
    assert np.frombuffer(answer.features_f32, "<f4").tolist() == [2, 7, 3, 4]
    assert np.frombuffer(answer.feature_ids_u64, "<u8").tolist() == [0, 5, 6, 7]
    assert (answer.present_u8, answer.schema_version) == (b"\x01\x01", 2)
    rockstore.close()


def test_an_empty_request_has_an_empty_answer(rockstore: Rockstore) -> None:
    assert len(objects(rockstore, kind=PIN).objects) == 0
    assert rows(rockstore).present_u8 == b""


def test_the_schema_is_told(rockstore: Rockstore) -> None:
    answer = rockstore.servicer.GetSchema(rockstore_pb2.GetSchemaRequest(kind=PIN), CONTEXT)
    assert (answer.schema_version, list(answer.features), list(answer.defaults), len(answer.id_columns)) == (
        1,
        ["quality", "description_chars", "interest_count"],
        [0.5, 0, 0],
        5,
    )


def test_an_older_schema_that_is_still_declared_is_told(tmp_path: Path) -> None:
    declared = [Schema(Kind.PIN, 1, ("a",), (0,), ("x",)), Schema(Kind.PIN, 3, ("b",), (1,), ("x",))]
    rockstore = open_rockstore(tmp_path, schemas=declared)
    told = {
        version: rockstore.servicer.GetSchema(
            rockstore_pb2.GetSchemaRequest(kind=PIN, schema_version=version), CONTEXT
        )
        for version in (0, 1, 3)
    }
    assert [(told[v].schema_version, list(told[v].features)) for v in (0, 1, 3)] == [
        (3, ["b"]),
        (1, ["a"]),
        (3, ["b"]),
    ]
    with pytest.raises(NotFound, match=r"there are \[1, 3\]"):
        rockstore.servicer.GetSchema(rockstore_pb2.GetSchemaRequest(kind=PIN, schema_version=2), CONTEXT)
    rockstore.close()


def put_interest(
    id: int, interest: type_pb2.Interest, *, version: int, ttl_seconds: int = 0
) -> record_pb2.Record:
    put = event_pb2.PutObject(id=id, version=version, interest=interest, ttl_seconds=ttl_seconds)
    return record(event_pb2.Event(put_object=put), key=id)


def test_interests_have_objects_and_rows(tmp_path: Path) -> None:
    schema = Schema(Kind.INTEREST, 1, ("a",), (3,))
    rockstore = open_rockstore(tmp_path, schemas=[schema])
    assert objects(rockstore, kind=INTEREST, ids_u64=pack(1)).objects[0].version == 0
    sea = type_pb2.Interest(title="Sea", key="sea")
    late = event_pb2.Event(put_object=event_pb2.PutObject(id=1, version=1, interest=type_pb2.Interest()))
    rockstore.follow(
        put_interest(1, sea, version=2), record(late, key=1), put_interest(2, sea, version=1, ttl_seconds=10)
    )
    found = objects(rockstore, kind=INTEREST, ids_u64=pack(1, 2)).objects
    assert [(one.version, one.interest) for one in found] == [(2, sea), (1, sea)]
    rockstore.clock.advance_ms(10_000)
    found = objects(rockstore, kind=INTEREST, ids_u64=pack(1, 2)).objects
    assert [one.version for one in found] == [2, 0]
    gone = event_pb2.DeleteObject(id=1, kind=INTEREST)
    rockstore.follow(record(event_pb2.Event(delete_object=gone), key=1))
    assert objects(rockstore, kind=INTEREST, ids_u64=pack(1)).objects[0].version == 0
    assert objects(rockstore, kind=PIN, ids_u64=pack(2)).objects[0].version == 0
    request = rockstore_pb2.GetFeatureRowsRequest(kind=INTEREST, ids_u64=pack(1))
    answer = rockstore.servicer.GetFeatureRows(request, CONTEXT)
    assert np.frombuffer(answer.features_f32, "<f4").tolist() == [3]
    assert answer.present_u8 == b"\0"
    rockstore.close()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"kind": PIN, "ids_u64": pack(0)}, InvalidId, id="id 0"),
        pytest.param({"kind": PIN, "ids_u64": b"123"}, InvalidColumns, id="ragged ids"),
        pytest.param({"kind": PIN, "ids_u64": pack(*range(1, 5_002))}, LimitExceeded, id="too many ids"),
        pytest.param({"ids_u64": pack(1)}, UnknownEnum, id="no kind"),
        pytest.param({"kind": 300, "ids_u64": pack(1)}, UnknownEnum, id="kind of a newer client"),
        pytest.param({"ids_u64": pack(1), "kinds_u8": bytes([9])}, UnknownEnum, id="unknown kind"),
        pytest.param({"ids_u64": pack(1, 2), "kinds_u8": bytes([1])}, InvalidColumns, id="kinds not aligned"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    rockstore: Rockstore, fields: dict[str, Any], error: type[FeedmeshError]
) -> None:
    with pytest.raises(error):
        objects(rockstore, **fields)


def test_rows_of_a_kind_without_schema_are_not_found(rockstore: Rockstore) -> None:
    with pytest.raises(NotFound, match="user"):
        rockstore.servicer.GetSchema(rockstore_pb2.GetSchemaRequest(kind=USER), CONTEXT)
    with pytest.raises(UnknownEnum):
        rockstore.servicer.GetFeatureRows(rockstore_pb2.GetFeatureRowsRequest(), CONTEXT)


def test_ids_of_other_hosts_are_refused(tmp_path: Path) -> None:
    owned = OwnedShards(8, np.arange(8) == OwnedShards.everything(8).shard_of(1))
    rockstore = open_rockstore(tmp_path, owned=owned)
    other = next(id for id in range(2, 100) if not owned.owns_one(id))
    assert objects(rockstore, kind=PIN, ids_u64=pack(1)).objects[0].id == 1
    with pytest.raises(WrongShard):
        objects(rockstore, kind=PIN, ids_u64=pack(1, other))
    with pytest.raises(WrongShard):
        rows(rockstore, 1, other)
    rockstore.close()


def test_an_answer_has_a_limit_of_bytes(tmp_path: Path) -> None:
    rockstore = open_rockstore(tmp_path, config=RockstoreConfig(object_bytes_max=1 << 16))
    for id in range(1, 21):
        rockstore.follow(put_pin(id, title="x" * 5_000))
    assert len(objects(rockstore, kind=PIN, ids_u64=pack(*range(1, 14))).objects) == 13
    with pytest.raises(LimitExceeded, match="ask for fewer"):
        objects(rockstore, kind=PIN, ids_u64=pack(*range(1, 21)))
    rockstore.close()


def test_an_object_that_cannot_be_parsed_is_data_loss(rockstore: Rockstore) -> None:
    key = rockstore.store.keys(Kind.PIN, np.array([1], np.uint64))[0]
    batch = rockstore.raw.batch()
    rockstore.store.put_object(batch, key, version=1, gone_ms=0, object=b"\xff\xff")
    rockstore.raw.write(batch)
    assert rockstore.raw.get(OBJECTS, key) is not None
    with pytest.raises(CorruptValue):
        objects(rockstore, kind=PIN, ids_u64=pack(1))
