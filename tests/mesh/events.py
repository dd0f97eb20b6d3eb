"""Events as clients publish them, with ids that no other test uses.

Owns the ids of this test process: `new_ids` never gives the same one twice, so tests share a mesh without
seeing each other. Every event has an id, so that it may be sent again.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from typing import Any, Final

from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2

_PREFIX: Final = os.urandom(6).hex()
_EVENTS = itertools.count()
_IDS = itertools.count(1_000)

Event = event_pb2.Event


def new_id() -> int:
    """An id of nothing yet."""
    return next(_IDS)


def new_ids(count: int) -> list[int]:
    """Ids of nothing yet."""
    return list(itertools.islice(_IDS, count))


def event(*, time_ms: int = 0, **body: Any) -> Event:
    """An event with an id of its own."""
    return Event(id=f"{_PREFIX}-{next(_EVENTS)}", time_ms=time_ms, **body)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def follow(user: int, *, affinity: float = 0.0, **target: int) -> Event:
    """`user` follows `user=`, `board=` or `interest=`."""
    return event(
        follow=event_pb2.Follow(user=user, target=event_pb2.FollowTarget(**target), affinity=affinity)
    )


def follow_user(user: int, other: int) -> Event:
    """`user` follows another user."""
    return event(follow=event_pb2.Follow(user=user, target=event_pb2.FollowTarget(user=other)))


def unfollow(user: int, **target: int) -> Event:
    """`user` stops following a board or an interest."""
    return event(unfollow=event_pb2.Unfollow(user=user, target=event_pb2.FollowTarget(**target)))


def unfollow_user(user: int, other: int) -> Event:
    """`user` stops following another user."""
    return event(unfollow=event_pb2.Unfollow(user=user, target=event_pb2.FollowTarget(user=other)))


def put_board(board: int, *, owner: int, title: str = "") -> Event:
    """`owner` makes a board."""
    return event(
        put_board=event_pb2.PutBoard(board=board, board_data=type_pb2.Board(owner=owner, title=title))
    )


def save(pin: int, *, board: int, user: int, quality: float = 0.0, time_ms: int = 0, owner: int = 0) -> Event:
    """`user` saves a pin to a board."""
    return event(
        time_ms=time_ms,
        save_pin=event_pb2.SavePin(pin=pin, board=board, user=user, quality=quality, owner=owner),
    )


def put_interests(
    pin: int, interests: Sequence[int], *, removed: Sequence[int] = (), quality: float = 0.0
) -> Event:
    """A pin is put into interests, the first closest, and taken out of others."""
    weights = [1.0 / place for place in range(1, len(interests) + 1)]
    return event(
        put_pin_interests=event_pb2.PutPinInterests(
            pin=pin, interests=interests, weights=weights, removed_interests=removed, quality=quality
        )
    )


def remove(pin: int, *, board: int, user: int) -> Event:
    """`user` takes a pin off a board."""
    return event(remove_pin=event_pb2.RemovePin(pin=pin, board=board, user=user))


def action(user: int, pin: int, kind: type_pb2.ActionType.ValueType) -> Event:
    """`user` acts on a pin."""
    return event(action=event_pb2.Action(user=user, pin=pin, type=kind))


def impressions(user: int, pins: Sequence[int]) -> Event:
    """The frontend tells that `user` saw pins."""
    return event(
        impressions=event_pb2.Impressions(user=user, pins=pins, type=type_pb2.ACTION_TYPE_IMPRESSION)
    )


def put_pin(pin: int, *, version: int = 0, title: str = "", board: int = 0, owner: int = 0) -> Event:
    """A pin's object."""
    return event(
        put_object=event_pb2.PutObject(
            id=pin, version=version, pin=type_pb2.Pin(title=title, board=board, owner=owner)
        )
    )
