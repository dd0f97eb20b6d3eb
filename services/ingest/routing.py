"""Which records an event becomes: pure, one small function per kind of event.

    event                                  records: topic @ key, role
    follow, unfollow                       graph @ user SOURCE; graph @ target TARGET
    put_board, delete_board                graph @ owner OWNER; pins @ board BOARD; objects @ board OBJECT
    save_pin, remove_pin                   pins @ board BOARD; actions @ user SOURCE; counts @ pin COUNTS
    put_pin_interests                      pins @ each interest that it names INTEREST
    action                                 actions @ user SOURCE; counts @ pin COUNTS
    impressions                            actions @ user SOURCE; counts: packed, one record per partition
    put_object, delete_object              objects @ id OBJECT
    hide                                   actions @ user SOURCE; graph @ user SOURCE
    forget_user                            actions @ user SOURCE; graph @ user SOURCE

A view decodes the `actions` record of a save_pin as an action of type SAVE. The packed counts of
impressions are not routed by one key: `records.py` splits them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from feedmesh.log.v1 import record_pb2

GRAPH, PINS, ACTIONS, COUNTS, OBJECTS = "graph", "pins", "actions", "counts", "objects"

SOURCE: Final = int(record_pb2.ROLE_SOURCE)
TARGET: Final = int(record_pb2.ROLE_TARGET)
OWNER: Final = int(record_pb2.ROLE_OWNER)
BOARD: Final = int(record_pb2.ROLE_BOARD)
OBJECT: Final = int(record_pb2.ROLE_OBJECT)
COUNTED: Final = int(record_pb2.ROLE_COUNTS)
INTEREST: Final = int(record_pb2.ROLE_INTEREST)

Route: TypeAlias = tuple[str, int, int]
"""(topic, key, role)."""


def follow_target(target: Any) -> int:
    """The id in a FollowTarget; 0 when none is set."""
    kind = target.WhichOneof("target")
    return int(getattr(target, kind)) if kind else 0


def _follow(body: Any) -> tuple[Route, ...]:
    return (GRAPH, body.user, SOURCE), (GRAPH, follow_target(body.target), TARGET)


def _put_board(body: Any) -> tuple[Route, ...]:
    return _board(body.board, body.board_data.owner)


def _delete_board(body: Any) -> tuple[Route, ...]:
    return _board(body.board, body.owner)


def _board(board: int, owner: int) -> tuple[Route, ...]:
    return (GRAPH, owner, OWNER), (PINS, board, BOARD), (OBJECTS, board, OBJECT)


def _saved_pin(body: Any) -> tuple[Route, ...]:
    return (PINS, body.board, BOARD), (ACTIONS, body.user, SOURCE), (COUNTS, body.pin, COUNTED)


def _pin_interests(body: Any) -> tuple[Route, ...]:
    return tuple((PINS, interest, INTEREST) for interest in (*body.interests, *body.removed_interests))


def _action(body: Any) -> tuple[Route, ...]:
    return (ACTIONS, body.user, SOURCE), (COUNTS, body.pin, COUNTED)


def _impressions(body: Any) -> tuple[Route, ...]:
    return ((ACTIONS, body.user, SOURCE),)


def _object(body: Any) -> tuple[Route, ...]:
    return ((OBJECTS, body.id, OBJECT),)


def _user(body: Any) -> tuple[Route, ...]:
    return (ACTIONS, body.user, SOURCE), (GRAPH, body.user, SOURCE)


ROUTES: Final[Mapping[str, Callable[[Any], tuple[Route, ...]]]] = {
    "follow": _follow,
    "unfollow": _follow,
    "put_board": _put_board,
    "delete_board": _delete_board,
    "save_pin": _saved_pin,
    "remove_pin": _saved_pin,
    "put_pin_interests": _pin_interests,
    "put_object": _object,
    "delete_object": _object,
    "action": _action,
    "impressions": _impressions,
    "hide": _user,
    "forget_user": _user,
}
"""The records of an event, by the name of its body. A test compares the names with the proto."""
