"""Rows → events. One function a kind of row; `docs/loading.md` documents each with an example.

Owns what the columns mean. A pin row becomes its object (with its feature row) and its first save; actions
and saves are given the board, owner and interests of their pin when the load has seen it, since those feed
the real-time signals. Pure but for `Names` and the pins it remembers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from feedmesh.log.v1 import event_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import pack_f32, pack_u64
from services.cli.load.faults import RowFault
from services.cli.load.ids import Names

Row = Mapping[str, Any]
QUALITY_DEFAULT: Final = 0.5

ACTIONS: Final = {
    "impression": type_pb2.ACTION_TYPE_IMPRESSION,
    "closeup": type_pb2.ACTION_TYPE_CLOSEUP,
    "click": type_pb2.ACTION_TYPE_CLICK,
    "hide": type_pb2.ACTION_TYPE_HIDE,
}


@dataclass(frozen=True)
class _Pin:
    """What a load remembers of a pin, to complete its saves and actions."""

    board: int
    owner: int
    interests: tuple[int, ...]
    quality: float


@dataclass
class RowReader:
    """Turns rows into events, in the order in which they come."""

    pin_schema: rockstore_pb2.GetSchemaResponse
    now_ms: int
    names: Names = field(default_factory=Names)
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
        self._pins[pin.id] = _Pin(data.board, data.owner, interests, QUALITY_DEFAULT)

    # --- one method a kind of row ----------------------------------------------------------------------

    def user(self, row: Row) -> list[event_pb2.Event]:
        id_ = self._id("user", row, "id")
        created_ms = self._time(row, "created")
        data = type_pb2.User(
            name=_text(row, "name"),
            created_ms=created_ms,
            key=self.names.name_of("user", id_),
            language=_text(row, "language"),
        )
        return [_event(created_ms, put_object=event_pb2.PutObject(id=id_, user=data))]

    def board(self, row: Row) -> list[event_pb2.Event]:
        id_ = self._id("board", row, "id")
        created_ms = self._time(row, "created")
        data = type_pb2.Board(
            title=_text(row, "title"),
            description=_text(row, "description"),
            owner=self._id("user", row, "owner"),
            created_ms=created_ms,
            key=self.names.name_of("board", id_),
        )
        return [_event(created_ms, put_board=event_pb2.PutBoard(board=id_, board_data=data))]

    def follow(self, row: Row) -> list[event_pb2.Event]:
        follow = event_pb2.Follow(
            user=self._id("user", row, "user"),
            target=self._target(row),
            affinity=_number(row, "affinity", least=0.0, most=1.0, default=0.0),
        )
        return [_event(self._time(row, "time"), follow=follow)]

    def unfollow(self, row: Row) -> list[event_pb2.Event]:
        unfollow = event_pb2.Unfollow(user=self._id("user", row, "user"), target=self._target(row))
        return [_event(self._time(row, "time"), unfollow=unfollow)]

    def pin(self, row: Row) -> list[event_pb2.Event]:
        id_ = self._id("pin", row, "id")
        created_ms = self._time(row, "created")
        interests = _list(row, "interests")
        pin = _Pin(
            board=self._id("board", row, "board", optional=True),
            owner=self._id("user", row, "owner"),
            interests=tuple(self.names.id_of("interest", name, column="interests") for name in interests),
            quality=_number(row, "quality", least=0.0, most=1.0, default=QUALITY_DEFAULT),
        )
        self._pins[id_] = pin
        data = type_pb2.Pin(
            title=_text(row, "title"),
            description=_text(row, "description"),
            image=_text(row, "image"),
            link=_text(row, "link"),
            board=pin.board,
            owner=pin.owner,
            interests=[str(name) for name in interests],
            language=_text(row, "language"),
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
        return events

    def save(self, row: Row) -> list[event_pb2.Event]:
        id_ = self._id("pin", row, "pin")
        known = self._pins.get(id_) or _Pin(0, 0, (), 0.0)
        quality = _number(row, "quality", least=0.0, most=1.0, default=known.quality)
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
        name = _text(row, "action")
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
        pins = [self.names.id_of("pin", pin, column="pins") for pin in _list(row, "pins")]
        if not 1 <= len(pins) <= 1_000:
            raise RowFault(f"pins has {len(pins)} ids; 1 to 1,000 of them")
        shown = event_pb2.Impressions(
            user=self._id("user", row, "user"),
            pins=pins,
            type=type_pb2.ACTION_TYPE_IMPRESSION,
            boards=[self._pins[pin].board if pin in self._pins else 0 for pin in pins],
        )
        return [_event(self._time(row, "time"), impressions=shown)]

    # --- columns ---------------------------------------------------------------------------------------

    def _save(self, id_: int, board: int, user: int, pin: _Pin, time_ms: int) -> event_pb2.Event:
        save = event_pb2.SavePin(
            pin=id_, board=board, user=user, quality=pin.quality, interests=pin.interests, owner=pin.owner
        )
        return _event(time_ms, save_pin=save)

    def _target(self, row: Row) -> event_pb2.FollowTarget:
        given = [
            column for column in ("board", "followed_user", "interest") if row.get(column) not in (None, "")
        ]
        if len(given) != 1:
            raise RowFault(
                f"{' and '.join(given) or 'none'} of board, followed_user, interest is given; give one"
            )
        (column,) = given
        kind = "user" if column == "followed_user" else column
        return event_pb2.FollowTarget(**{kind: self._id(kind, row, column)})

    def _interests(self, row: Row) -> tuple[int, ...]:
        return tuple(
            self.names.id_of("interest", name, column="interests") for name in _list(row, "interests")
        )

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
            _number(given, name, least=-math.inf, most=math.inf, default=derived.get(name, default))
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
        written = row.get(column)
        if written is None or written == "":
            return self.now_ms
        if isinstance(written, int) or (isinstance(written, str) and written.isdecimal()):
            return int(written)
        try:
            parsed = datetime.fromisoformat(str(written))
        except ValueError as fault:
            raise RowFault(
                f"{column} is {written!r}; write milliseconds since 1970 or ISO 8601 (2026-03-01T12:00:00Z)"
            ) from fault
        return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


_READERS: Final[Mapping[str, Callable[[RowReader, Row], list[event_pb2.Event]]]] = {
    "user": RowReader.user,
    "board": RowReader.board,
    "follow": RowReader.follow,
    "unfollow": RowReader.unfollow,
    "pin": RowReader.pin,
    "save": RowReader.save,
    "remove": RowReader.remove,
    "action": RowReader.action,
    "impressions": RowReader.impressions,
}
KINDS: Final = tuple(_READERS)


def _event(time_ms: int, **body: Any) -> event_pb2.Event:
    return event_pb2.Event(time_ms=time_ms, **body)


def _text(row: Row, column: str) -> str:
    written = row.get(column)
    if written is None:
        return ""
    if not isinstance(written, str | int | float):
        raise RowFault(f"{column} is {written!r}; it must be text")
    return str(written)


def _list(row: Row, column: str) -> list[Any]:
    """A JSON list, or text with `;` between the items (CSV)."""
    written = row.get(column)
    if written is None or written == "":
        return []
    if isinstance(written, str):
        return [part.strip() for part in written.split(";") if part.strip()]
    if isinstance(written, list):
        return written
    raise RowFault(f"{column} is {written!r}; it must be a list, or text with ; between the items")


def _number(row: Row, column: str, *, least: float, most: float, default: float) -> float:
    written = row.get(column)
    if written is None or written == "":
        return default
    try:
        number = float(written)
    except (TypeError, ValueError) as fault:
        raise RowFault(f"{column} is {written!r}; it must be a number") from fault
    if not least <= number <= most or not math.isfinite(number):
        raise RowFault(f"{column} is {written}; it must be a finite number of {least} to {most}")
    return number
