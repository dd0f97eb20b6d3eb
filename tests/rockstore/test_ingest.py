"""Claims about what the log leaves in the store."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import PoisonRecord
from services.rockstore.config import RockstoreConfig
from services.rockstore.schema import Kind
from services.rockstore.store import DUE, OBJECTS, ROWS
from tests.rockstore.records import DAY_MS, NOW_MS, Rockstore, delete_pin, open_rockstore, put_pin, record

ROW = {"features": [0.9, 120, 2], "ids": [11, 12, 13, 14, 15], "schema_version": 1}


def title_of(rockstore: Rockstore, id: int, *, now_ms: int = NOW_MS) -> str | None:
    found = rockstore.store.objects(Kind.PIN, np.array([id], np.uint64), now_ms=now_ms)[0]
    return None if found is None else type_pb2.Pin.FromString(found.object).title


def has_row(rockstore: Rockstore, id: int, *, now_ms: int = NOW_MS) -> bool:
    return bool(rockstore.store.rows(Kind.PIN, np.array([id], np.uint64), now_ms=now_ms))


def cell_count(rockstore: Rockstore, family: str) -> int:
    return len(list(rockstore.raw.scan(family)))


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one batch each"])
@pytest.mark.parametrize("order", list(permutations([1, 2, 3])))
def test_the_highest_version_stays_in_any_order(
    rockstore: Rockstore, order: tuple[int, ...], together: bool
) -> None:
    records = [put_pin(5, version=version, title=f"v{version}") for version in order]
    if together:
        rockstore.follow(*records)
    else:
        for one in records:
            rockstore.follow(one)
    assert title_of(rockstore, 5) == "v3"


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one batch each"])
def test_of_equal_versions_the_later_record_stays(rockstore: Rockstore, together: bool) -> None:
    first, second = put_pin(5, version=7, title="first"), put_pin(5, version=7, title="second")
    if together:
        rockstore.follow(first, second)
    else:
        rockstore.follow(first)
        rockstore.follow(second)
    assert title_of(rockstore, 5) == "second"


def test_version_zero_means_the_time_of_the_record(rockstore: Rockstore) -> None:
    rockstore.follow(put_pin(5, title="new", time_ms=NOW_MS), put_pin(5, title="old", time_ms=NOW_MS - 1))
    assert title_of(rockstore, 5) == "new"
    assert rockstore.store.objects(1, np.array([5], np.uint64), now_ms=NOW_MS)[0].version == NOW_MS  # type: ignore[union-attr]


def test_an_older_put_that_comes_late_does_not_undo_a_delete(rockstore: Rockstore) -> None:
    rockstore.follow(put_pin(5, version=1))
    rockstore.follow(delete_pin(5, version=3))
    rockstore.follow(put_pin(5, version=2, **ROW))  # type: ignore[arg-type]
    assert title_of(rockstore, 5) is None
    assert not has_row(rockstore, 5)
    rockstore.follow(put_pin(5, version=4, title="back", **ROW))  # type: ignore[arg-type]
    assert title_of(rockstore, 5) == "back"
    assert has_row(rockstore, 5)


def test_a_delete_of_what_never_came_holds_off_older_puts(rockstore: Rockstore) -> None:
    rockstore.follow(delete_pin(5, version=3), put_pin(5, version=2, **ROW))  # type: ignore[arg-type]
    assert title_of(rockstore, 5) is None
    assert not has_row(rockstore, 5)


def test_a_put_without_a_row_leaves_the_row_that_is_there(rockstore: Rockstore) -> None:
    rockstore.follow(put_pin(5, version=1, **ROW))  # type: ignore[arg-type]
    rockstore.follow(put_pin(5, version=2, title="no row"))
    assert title_of(rockstore, 5) == "no row"
    assert has_row(rockstore, 5)


def test_boards_come_from_board_events(rockstore: Rockstore) -> None:
    board = type_pb2.Board(title="tiles", owner=9)
    put = event_pb2.Event(put_board=event_pb2.PutBoard(board=5, board_data=board))
    rockstore.follow(record(put, key=5))
    found = rockstore.store.objects(Kind.BOARD, np.array([5], np.uint64), now_ms=NOW_MS)[0]
    assert found is not None
    assert (found.version, type_pb2.Board.FromString(found.object)) == (NOW_MS, board)
    delete = event_pb2.Event(delete_board=event_pb2.DeleteBoard(board=5, owner=9))
    rockstore.follow(record(delete, key=5, time_ms=NOW_MS + 1))
    assert rockstore.store.objects(Kind.BOARD, np.array([5], np.uint64), now_ms=NOW_MS) == [None]


def test_kinds_of_one_id_are_different_objects(rockstore: Rockstore) -> None:
    user = event_pb2.Event(put_object=event_pb2.PutObject(id=5, user=type_pb2.User(name="Ada")))
    rockstore.follow(put_pin(5, title="pin"), record(user, key=5))
    rockstore.follow(delete_pin(5, time_ms=NOW_MS + 1))
    assert title_of(rockstore, 5) is None
    assert rockstore.store.objects(Kind.USER, np.array([5], np.uint64), now_ms=NOW_MS)[0] is not None


def test_an_object_is_gone_from_the_millisecond_of_its_expiry(rockstore: Rockstore) -> None:
    rockstore.follow(put_pin(5, title="short", ttl_seconds=60, **ROW))  # type: ignore[arg-type]
    last_ms = NOW_MS + 59_999
    assert title_of(rockstore, 5, now_ms=last_ms) == "short"
    assert has_row(rockstore, 5, now_ms=last_ms)
    assert title_of(rockstore, 5, now_ms=last_ms + 1) is None
    assert not has_row(rockstore, 5, now_ms=last_ms + 1)


def test_gone_cells_are_purged_when_records_are_past_the_time_they_are_kept(tmp_path: Path) -> None:
    rockstore = open_rockstore(tmp_path, config=RockstoreConfig(gone_keep_s=86_400))
    rockstore.follow(delete_pin(5), put_pin(6, ttl_seconds=60, **ROW), put_pin(7))  # type: ignore[arg-type]
    assert (cell_count(rockstore, OBJECTS), cell_count(rockstore, ROWS)) == (3, 2)
    for turn in range(8):  # one shard in turn
        rockstore.follow(put_pin(7, time_ms=NOW_MS + DAY_MS + 60_001 + turn))
    assert (cell_count(rockstore, OBJECTS), cell_count(rockstore, ROWS), cell_count(rockstore, DUE)) == (
        1,
        0,
        0,
    )
    assert rockstore.registry.get_sample_value("feedmesh_rockstore_purged_total") == 4
    rockstore.close()


def test_purging_leaves_a_cell_that_was_written_again(tmp_path: Path) -> None:
    rockstore = open_rockstore(tmp_path, config=RockstoreConfig(gone_keep_s=0))
    rockstore.follow(put_pin(5, ttl_seconds=60), put_pin(6, ttl_seconds=60))
    rockstore.follow(put_pin(5, time_ms=NOW_MS + 1, title="stays"))
    for turn in range(8):
        # Put in the very batch that purges it: the put comes later, and stays.
        rockstore.follow(put_pin(6, time_ms=NOW_MS + 70_000 + turn, title="again"))
    assert title_of(rockstore, 5) == "stays"
    assert title_of(rockstore, 6) == "again"
    assert cell_count(rockstore, DUE) == 0
    rockstore.close()


def test_a_purge_looks_at_a_bounded_number_of_entries(tmp_path: Path) -> None:
    rockstore = open_rockstore(tmp_path, config=RockstoreConfig(gone_keep_s=0, purge_entries_max=3))
    for id in range(1, 101):
        rockstore.follow(delete_pin(id))
    before = cell_count(rockstore, OBJECTS)
    rockstore.follow(put_pin(500, time_ms=NOW_MS + 1))
    assert before - cell_count(rockstore, OBJECTS) == 3 - 1
    rockstore.close()


def edited(edit: Callable[[record_pb2.Record], object]) -> record_pb2.Record:
    poison = put_pin(5, **ROW)  # type: ignore[arg-type]
    edit(poison)
    return poison


def with_field(name: str, value: int | bytes) -> record_pb2.Record:
    return edited(lambda record: setattr(record.event.put_object, name, value))


@pytest.mark.parametrize(
    ("poison", "says"),
    [
        pytest.param(put_pin(0), "id 0", id="id 0"),
        pytest.param(edited(lambda r: setattr(r, "key", 6)), "key 6", id="another key"),
        pytest.param(edited(lambda r: r.event.put_object.ClearField("pin")), "kind", id="no object"),
        pytest.param(with_field("schema_version", 0), "version 0", id="no schema"),
        pytest.param(with_field("schema_version", 9), "version 9", id="unknown"),
        pytest.param(with_field("features_f32", b"123"), "multiple", id="ragged"),
        pytest.param(with_field("features_f32", b"1234"), "1 features", id="short"),
        pytest.param(put_pin(5, features=[1, 2, 3], schema_version=1), "0 ids", id="ids are missing"),
        pytest.param(
            put_pin(5, features=[1, 2, float("inf")], ids=[1] * 5, schema_version=1),
            "infinite",
            id="infinite",
        ),
        pytest.param(edited(lambda r: r.event.delete_object.SetInParent()), "id 0", id="delete of nothing"),
    ],
)
def test_records_that_make_no_sense_are_poison(
    rockstore: Rockstore, poison: record_pb2.Record, says: str
) -> None:
    with pytest.raises(PoisonRecord, match=says):
        rockstore.view.decode(poison)


def test_a_delete_without_a_known_kind_is_poison(rockstore: Rockstore) -> None:
    delete = event_pb2.Event(delete_object=event_pb2.DeleteObject(id=5))
    with pytest.raises(PoisonRecord, match="kind"):
        rockstore.view.decode(record(delete, key=5))


def test_other_events_are_passed_over(rockstore: Rockstore) -> None:
    follow = event_pb2.Event(follow=event_pb2.Follow(user=5))
    assert rockstore.view.decode(record(follow, key=5)) is None


FIRST_IDS = count(0, 10)
"""Ids that no example before has used: all share one store."""
WRITES = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.integers(1, 4), st.booleans(), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES, cuts=st.sets(st.integers(1, 11)))
def test_any_cut_into_batches_leaves_what_the_rules_say(
    rockstore: Rockstore, writes: list[tuple[int, int, bool, bool]], cuts: set[int]
) -> None:
    """The model: a cell per id; a write with a version at least the stored one replaces it."""
    objects: dict[int, tuple[int, str | None]] = {}
    rows: dict[int, tuple[int, bool]] = {}
    records: list[record_pb2.Record] = []
    first = next(FIRST_IDS)
    for place, (number, version, deleted, with_row) in enumerate(writes):
        id = first + number
        title = f"write {place}"
        row = ROW if with_row else {}
        records.append(
            delete_pin(id, version=version) if deleted else put_pin(id, version=version, title=title, **row)  # type: ignore[arg-type]
        )
        if version >= objects.get(id, (0, None))[0]:
            objects[id] = (version, None if deleted else title)
        if (deleted or with_row) and version >= rows.get(id, (0, False))[0]:
            rows[id] = (version, not deleted)
    edges = [0, *sorted(cut for cut in cuts if cut < len(records)), len(records)]
    for start, end in pairwise(edges):
        rockstore.follow(*records[start:end])
    for id in (first + 1, first + 2):
        assert title_of(rockstore, id) == objects.get(id, (0, None))[1]
        assert has_row(rockstore, id) == rows.get(id, (0, False))[1]
