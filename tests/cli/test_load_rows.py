"""Rows of files become events, and faults say what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import unpack_f32, unpack_u64
from services.chassis.ids import string_id
from services.cli.load.faults import RowFault
from services.cli.load.files import PlacedRow, files_of, rows_of
from services.cli.load.ids import Names
from services.cli.load.rows import KINDS, RowReader

NOW_MS = 1_700_000_000_000
SCHEMA = rockstore_pb2.GetSchemaResponse(
    schema_version=3,
    features=["quality", "extra", "interest_count"],
    defaults=[0.5, 7.0, 0.0],
    id_columns=["board", "owner", "interest_0", "interest_1"],
)


@pytest.fixture
def reader() -> RowReader:
    return RowReader(pin_schema=SCHEMA, now_ms=NOW_MS)


def test_every_example_of_the_documentation_is_read(reader: RowReader) -> None:
    text = (Path(__file__).parents[2] / "docs" / "loading.md").read_text()
    block = re.search(r"```jsonl\n(.*?)```", text, re.S)
    assert block is not None
    kinds = set()
    for line in block.group(1).splitlines():
        row = json.loads(line)
        assert reader.events(row["type"], row)
        kinds.add(row["type"])
    assert kinds == set(KINDS)


def test_pin_becomes_its_object_with_feature_row_its_first_save_and_its_interests(reader: RowReader) -> None:
    row = {"id": "p", "owner": 5, "board": "b", "interests": ["sea"], "quality": 0.25, "created": NOW_MS - 1}
    put, save, put_interests = reader.events("pin", row)
    assert unpack_f32(put.put_object.features_f32).tolist() == [0.25, 7.0, 1.0]
    ids = [string_id("b"), 5, string_id("sea"), 0]
    assert unpack_u64(put.put_object.feature_ids_u64).tolist() == ids
    assert put.put_object.schema_version == 3
    assert put.put_object.pin.key == "p"
    assert (save.save_pin.pin, save.save_pin.board, save.save_pin.user) == (string_id("p"), string_id("b"), 5)
    assert put.time_ms == save.time_ms == put_interests.time_ms == NOW_MS - 1
    placed = put_interests.put_pin_interests
    assert (placed.pin, list(placed.interests), list(placed.weights)) == (
        string_id("p"),
        [string_id("sea")],
        [],
    )
    assert (placed.quality, placed.created_ms) == (0.25, NOW_MS - 1)


def test_pin_without_interests_is_put_into_none(reader: RowReader) -> None:
    assert [event.WhichOneof("body") for event in reader.events("pin", {"id": 1, "owner": 5})] == [
        "put_object"
    ]


@pytest.mark.parametrize(
    "columns",
    [
        {"interests": {"calm": 0.25, "sea": 0.75}},
        {"interests": ["calm", "sea"], "interest_weights": [0.25, 0.75]},
        {"interests": "calm;sea", "interest_weights": "0.25; 0.75"},
    ],
    ids=["a map", "lists", "text"],
)
def test_interests_have_weights_and_the_closest_comes_first(
    reader: RowReader, columns: dict[str, Any]
) -> None:
    put, placed = reader.events("pin", {"id": 1, "owner": 5} | columns)
    assert list(placed.put_pin_interests.interests) == [string_id("sea"), string_id("calm")]
    assert list(placed.put_pin_interests.weights) == [0.75, 0.25]
    assert list(put.put_object.pin.interests) == ["sea", "calm"]
    (save,) = reader.events("save", {"pin": 1, "board": 2, "user": 3})
    assert list(save.save_pin.interests) == [string_id("sea"), string_id("calm")]


def test_an_interest_has_an_object_with_its_name_as_title(reader: RowReader) -> None:
    for column in ("id", "name"):
        (event,) = reader.events("interest", {column: "sea"})
        assert (event.put_object.id, event.put_object.interest.title) == (string_id("sea"), "sea")
    (event,) = reader.events("interest", {"id": "sea", "title": "The sea"})
    assert (event.put_object.interest.title, event.put_object.interest.key) == ("The sea", "sea")


def test_a_pin_that_is_known_keeps_its_age_in_new_interests(reader: RowReader) -> None:
    reader.events("pin", {"id": 1, "owner": 5, "quality": 0.25, "created": 7_000})
    row = {"pin": 1, "interests": {"sea": 0.5}, "removed_interests": ["calm"]}
    (event,) = reader.events("put-pin-interests", row)
    placed = event.put_pin_interests
    assert (placed.created_ms, placed.quality, list(placed.weights)) == (7_000, 0.25, [0.5])
    assert (list(placed.removed_interests), event.time_ms) == ([string_id("calm")], NOW_MS)
    (event,) = reader.events("put-pin-interests", {"pin": 2, "removed_interests": "sea"})
    assert (event.put_pin_interests.created_ms, len(event.put_pin_interests.interests)) == (0, 0)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("pin", type_pb2.OBJECT_KIND_PIN),
        ("board", type_pb2.OBJECT_KIND_BOARD),
        ("owner", type_pb2.OBJECT_KIND_USER),
    ],
)
def test_hiding_names_what_and_may_be_taken_back(
    reader: RowReader, column: str, kind: type_pb2.ObjectKind.ValueType
) -> None:
    for undo in (False, True, "true", "no"):
        (event,) = reader.events("hide", {"user": 1, column: 2, "undo": undo})
        hide = event.hide
        assert (hide.user, hide.kind, hide.id, hide.undo) == (1, kind, 2, undo in (True, "true"))


def test_action_is_completed_from_the_pin_that_was_loaded(reader: RowReader) -> None:
    reader.events("pin", {"id": 1, "owner": 5, "board": 9, "interests": ["sea"]})
    (event,) = reader.events("action", {"user": 2, "pin": 1, "action": "click"})
    assert (event.action.board, event.action.owner) == (9, 5)
    assert list(event.action.interests) == [string_id("sea")]


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("boat", {}, "must be one of"),
        ("board", {"id": 1}, "owner is missing"),
        ("user", {"id": 0}, "1 to 2^64"),
        ("user", {"id": -3}, "1 to 2^64"),
        ("user", {"id": 2**64}, "1 to 2^64"),
        ("user", {"id": 1.5}, "positive integer or a string"),
        ("user", {"id": True}, "positive integer or a string"),
        ("follow", {"user": 1}, "give one"),
        ("follow", {"user": 1, "board": 2, "interest": 3}, "give one"),
        ("follow", {"user": 1, "board": 2, "affinity": 2}, "finite number"),
        ("pin", {"id": 1, "owner": 2, "quality": "nan"}, "finite number"),
        ("pin", {"id": 1, "owner": 2, "created": "yesterday"}, "ISO 8601"),
        ("pin", {"id": 1, "owner": 2, "features": {"colour": 1}}, "does not declare"),
        ("pin", {"id": 1, "owner": 2, "interests": 3}, "must be a list"),
        ("pin", {"id": 1, "owner": 2, "interests": list(range(1, 18))}, "at most 16"),
        ("pin", {"id": 1, "owner": 2, "interests": {"sea": 0}}, "leave out what weighs nothing"),
        ("pin", {"id": 1, "owner": 2, "interests": {"sea": 2}}, "finite number"),
        ("pin", {"id": 1, "owner": 2, "interests": ["sea"], "interest_weights": [1, 1]}, "2 weights for 1"),
        ("pin", {"id": 1, "owner": 2, "interests": {"sea": 1}, "interest_weights": [1]}, "give one"),
        ("interest", {"title": "sea"}, "none of id, name is given"),
        ("put-pin-interests", {"pin": 1}, "give one, or both"),
        ("hide", {"user": 1, "pin": 2, "board": 3}, "pin and board of pin, board, owner is given"),
        ("hide", {"user": 1, "pin": 2, "undo": "maybe"}, "true or false"),
        ("action", {"user": 1, "pin": 2, "action": "stare"}, "must be one of"),
        ("impressions", {"user": 1, "pins": []}, "1 to 1,000"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_faulty_rows_say_what_is_expected(
    reader: RowReader, kind: str, row: dict[str, Any], words: str
) -> None:
    with pytest.raises(RowFault, match=re.escape(words)):
        reader.events(kind, row)


def test_two_names_with_one_id_are_refused() -> None:
    names = Names()
    names.id_of("board", "sea", column="board")
    with pytest.raises(RowFault, match="rename one"):
        names.id_of("board", string_id("sea"), column="board")
    assert names.id_of("user", string_id("sea"), column="user"), "another kind has ids of its own"


@given(st.text(min_size=1, max_size=30))
def test_the_same_name_has_the_same_id_every_time(name: str) -> None:
    names = Names()
    assert names.id_of("pin", f"x{name}", column="pin") == names.id_of("pin", f"x{name}", column="pin")


def test_files_name_their_kind_and_their_bad_lines(tmp_path: Path) -> None:
    (tmp_path / "pins.csv").write_text("id,owner\n1,2\n3\n")
    (tmp_path / "users.jsonl").write_text('{"id": 1}\nnonsense\n[]\n')
    users, pins = files_of([tmp_path])
    assert (users.name, pins.name) == ("users.jsonl", "pins.csv")
    good, bad, other = rows_of(users)
    assert isinstance(good, PlacedRow)
    assert good.kind == "user"
    assert isinstance(bad, tuple)
    assert bad[0] == 2
    assert isinstance(other, tuple)
    first, ragged = rows_of(pins)
    assert isinstance(first, PlacedRow)
    assert first.row == {"id": "1", "owner": "2"}
    assert isinstance(ragged, tuple)
