"""Rows → events. One function a kind of row; `docs/loading.md` documents each with an example.

Owns what the columns mean. A pin row becomes its object (with its feature row), its first save, and its
place in its interests; actions and saves are given the board, owner and interests of their pin when the load
has seen it, since those feed the real-time signals. Pure but for `Names` and the pins it remembers.
Next: `columns.py`, `interests.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from feedmesh.log.v1 import event_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import pack_f32, pack_u64
from services.cli.load.columns import Row, flag_of, list_of, number_of, one_of, text_of, time_of
from services.cli.load.faults import RowFault
from services.cli.load.ids import Names
from services.cli.load.interests import KeywordInterests, heaviest, written_interests

QUALITY_DEFAULT: Final = 0.5

ACTIONS: Final = {
    "impression": type_pb2.ACTION_TYPE_IMPRESSION,
    "closeup": type_pb2.ACTION_TYPE_CLOSEUP,
    "click": type_pb2.ACTION_TYPE_CLICK,
    "hide": type_pb2.ACTION_TYPE_HIDE,
}
_HIDDEN: Final = {
    "pin": type_pb2.OBJECT_KIND_PIN,
    "board": type_pb2.OBJECT_KIND_BOARD,
    "owner": type_pb2.OBJECT_KIND_USER,
}


@dataclass(frozen=True)
class _Pin:
    """What a load remembers of a pin, to complete its saves and actions."""

    board: int
    owner: int
    interests: tuple[int, ...]
    """The closest first."""
    quality: float
    created_ms: int = 0


@dataclass
class RowReader:
    """Turns rows into events, in the order in which they come."""

    pin_schema: rockstore_pb2.GetSchemaResponse
    now_ms: int
    names: Names = field(default_factory=Names)
    keywords: KeywordInterests = field(default_factory=lambda: KeywordInterests(()))
    _pins: dict[int, _Pin] = field(default_factory=dict)

    def events(self, kind: str, row: Row) -> list[event_pb2.Event]:
        """The events of one row, without ids.

        Raises:
            RowFault: says which column is wrong and what it should be.
        """
        read = _READERS.get(kind)
        if read is None:
            raise RowFault(f"type is {kind!r}; it must be one of {', '.join(_READERS)}")
        return read(self, row)

    def know(self, pin: rockstore_pb2.Object) -> None:
        """Remember a pin that the mesh has, as if this load had brought it."""
        data = pin.pin
        interests = tuple(self.names.id_of("interest", name, column="interests") for name in data.interests)
        self._pins[pin.id] = _Pin(data.board, data.owner, interests, QUALITY_DEFAULT, data.created_ms)

    # --- one method a kind of row ----------------------------------------------------------------------

    def user(self, row: Row) -> list[event_pb2.Event]:
        id_ = self._id("user", row, "id")
        created_ms = self._time(row, "created")
        data = type_pb2.User(
            name=text_of(row, "name"),
            created_ms=created_ms,
            key=self.names.name_of("user", id_),
            language=text_of(row, "language"),
        )
        return [_event(created_ms, put_object=event_pb2.PutObject(id=id_, user=data))]

    def board(self, row: Row) -> list[event_pb2.Event]:
        id_ = self._id("board", row, "id")
        created_ms = self._time(row, "created")
        data = type_pb2.Board(
            title=text_of(row, "title"),
            description=text_of(row, "description"),
            owner=self._id("user", row, "owner"),
            created_ms=created_ms,
            key=self.names.name_of("board", id_),
        )
        return [_event(created_ms, put_board=event_pb2.PutBoard(board=id_, board_data=data))]

    def interest(self, row: Row) -> list[event_pb2.Event]:
        column = one_of(row, "id", "name")
        id_ = self._id("interest", row, column)
        key = self.names.name_of("interest", id_)
        data = type_pb2.Interest(title=text_of(row, "title") or key, key=key)
        put = event_pb2.PutObject(id=id_, interest=data)
        return [_event(self._time(row, "created"), put_object=put)]

    def follow(self, row: Row) -> list[event_pb2.Event]:
        follow = event_pb2.Follow(
            user=self._id("user", row, "user"),
            target=self._target(row),
            affinity=number_of(row, "affinity", least=0.0, most=1.0, default=0.0),
        )
        return [_event(self._time(row, "time"), follow=follow)]

    def unfollow(self, row: Row) -> list[event_pb2.Event]:
        unfollow = event_pb2.Unfollow(user=self._id("user", row, "user"), target=self._target(row))
        return [_event(self._time(row, "time"), unfollow=unfollow)]

    def pin(self, row: Row) -> list[event_pb2.Event]:
        id_ = self._id("pin", row, "id")
        created_ms = self._time(row, "created")
        texts = (text_of(row, "title"), text_of(row, "description"), *map(str, list_of(row, "keywords")))
        interests = heaviest(
            (self.names.id_of("interest", name, column="interests"), str(name), weight)
            for name, weight in [*written_interests(row), *self.keywords.of(texts)]
        )
        pin = _Pin(
            board=self._id("board", row, "board", optional=True),
            owner=self._id("user", row, "owner"),
            interests=tuple(interest for interest, _, _ in interests),
            quality=number_of(row, "quality", least=0.0, most=1.0, default=QUALITY_DEFAULT),
            created_ms=created_ms,
        )
        self._pins[id_] = pin
        data = type_pb2.Pin(
            title=texts[0],
            description=texts[1],
            image=text_of(row, "image"),
            link=text_of(row, "link"),
            board=pin.board,
            owner=pin.owner,
            interests=[name for _, name, _ in interests],
            language=text_of(row, "language"),
            created_ms=created_ms,
            key=self.names.name_of("pin", id_),
        )
        put = event_pb2.PutObject(
            id=id_,
            pin=data,
            features_f32=pack_f32(self._features(row, data, pin)),
            feature_ids_u64=pack_u64(self._feature_ids(pin)),
            schema_version=self.pin_schema.schema_version,
        )
        events = [_event(created_ms, put_object=put)]
        if pin.board:
            events.append(self._save(id_, pin.board, pin.owner, pin, created_ms))
        if interests:
            weights = [weight for _, _, weight in interests]
            events.append(_event(created_ms, put_pin_interests=_put_interests(id_, pin, weights)))
        return events

    def put_pin_interests(self, row: Row) -> list[event_pb2.Event]:
        id_ = self._id("pin", row, "pin")
        known = self._pins.get(id_) or _Pin(0, 0, (), 0.0)
        interests = [
            (self.names.id_of("interest", name, column="interests"), weight)
            for name, weight in written_interests(row)
        ]
        removed = self._interests(row, "removed_interests")
        if not interests and not removed:
            raise RowFault("neither interests nor removed_interests is given; give one, or both")
        pin = _Pin(
            known.board,
            known.owner,
            tuple(interest for interest, _ in interests),
            number_of(row, "quality", least=0.0, most=1.0, default=known.quality),
            time_of(row, "created", default_ms=known.created_ms),
        )
        put = _put_interests(id_, pin, [weight for _, weight in interests])
        put.removed_interests.extend(removed)
        return [_event(self._time(row, "time"), put_pin_interests=put)]

    def save(self, row: Row) -> list[event_pb2.Event]:
        id_ = self._id("pin", row, "pin")
        known = self._pins.get(id_) or _Pin(0, 0, (), 0.0)
        quality = number_of(row, "quality", least=0.0, most=1.0, default=known.quality)
        pin = _Pin(known.board, known.owner, self._interests(row) or known.interests, quality)
        board, user = self._id("board", row, "board"), self._id("user", row, "user")
        return [self._save(id_, board, user, pin, self._time(row, "time"))]

    def remove(self, row: Row) -> list[event_pb2.Event]:
        remove = event_pb2.RemovePin(
            pin=self._id("pin", row, "pin"),
            board=self._id("board", row, "board"),
            user=self._id("user", row, "user"),
        )
        return [_event(self._time(row, "time"), remove_pin=remove)]

    def action(self, row: Row) -> list[event_pb2.Event]:
        name = text_of(row, "action")
        if name not in ACTIONS:
            raise RowFault(
                f"action is {name!r}; it must be one of {', '.join(ACTIONS)} (saves have rows of their own)"
            )
        id_ = self._id("pin", row, "pin")
        known = self._pins.get(id_) or _Pin(0, 0, (), 0.0)
        action = event_pb2.Action(
            user=self._id("user", row, "user"),
            pin=id_,
            type=ACTIONS[name],
            board=self._id("board", row, "board", optional=True) or known.board,
            owner=self._id("user", row, "owner", optional=True) or known.owner,
            interests=self._interests(row) or known.interests,
        )
        return [_event(self._time(row, "time"), action=action)]

    def impressions(self, row: Row) -> list[event_pb2.Event]:
        pins = [self.names.id_of("pin", pin, column="pins") for pin in list_of(row, "pins")]
        if not 1 <= len(pins) <= 1_000:
            raise RowFault(f"pins has {len(pins)} ids; 1 to 1,000 of them")
        shown = event_pb2.Impressions(
            user=self._id("user", row, "user"),
            pins=pins,
            type=type_pb2.ACTION_TYPE_IMPRESSION,
            boards=[self._pins[pin].board if pin in self._pins else 0 for pin in pins],
        )
        return [_event(self._time(row, "time"), impressions=shown)]

    def hide(self, row: Row) -> list[event_pb2.Event]:
        column = one_of(row, "pin", "board", "owner")
        kind = "user" if column == "owner" else column
        hide = event_pb2.Hide(
            user=self._id("user", row, "user"),
            kind=_HIDDEN[column],
            id=self._id(kind, row, column),
            undo=flag_of(row, "undo"),
        )
        return [_event(self._time(row, "time"), hide=hide)]

    # --- columns ---------------------------------------------------------------------------------------

    def _save(self, id_: int, board: int, user: int, pin: _Pin, time_ms: int) -> event_pb2.Event:
        save = event_pb2.SavePin(
            pin=id_, board=board, user=user, quality=pin.quality, interests=pin.interests, owner=pin.owner
        )
        return _event(time_ms, save_pin=save)

    def _target(self, row: Row) -> event_pb2.FollowTarget:
        column = one_of(row, "board", "followed_user", "interest")
        kind = "user" if column == "followed_user" else column
        return event_pb2.FollowTarget(**{kind: self._id(kind, row, column)})

    def _interests(self, row: Row, column: str = "interests") -> tuple[int, ...]:
        return tuple(self.names.id_of("interest", name, column=column) for name in list_of(row, column))

    def _features(self, row: Row, data: type_pb2.Pin, pin: _Pin) -> Sequence[float]:
        """The feature row: columns of the file by name, else what follows from the pin, else the default."""
        given = row.get("features") or {}
        if not isinstance(given, Mapping):
            raise RowFault(f"features is {given!r}; it must map feature names to numbers")
        derived = {
            "quality": pin.quality,
            "description_chars": float(len(data.description)),
            "interest_count": float(len(pin.interests)),
        }
        unknown = sorted(set(given) - set(self.pin_schema.features))
        if unknown:
            raise RowFault(
                f"features has {', '.join(unknown)}, which Rockstore's pin schema does not declare; "
                f"it declares {', '.join(self.pin_schema.features)}"
            )
        return [
            number_of(given, name, least=-math.inf, most=math.inf, default=derived.get(name, default))
            for name, default in zip(self.pin_schema.features, self.pin_schema.defaults, strict=True)
        ]

    def _feature_ids(self, pin: _Pin) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        known = {"board": pin.board, "owner": pin.owner}
        known.update({f"interest_{place}": id_ for place, id_ in enumerate(pin.interests)})
        return np.array([known.get(name, 0) for name in self.pin_schema.id_columns], np.uint64)

    def _id(self, kind: str, row: Row, column: str, *, optional: bool = False) -> int:
        written = row.get(column)
        if written is None or written == "":
            if optional:
                return 0
            raise RowFault(f"{column} is missing")
        return self.names.id_of(kind, written, column=column)

    def _time(self, row: Row, column: str) -> int:
        return time_of(row, column, default_ms=self.now_ms)


_READERS: Final[Mapping[str, Callable[[RowReader, Row], list[event_pb2.Event]]]] = {
    "user": RowReader.user,
    "interest": RowReader.interest,
    "board": RowReader.board,
    "follow": RowReader.follow,
    "unfollow": RowReader.unfollow,
    "pin": RowReader.pin,
    "put-pin-interests": RowReader.put_pin_interests,
    "save": RowReader.save,
    "remove": RowReader.remove,
    "action": RowReader.action,
    "impressions": RowReader.impressions,
    "hide": RowReader.hide,
}
KINDS: Final = tuple(_READERS)


def _event(time_ms: int, **body: Any) -> event_pb2.Event:
    return event_pb2.Event(time_ms=time_ms, **body)


def _put_interests(id_: int, pin: _Pin, weights: Sequence[float]) -> event_pb2.PutPinInterests:
    return event_pb2.PutPinInterests(
        pin=id_,
        interests=pin.interests,
        # Left out they are all 1: most are.
        weights=weights if min(weights, default=1.0) < 1.0 else (),
        quality=pin.quality,
        created_ms=pin.created_ms,
    )
