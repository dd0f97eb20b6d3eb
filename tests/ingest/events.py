"""Valid events of every kind, to be made invalid one field at a time."""

from __future__ import annotations

from collections.abc import Callable

from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2

NOW_MS = 1_700_000_000_000


def _event(**body: object) -> event_pb2.Event:
    return event_pb2.Event(id="e", time_ms=NOW_MS, **body)  # type: ignore[arg-type]


def follow() -> event_pb2.Event:
    return _event(follow=event_pb2.Follow(user=1, target=event_pb2.FollowTarget(board=2), affinity=0.5))


def unfollow() -> event_pb2.Event:
    return _event(unfollow=event_pb2.Unfollow(user=1, target=event_pb2.FollowTarget(user=2)))


def put_board() -> event_pb2.Event:
    board = type_pb2.Board(title="Chairs", owner=9, created_ms=NOW_MS)
    return _event(put_board=event_pb2.PutBoard(board=2, board_data=board))


def delete_board() -> event_pb2.Event:
    return _event(delete_board=event_pb2.DeleteBoard(board=2, owner=9))


def save_pin() -> event_pb2.Event:
    return _event(save_pin=event_pb2.SavePin(pin=3, board=2, user=1, quality=0.7, interests=[5, 6], owner=9))


def remove_pin() -> event_pb2.Event:
    return _event(remove_pin=event_pb2.RemovePin(pin=3, board=2, user=1))


def put_pin_interests() -> event_pb2.Event:
    return _event(
        put_pin_interests=event_pb2.PutPinInterests(
            pin=3, interests=[5, 6], weights=[0.5, 1.0], quality=0.7, created_ms=NOW_MS, removed_interests=[7]
        )
    )


def put_object() -> event_pb2.Event:
    return _event(
        put_object=event_pb2.PutObject(
            id=3,
            pin=type_pb2.Pin(title="A chair", interests=["chairs"], language="en"),
            features_f32=b"\x00\x00\x80\x3f",
            feature_ids_u64=bytes(8),
            schema_version=1,
        )
    )


def delete_object() -> event_pb2.Event:
    return _event(delete_object=event_pb2.DeleteObject(id=3, kind=type_pb2.OBJECT_KIND_PIN))


def action() -> event_pb2.Event:
    return _event(action=event_pb2.Action(user=1, pin=3, type=type_pb2.ACTION_TYPE_CLICK, board=2))


def impressions() -> event_pb2.Event:
    return _event(
        impressions=event_pb2.Impressions(
            user=1, pins=range(100, 140), boards=range(200, 240), type=type_pb2.ACTION_TYPE_SERVED
        )
    )


def hide() -> event_pb2.Event:
    return _event(hide=event_pb2.Hide(user=1, kind=type_pb2.OBJECT_KIND_BOARD, id=2))


def forget_user() -> event_pb2.Event:
    return _event(forget_user=event_pb2.ForgetUser(user=1))


MAKERS: dict[str, Callable[[], event_pb2.Event]] = {
    maker.__name__: maker
    for maker in (
        *(follow, unfollow, put_board, delete_board, save_pin, remove_pin),
        *(put_pin_interests, put_object, delete_object, action, impressions, hide, forget_user),
    )
}


def one_of_each() -> list[event_pb2.Event]:
    """One valid event of every kind, ids e0, e1, …"""
    events = [maker() for maker in MAKERS.values()]
    for number, event in enumerate(events):
        event.id = f"e{number}"
    return events
