"""The demo's world as events: valid for Ingest, addressed by name, and silent about tastes."""

from __future__ import annotations

import pytest

from feedmesh.log.v1 import event_pb2
from services.chassis.ids import string_id
from services.cli.demo import events
from services.cli.demo.addresses import addressed
from services.cli.demo.audience import ActionKind, Session
from services.cli.demo.world import World
from services.ingest.config import EventLimits
from services.ingest.validate import EventValidator
from services.rockstore.config import PIN_SCHEMA

SCHEMA = PIN_SCHEMA.build()


@pytest.fixture(scope="module")
def named(world: World) -> World:
    return addressed(world)


@pytest.fixture(scope="module")
def ids(named: World) -> events.Ids:
    return events.Ids.of(named)


@pytest.fixture(scope="module")
def everything(named: World, ids: events.Ids, sessions: list[Session]) -> list[event_pb2.Event]:
    return [
        *events.people_and_boards(named, ids),
        *events.pins(named, ids, SCHEMA),
        *events.follows(named, ids),
        *events.weeks(named, ids, sessions),
    ]


def test_ingest_takes_every_event(named: World, everything: list[event_pb2.Event]) -> None:
    validator = EventValidator(EventLimits())
    for first in range(0, len(everything), 500):
        batch = everything[first : first + 500]
        size = sum(event.ByteSize() for event in batch)
        validator.check(batch, request_bytes=size, now_ms=named.now_ms)


def test_every_event_has_an_id_of_its_own(everything: list[event_pb2.Event]) -> None:
    assert len({event.id for event in everything}) == len(everything)


def test_ids_are_those_of_the_names(named: World, ids: events.Ids) -> None:
    assert ids.people[3] == string_id(named.people.keys[3])
    assert ids.boards[5] == string_id(named.boards.keys[5])
    assert ids.pins[7] == string_id("pin-000008")


def test_rows_have_the_schemas_columns(named: World, ids: events.Ids) -> None:
    put = next(iter(events.pins(named, ids, SCHEMA))).put_object
    assert len(put.features_f32) == 4 * len(SCHEMA.features)
    assert len(put.feature_ids_u64) == 8 * len(SCHEMA.id_columns)


def test_what_the_audience_did_is_all_there(
    everything: list[event_pb2.Event], sessions: list[Session]
) -> None:
    kinds = [action.kind for session in sessions for action in session.actions]
    bodies = [event.WhichOneof("body") for event in everything]
    assert bodies.count("impressions") == len(sessions)
    assert bodies.count("action") == sum(kind is not ActionKind.SAVE for kind in kinds)
    saves = sum(kind is ActionKind.SAVE for kind in kinds)
    assert bodies.count("save_pin") == saves + objects_of(everything).count("pin")


def objects_of(everything: list[event_pb2.Event]) -> list[str | None]:
    """Kinds of the objects put."""
    puts = [event.put_object for event in everything if event.WhichOneof("body") == "put_object"]
    return [put.WhichOneof("object") for put in puts]


def test_every_pin_is_in_its_interests_and_every_interest_has_its_name(
    named: World, ids: events.Ids, everything: list[event_pb2.Event]
) -> None:
    placed = [event.put_pin_interests for event in everything if event.HasField("put_pin_interests")]
    assert [put.pin for put in placed] == ids.pins
    for pin, put in enumerate(placed):
        names = [string_id(name) for name in named.interest_names_of(pin)]
        assert list(put.interests) == names
        weights = dict(zip(put.interests, put.weights, strict=True))
        assert weights[names[0]] == 1.0
        assert all(0.0 < weight < 1.0 for weight in list(put.weights)[1:])
        assert (put.created_ms, put.quality) == (named.pins.created_ms[pin], named.pins.quality[pin])
    assert objects_of(everything).count("interest") == len(named.interest_names)


def test_people_follow_interests(named: World, ids: events.Ids) -> None:
    followed: dict[int, int] = dict.fromkeys(ids.people, 0)
    for event in events.follows(named, ids):
        if event.follow.target.HasField("interest"):
            assert event.follow.target.interest in named.interest_ids
            followed[event.follow.user] += 1
    counts = sorted(followed.values())
    assert counts[0] >= 1
    assert 2 <= counts[len(counts) // 10] <= counts[len(counts) * 9 // 10] <= 5
