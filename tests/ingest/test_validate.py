"""Every fault of every event is named; what is valid passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import LimitExceeded
from services.ingest.config import EventLimits
from services.ingest.validate import EventValidator, InvalidEvents
from services.ingest.validate_bodies import CHECKS
from tests.ingest import events as make
from tests.ingest.events import MAKERS, NOW_MS

Change = Callable[[event_pb2.Event], object]


def check(events: list[event_pb2.Event], limits: EventLimits = EventLimits()) -> None:  # noqa: B008
    size = sum(event.ByteSize() for event in events)
    EventValidator(limits).check(events, request_bytes=size, now_ms=NOW_MS)


def test_every_kind_of_event_has_its_rules() -> None:
    assert set(CHECKS) == set(MAKERS)


@pytest.mark.parametrize("kind", list(MAKERS))
def test_a_valid_event_passes(kind: str) -> None:
    check([MAKERS[kind]()])


@pytest.mark.parametrize("kind", list(MAKERS))
def test_an_event_with_an_empty_body_is_refused(kind: str) -> None:
    event = event_pb2.Event(id="e", time_ms=NOW_MS)
    getattr(event, kind).SetInParent()
    with pytest.raises(InvalidEvents, match=rf"events\[0\]\.{kind}\."):
        check([event])


def _set(path: str, value: object) -> Change:
    def change(event: event_pb2.Event) -> None:
        *parents, last = path.split(".")
        target: object = event
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)

    return change


def _fill(path: str, values: list[object]) -> Change:
    def change(event: event_pb2.Event) -> None:
        target: object = event
        for part in path.split("."):
            target = getattr(target, part)
        del target[:]  # type: ignore[attr-defined]
        target.extend(values)  # type: ignore[attr-defined]

    return change


def _put_none(event: event_pb2.Event) -> None:
    event.put_pin_interests.CopyFrom(event_pb2.PutPinInterests(pin=3))


def _put_many(event: event_pb2.Event) -> None:
    event.put_pin_interests.CopyFrom(event_pb2.PutPinInterests(pin=3, interests=range(1, 18)))


def _remove_only(event: event_pb2.Event) -> None:
    event.put_pin_interests.CopyFrom(event_pb2.PutPinInterests(pin=3, removed_interests=[7]))


NAN = float("nan")
FAULTS: list[tuple[str, Callable[[], event_pb2.Event], Change, str]] = [
    ("no body", make.action, lambda event: event.ClearField("action"), r"body: none is set"),
    ("long id", make.action, _set("id", "x" * 65), r"id: 65 bytes, at most 64"),
    ("long id in bytes", make.action, _set("id", "é" * 33), r"id: 66 bytes"),
    ("negative time", make.action, _set("time_ms", -1), r"time_ms: -1"),
    ("future", make.action, _set("time_ms", NOW_MS + 300_001), r"time_ms: .* ahead"),
    (
        "large event",
        make.put_object,
        _set("put_object.features_f32", bytes(300_000)),
        r"300\d+ bytes, at most",
    ),
    ("follower 0", make.follow, _set("follow.user", 0), r"follow\.user: is 0"),
    ("no target", make.follow, lambda e: e.follow.target.ClearField("board"), r"follow\.target"),
    ("target 0", make.unfollow, _set("unfollow.target.user", 0), r"unfollow\.target"),
    ("affinity NaN", make.follow, _set("follow.affinity", NAN), r"follow\.affinity: nan"),
    ("affinity above 1", make.follow, _set("follow.affinity", 1.5), r"follow\.affinity: 1.5"),
    ("affinity negative", make.follow, _set("follow.affinity", -0.5), r"follow\.affinity: -0.5"),
    ("board 0", make.put_board, _set("put_board.board", 0), r"put_board\.board: is 0"),
    ("no owner", make.put_board, _set("put_board.board_data.owner", 0), r"put_board\.board_data\.owner"),
    ("long title", make.put_board, _set("put_board.board_data.title", "é" * 251), r"title: 502 bytes"),
    ("old board", make.put_board, _set("put_board.board_data.created_ms", -5), r"created_ms: -5"),
    ("deleted owner 0", make.delete_board, _set("delete_board.owner", 0), r"delete_board\.owner"),
    ("saved pin 0", make.save_pin, _set("save_pin.pin", 0), r"save_pin\.pin: is 0"),
    ("quality NaN", make.save_pin, _set("save_pin.quality", NAN), r"save_pin\.quality: nan"),
    ("quality infinite", make.save_pin, _set("save_pin.quality", float("inf")), r"quality: inf"),
    ("many interests", make.save_pin, _fill("save_pin.interests", list(range(1, 18))), r"17, at most 16"),
    ("interest 0", make.save_pin, _fill("save_pin.interests", [1, 0]), r"interests: holds the id 0"),
    ("removed user 0", make.remove_pin, _set("remove_pin.user", 0), r"remove_pin\.user"),
    ("put pin 0", make.put_pin_interests, _set("put_pin_interests.pin", 0), r"put_pin_interests\.pin: is 0"),
    (
        "put interest 0",
        make.put_pin_interests,
        _fill("put_pin_interests.interests", [5, 0]),
        r"interests: hol",
    ),
    (
        "removed interest 0",
        make.put_pin_interests,
        _fill("put_pin_interests.removed_interests", [0]),
        r"removed_interests: holds the id 0",
    ),
    (
        "interest put and removed",
        make.put_pin_interests,
        _fill("put_pin_interests.removed_interests", [6]),
        r"named twice, or both put and removed",
    ),
    (
        "interest put twice",
        make.put_pin_interests,
        _fill("put_pin_interests.interests", [5, 5]),
        r"named twice",
    ),
    ("many put interests", make.put_pin_interests, _put_many, r"interests: 17, at most 16"),
    (
        "many removed interests",
        make.put_pin_interests,
        _fill("put_pin_interests.removed_interests", list(range(11, 28))),
        r"removed_interests: 17",
    ),
    ("no interests", make.put_pin_interests, _put_none, r"interests: none, and none removed"),
    (
        "unaligned weights",
        make.put_pin_interests,
        _fill("put_pin_interests.weights", [1]),
        r"weights: 1 beside 2",
    ),
    ("weight 0", make.put_pin_interests, _fill("put_pin_interests.weights", [1, 0]), r"weights: holds one"),
    ("weight NaN", make.put_pin_interests, _fill("put_pin_interests.weights", [1, NAN]), r"weights: holds"),
    ("weight of 2", make.put_pin_interests, _fill("put_pin_interests.weights", [1, 2]), r"weights: holds"),
    ("put quality", make.put_pin_interests, _set("put_pin_interests.quality", 1.5), r"quality: 1.5"),
    ("made before 1970", make.put_pin_interests, _set("put_pin_interests.created_ms", -1), r"created_ms: -1"),
    (
        "made in the future",
        make.put_pin_interests,
        _set("put_pin_interests.created_ms", NOW_MS + 300_001),
        r"created_ms: \d+ is negative, or after",
    ),
    ("long interest", make.put_object, _set("put_object.interest.title", "x" * 501), r"interest\.title: 501"),
    ("long interest key", make.put_object, _set("put_object.interest.key", "x" * 501), r"interest\.key: 501"),
    ("object 0", make.put_object, _set("put_object.id", 0), r"put_object\.id"),
    ("no object", make.put_object, lambda e: e.put_object.ClearField("pin"), r"object: none is set"),
    ("ragged floats", make.put_object, _set("put_object.features_f32", bytes(5)), r"features_f32: 5 bytes"),
    (
        "ragged ids",
        make.put_object,
        _set("put_object.feature_ids_u64", bytes(9)),
        r"feature_ids_u64: 9 bytes",
    ),
    (
        "feature NaN",
        make.put_object,
        _set("put_object.features_f32", np.array([1, NAN], "<f4").tobytes()),
        r"features_f32: holds NaN",
    ),
    (
        "many features",
        make.put_object,
        _set("put_object.features_f32", bytes(4 * 4_097)),
        r"features_f32: 4097 columns, at most 4096",
    ),
    ("no schema", make.put_object, _set("put_object.schema_version", 0), r"schema_version: is 0"),
    ("long link", make.put_object, _set("put_object.pin.link", "x" * 2_001), r"pin\.link: 2001 bytes"),
    ("long image", make.put_object, _set("put_object.pin.image", "x" * 2_001), r"pin\.image"),
    ("long description", make.put_object, _set("put_object.pin.description", "x" * 5_001), r"description"),
    ("many names", make.put_object, _fill("put_object.pin.interests", ["x"] * 17), r"pin\.interests: 17"),
    ("long name", make.put_object, _set("put_object.user.name", "x" * 501), r"user\.name"),
    ("deleted kind 0", make.delete_object, _set("delete_object.kind", 0), r"delete_object\.kind: 0"),
    ("kind unknown", make.delete_object, _set("delete_object.kind", 77), r"delete_object\.kind: 77"),
    ("actor 0", make.action, _set("action.user", 0), r"action\.user"),
    ("action 0", make.action, _set("action.type", 0), r"action\.type: 0"),
    ("action unknown", make.action, _set("action.type", 99), r"action\.type: 99"),
    ("served action", make.action, _set("action.type", type_pb2.ACTION_TYPE_SERVED), r"impressions events"),
    ("no pins", make.impressions, _fill("impressions.pins", []), r"pins: 0, must be 1 to 1000"),
    ("many pins", make.impressions, _fill("impressions.pins", [1] * 1_001), r"pins: 1001"),
    ("pin 0", make.impressions, _fill("impressions.pins", [0] * 40), r"pins: holds the id 0"),
    ("unaligned boards", make.impressions, _fill("impressions.boards", [1]), r"boards: 1 beside 40 pins"),
    ("clicked impressions", make.impressions, _set("impressions.type", 3), r"impressions\.type: 3"),
    ("hidden interest", make.hide, _set("hide.kind", type_pb2.OBJECT_KIND_INTEREST), r"hide\.kind: 4"),
    ("hidden 0", make.hide, _set("hide.id", 0), r"hide\.id"),
    ("forgotten 0", make.forget_user, _set("forget_user.user", 0), r"forget_user\.user"),
]


@pytest.mark.parametrize(
    ("maker", "change", "fault"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS]
)
def test_a_fault_is_named(maker: Callable[[], event_pb2.Event], change: Change, fault: str) -> None:
    event = maker()
    change(event)
    with pytest.raises(InvalidEvents, match=fault):
        check([event])


PASSES: list[tuple[str, Callable[[], event_pb2.Event], Change]] = [
    ("no id", make.action, _set("id", "")),
    ("no time", make.action, _set("time_ms", 0)),
    ("five minutes ahead", make.action, _set("time_ms", NOW_MS + 300_000)),
    ("long ago", make.action, _set("time_ms", 1)),
    ("affinity left out", make.follow, _set("follow.affinity", 0)),
    ("quality of 1", make.save_pin, _set("save_pin.quality", 1)),
    ("sixteen interests", make.save_pin, _fill("save_pin.interests", list(range(1, 17)))),
    ("no boards", make.impressions, _fill("impressions.boards", [])),
    ("unknown board", make.impressions, _fill("impressions.boards", [0] * 40)),
    ("title at its limit", make.put_board, _set("put_board.board_data.title", "x" * 500)),
    ("no weights", make.put_pin_interests, _fill("put_pin_interests.weights", [])),
    ("a removal alone", make.put_pin_interests, _remove_only),
    ("no time of making", make.put_pin_interests, _set("put_pin_interests.created_ms", 0)),
    ("made just now", make.put_pin_interests, _set("put_pin_interests.created_ms", NOW_MS + 300_000)),
    ("an interest", make.put_object, _set("put_object.interest.title", "Chairs")),
    (
        "a deleted interest",
        make.delete_object,
        _set("delete_object.kind", type_pb2.OBJECT_KIND_INTEREST),
    ),
    ("no feature row", make.put_object, _set("put_object.features_f32", b"")),
]


@pytest.mark.parametrize(("maker", "change"), [case[1:] for case in PASSES], ids=[case[0] for case in PASSES])
def test_what_the_proto_allows_passes(maker: Callable[[], event_pb2.Event], change: Change) -> None:
    event = maker()
    change(event)
    check([event])


def test_every_fault_of_every_event_is_named_with_its_index() -> None:
    events = one, two, three = make.save_pin(), make.action(), make.follow()
    one.save_pin.pin = 0
    one.save_pin.board = 0
    three.follow.user = 0
    assert two.action.user
    with pytest.raises(InvalidEvents) as caught:
        check(list(events))
    for place in ("events[0].save_pin.pin", "events[0].save_pin.board", "events[2].follow.user"):
        assert place in caught.value.message
    assert "events[1]" not in caught.value.message
    assert caught.value.facts["faults"] == "3"


def test_a_refusal_fits_into_trailing_metadata_and_counts_what_it_leaves_out() -> None:
    events = [event_pb2.Event() for _ in range(1_000)]
    with pytest.raises(InvalidEvents, match="and 990 more faults") as caught:
        check(events)
    assert len(caught.value.message) < 2_000


@pytest.mark.parametrize("count", [0, 1_001], ids=["none", "too many"])
def test_the_number_of_events_is_bounded(count: int) -> None:
    with pytest.raises(LimitExceeded, match="must have 1 to 1000"):
        check([make.action()] * count)


def test_the_bytes_of_a_request_are_bounded() -> None:
    with pytest.raises(LimitExceeded, match="split it"):
        check([make.action()] * 100, EventLimits(request_bytes_max=1 << 10))
