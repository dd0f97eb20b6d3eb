"""Log record → the change that it makes to a list of pins. Pure.

Refuses (PoisonRecord) ids of 0, keys of another board or interest, qualities and weights outside 0..1, and
times that a uint32 of seconds cannot hold. A `put_pin_interests` comes as one record at each interest that it
names: only the part of the record's own key is taken.
Next: `ingest.py`, which applies the changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import PoisonRecord
from services.polaris.arena_changes import DELETE_BOARD, PUT_BOARD, REMOVE, SAVE
from services.polaris.light_score import SAVED_AT_MAX

QUALITY_MIN: Final = 2.0**-126
"""Least quality of an interest's pin, the least normal float32: the product of a quality and a weight may be
less, and a stored 0 says that the pin was taken out."""

MAKING_ROOM: Final = -1
"""`told_ms` of a change that is no record: see `last_word.py`."""


class PinChange(NamedTuple):
    """One record, decoded; fields that a kind does not need are 0."""

    kind: int
    board: int
    """The board, or the interest."""
    time_ms: int
    """What the pin's light score decays from; of a removal, the event's time."""
    pin: int = 0
    quality: float = 1.0
    """Of an interest's pin: quality * weight."""
    flags: int = 0
    owner: int = 0
    told_ms: int = 0
    """Interests only: the event's time, by which the last word on a pin is known, or MAKING_ROOM. 0: a change
    of a board."""


def decode(record: record_pb2.Record, *, quality_default: float) -> PinChange | None:
    """The change that a record makes; None for events that Polaris does not follow.

    Raises PoisonRecord.
    """
    body = record.event.WhichOneof("body") if record.HasField("event") else None
    decoder, role = _DECODERS.get(body or "", (None, 0))
    if decoder is None:
        return None
    if record.role != role:
        place = "interest" if role == record_pb2.ROLE_INTEREST else "board"
        raise PoisonRecord(f"{body} has role {record.role}, must be at the {place}")
    if not 0 < record.time_ms // 1000 <= SAVED_AT_MAX:
        raise PoisonRecord(f"{body} has time_ms {record.time_ms}, outside 1970 to 2106")
    change = decoder(record, quality_default)
    if not change.board or change.board != record.key:
        raise PoisonRecord(f"{body} of board {change.board} lies under key {record.key}")
    return change


def _save_pin(record: record_pb2.Record, quality_default: float) -> PinChange:
    save = record.event.save_pin
    if not save.pin:
        raise PoisonRecord("save_pin has pin 0")
    quality = _quality(f"save_pin of pin {save.pin}", save.quality, quality_default)
    return PinChange(SAVE, save.board, record.time_ms, save.pin, quality, save.flags)


def _quality(what: str, given: float, default: float) -> float:
    quality = given or default
    # Written so that NaN fails.
    if not (math.isfinite(quality) and 0.0 < quality <= 1.0):
        raise PoisonRecord(f"{what} has quality {given}, must be over 0, at most 1")
    return quality


def _remove_pin(record: record_pb2.Record, _: float) -> PinChange:
    remove = record.event.remove_pin
    if not remove.pin:
        raise PoisonRecord("remove_pin has pin 0")
    return PinChange(REMOVE, remove.board, record.time_ms, remove.pin)


def _put_board(record: record_pb2.Record, _: float) -> PinChange:
    put = record.event.put_board
    if not put.board_data.owner:
        raise PoisonRecord(f"put_board of board {put.board} has no owner")
    return PinChange(PUT_BOARD, put.board, record.time_ms, owner=put.board_data.owner)


def _delete_board(record: record_pb2.Record, _: float) -> PinChange:
    return PinChange(DELETE_BOARD, record.event.delete_board.board, record.time_ms)


def _put_pin_interests(record: record_pb2.Record, quality_default: float) -> PinChange:
    put, interest, told_ms = record.event.put_pin_interests, record.key, record.time_ms
    what = f"put_pin_interests of pin {put.pin}"
    if not put.pin:
        raise PoisonRecord("put_pin_interests has pin 0")
    if not interest:
        raise PoisonRecord(f"{what} lies under key 0")
    is_put, is_removed = interest in put.interests, interest in put.removed_interests
    if is_put == is_removed:
        both = "both puts it into and takes it out of" if is_put else "does not name"
        raise PoisonRecord(f"{what} {both} interest {interest}, which is its key")
    if is_removed:
        return PinChange(REMOVE, interest, told_ms, put.pin, told_ms=told_ms)
    if put.weights and len(put.weights) != len(put.interests):
        raise PoisonRecord(f"{what} has {len(put.weights)} weights of {len(put.interests)} interests")
    weight = put.weights[list(put.interests).index(interest)] if put.weights else 1.0
    if not 0.0 < weight <= 1.0:
        raise PoisonRecord(f"{what} has weight {weight}, must be over 0, at most 1")
    if not 0 <= put.created_ms // 1000 <= SAVED_AT_MAX:
        raise PoisonRecord(f"{what} has created_ms {put.created_ms}, outside 1970 to 2106")
    quality = max(_quality(what, put.quality, quality_default) * weight, QUALITY_MIN)
    return PinChange(SAVE, interest, put.created_ms or told_ms, put.pin, quality, put.flags, told_ms=told_ms)


_Decoder = Callable[[record_pb2.Record, float], PinChange]
_DECODERS: Final[dict[str, tuple[_Decoder, int]]] = {
    "save_pin": (_save_pin, record_pb2.ROLE_BOARD),
    "remove_pin": (_remove_pin, record_pb2.ROLE_BOARD),
    "put_board": (_put_board, record_pb2.ROLE_BOARD),
    "delete_board": (_delete_board, record_pb2.ROLE_BOARD),
    "put_pin_interests": (_put_pin_interests, record_pb2.ROLE_INTEREST),
}
"""By the name of the event's body: how it is read, and the role that its record must have."""
