"""The world as events, in the form in which any client would publish them.

Four chapters, in this order: people with interests and boards, pins, follows, then the simulated weeks. Each
event has its past time and an id made of its place, so a chapter that is published again counts once. Hidden
tastes are no part of any event. Pure but for protobuf; next: `loading.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.cli.demo.audience import Action, ActionKind, Session
from services.cli.demo.catalogue import LANGUAGES
from services.cli.demo.world import INTEREST_WEIGHTS, FollowKind, World
from services.rockstore.schema import Schema

_ACTIONS: Final = {
    ActionKind.CLOSEUP: type_pb2.ACTION_TYPE_CLOSEUP,
    ActionKind.CLICK: type_pb2.ACTION_TYPE_CLICK,
    ActionKind.HIDE: type_pb2.ACTION_TYPE_HIDE,
}
IMAGE_SCHEME: Final = "feedmesh-demo"


@dataclass(frozen=True)
class Ids:
    """A world's ids as plain lists: numpy scalars cost protobuf a call each."""

    people: list[int]
    boards: list[int]
    pins: list[int]
    interests: list[tuple[int, ...]]
    """Of each pin, the closest first."""
    interest_weights: list[tuple[float, ...]]
    """Aligned with `interests`."""

    @classmethod
    def of(cls, world: World) -> Ids:
        """The ids of a world."""
        of_interest = world.interest_ids.tolist()
        return cls(
            people=world.people.ids.tolist(),
            boards=world.boards.ids.tolist(),
            pins=world.pins.ids.tolist(),
            interests=[
                tuple(of_interest[place] for place in places if place >= 0)
                for places in world.pins.interests.tolist()
            ],
            interest_weights=[
                tuple(weight for weight, place in zip(INTEREST_WEIGHTS, places, strict=True) if place >= 0)
                for places in world.pins.interests.tolist()
            ],
        )


def people_and_boards(world: World, ids: Ids) -> Iterator[event_pb2.Event]:
    """Everybody, every interest, and every board; all older than the first pin."""
    boards = world.boards
    first_ms = int(boards.created_ms.min())
    for interest, (id_, name) in enumerate(
        zip(world.interest_ids.tolist(), world.interest_names, strict=True)
    ):
        put = event_pb2.PutObject(id=id_, interest=type_pb2.Interest(title=name, key=name))
        yield _event(f"demo-interest-{interest}", first_ms, put_object=put)
    for person, (id_, key, name) in enumerate(
        zip(ids.people, world.people.keys, world.people.names, strict=True)
    ):
        user = type_pb2.User(
            name=name, created_ms=first_ms, key=key, language=LANGUAGES[world.people.language[person]]
        )
        put = event_pb2.PutObject(id=id_, user=user)
        yield _event(f"demo-user-{person}", first_ms, put_object=put)
    for board, (id_, created_ms) in enumerate(zip(ids.boards, boards.created_ms.tolist(), strict=True)):
        data = type_pb2.Board(
            title=boards.titles[board],
            owner=ids.people[boards.owner[board]],
            created_ms=created_ms,
            key=boards.keys[board],
        )
        put_board = event_pb2.PutBoard(board=id_, board_data=data)
        yield _event(f"demo-board-{board}", created_ms, put_board=put_board)


def pins(world: World, ids: Ids, schema: Schema) -> Iterator[event_pb2.Event]:
    """Each pin with its feature row, the save that puts it on its board, and its interests."""
    table = world.pins
    for pin, (id_, created_ms, quality) in enumerate(
        zip(ids.pins, table.created_ms.tolist(), table.quality.tolist(), strict=True)
    ):
        board, owner = ids.boards[table.board[pin]], ids.people[table.owner[pin]]
        picture = world.picture(pin)
        data = type_pb2.Pin(
            title=table.titles[pin],
            description=f"A drawn picture: {', '.join(world.keywords(pin))}.",
            image=f"{IMAGE_SCHEME}:{picture.motif}/{picture.palette}/{picture.composition}/{picture.mood}/"
            f"{picture.seed}",
            board=board,
            owner=owner,
            interests=world.interest_names_of(pin),
            language=world.language_of_pin(pin),
            created_ms=created_ms,
            key=table.keys[pin],
        )
        put = event_pb2.PutObject(
            id=id_,
            pin=data,
            features_f32=_features(schema, data, quality),
            feature_ids_u64=_feature_ids(schema, data, ids.interests[pin]),
            schema_version=schema.version,
        )
        yield _event(f"demo-pin-{pin}", created_ms, put_object=put)
        save = event_pb2.SavePin(
            pin=id_, board=board, user=owner, quality=quality, interests=ids.interests[pin], owner=owner
        )
        yield _event(f"demo-made-{pin}", created_ms, save_pin=save)
        of_interests = event_pb2.PutPinInterests(
            pin=id_,
            interests=ids.interests[pin],
            weights=ids.interest_weights[pin],
            quality=quality,
            created_ms=created_ms,
        )
        yield _event(f"demo-interests-{pin}", created_ms, put_pin_interests=of_interests)


def follows(world: World, ids: Ids) -> Iterator[event_pb2.Event]:
    """Who follows which board, person or interest."""
    table = world.follows
    interests = world.interest_ids.tolist()
    for place, (person, kind, target, time_ms) in enumerate(
        zip(
            table.person.tolist(),
            table.kind.tolist(),
            table.target.tolist(),
            table.time_ms.tolist(),
            strict=True,
        )
    ):
        if kind == FollowKind.BOARD:
            to = event_pb2.FollowTarget(board=ids.boards[target])
        elif kind == FollowKind.USER:
            to = event_pb2.FollowTarget(user=ids.people[target])
        else:
            to = event_pb2.FollowTarget(interest=interests[target])
        follow = event_pb2.Follow(user=ids.people[person], target=to)
        yield _event(f"demo-follow-{place}", time_ms, follow=follow)


def weeks(world: World, ids: Ids, sessions: Iterable[Session]) -> Iterator[event_pb2.Event]:
    """What the simulated audience saw and did."""
    for number, session in enumerate(sessions):
        shown = event_pb2.Impressions(
            user=ids.people[session.person],
            pins=[ids.pins[pin] for pin in session.pins.tolist()],
            boards=[ids.boards[board] for board in session.boards.tolist()],
            type=type_pb2.ACTION_TYPE_IMPRESSION,
        )
        yield _event(f"demo-seen-{number}", session.time_ms, impressions=shown)
        for place, action in enumerate(session.actions):
            yield _acted(world, ids, session, action, id_=f"demo-act-{number}-{place}")


def acted(
    world: World,
    ids: Ids,
    *,
    person: int,
    pin: int,
    kind: ActionKind,
    time_ms: int,
    id_: str,
    board: int = -1,
) -> event_pb2.Event:
    """One action of a person on a pin; `board`, by index, is where a save goes."""
    owner, user = ids.people[world.pins.owner[pin]], ids.people[person]
    if kind is ActionKind.SAVE:
        save = event_pb2.SavePin(
            pin=ids.pins[pin],
            board=ids.boards[board],
            user=user,
            quality=float(world.pins.quality[pin]),
            interests=ids.interests[pin],
            owner=owner,
        )
        return _event(id_, time_ms, save_pin=save)
    action = event_pb2.Action(
        user=user,
        pin=ids.pins[pin],
        type=_ACTIONS[kind],
        board=ids.boards[world.pins.board[pin]],
        owner=owner,
        interests=ids.interests[pin],
    )
    return _event(id_, time_ms, action=action)


def _acted(world: World, ids: Ids, session: Session, action: Action, *, id_: str) -> event_pb2.Event:
    return acted(
        world,
        ids,
        person=session.person,
        pin=int(session.pins[action.position]),
        kind=action.kind,
        time_ms=action.time_ms,
        id_=id_,
        board=action.board,
    )


def _features(schema: Schema, data: type_pb2.Pin, quality: float) -> bytes:
    known = {
        "quality": quality,
        "description_chars": float(len(data.description)),
        "interest_count": float(len(data.interests)),
    }
    row = [known.get(name, default) for name, default in zip(schema.features, schema.defaults, strict=True)]
    return np.array(row, "<f4").tobytes()


def _feature_ids(schema: Schema, data: type_pb2.Pin, interests: tuple[int, ...]) -> bytes:
    known = {"board": data.board, "owner": data.owner}
    known.update({f"interest_{place}": id_ for place, id_ in enumerate(interests)})
    return np.array([known.get(name, 0) for name in schema.id_columns], "<u8").tobytes()


def _event(id_: str, time_ms: int, **body: Any) -> event_pb2.Event:
    return event_pb2.Event(id=id_, time_ms=time_ms, **body)
