"""Owns the keys and bytes of Polaris, in sort order:

    boards   shard >H | board >Q              owner <Q, put_ms <Q
    pins     shard >H | board >Q | pin >Q     saved_at <I, flags <I, quality <f
    system   the follower's offsets and recent ids

One key per pin, so that a save writes 30 bytes and not its board; one prefix per board, so that deleting a
board is one range. Reads are served from memory: this is read whole at the start (`load`), into
columns: no Python object per pin outlives its row of the scan.
Refuses values of a wrong length (CorruptValue). Next: `arena.py`.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue
from services.chassis.storage.batch import Batch
from services.chassis.storage.options import Family, edge_family, small_family
from services.chassis.storage.store import Store
from services.polaris.arena import Arena
from services.polaris.arena_changes import Pins
from services.polaris.light_score import LightScale

SYSTEM: Final = "system"
PINS: Final = "pins"
BOARDS: Final = "boards"

_BOARD_KEY: Final = struct.Struct(">HQ")
_PIN_KEY: Final = struct.Struct(">HQQ")
_BOARD_VALUE: Final = struct.Struct("<QQ")
_PIN_VALUE: Final = struct.Struct("<IIf")

_BOARD_KEYS: Final = np.dtype([("shard", ">u2"), ("board", ">u8")])
_PIN_KEYS: Final = np.dtype([("shard", ">u2"), ("board", ">u8"), ("pin", ">u8")])
_BOARD_VALUES: Final = np.dtype([("owner", "<u8"), ("put_ms", "<u8")])
_PIN_VALUES: Final = np.dtype([("saved_at", "<u4"), ("flags", "<u4"), ("quality", "<f4")])
assert _PIN_KEYS.itemsize == _PIN_KEY.size
assert _PIN_VALUES.itemsize == _PIN_VALUE.size
assert _BOARD_KEYS.itemsize == _BOARD_KEY.size
assert _BOARD_VALUES.itemsize == _BOARD_VALUE.size


def families() -> dict[str, Family]:
    """What the store is opened with."""
    return {PINS: edge_family(_BOARD_KEY.size), BOARDS: edge_family(2), SYSTEM: small_family()}


def put_pin(
    batch: Batch, shard: int, board: int, pin: int, *, saved_at: int, flags: int, quality: float
) -> None:
    """A pin of a board."""
    batch.put(PINS, _PIN_KEY.pack(shard, board, pin), _PIN_VALUE.pack(saved_at, flags, quality))


def delete_pin(batch: Batch, shard: int, board: int, pin: int) -> None:
    """A pin that was taken off, or fell off."""
    batch.delete(PINS, _PIN_KEY.pack(shard, board, pin))


def put_board(batch: Batch, shard: int, board: int, *, owner: int, put_ms: int) -> None:
    """A board's owner."""
    batch.put(BOARDS, _BOARD_KEY.pack(shard, board), _BOARD_VALUE.pack(owner, put_ms))


def delete_board(batch: Batch, shard: int, board: int) -> None:
    """A board and all its pins."""
    batch.delete(BOARDS, _BOARD_KEY.pack(shard, board))
    first = _PIN_KEY.pack(shard, board, 0)
    # No pin has the greatest id: a range excludes its end.
    batch.delete_range(PINS, first, _BOARD_KEY.pack(shard, board) + b"\xff" * 9)


def load(store: Store, arena: Arena, scale: LightScale) -> None:
    """Fill an empty arena with everything stored; about a second for a million pins.

    Raises CorruptValue.
    """
    keys, values = _columns(store, PINS, _PIN_KEYS, _PIN_VALUES)
    saved_at = values["saved_at"].astype(np.uint32)
    qualities = values["quality"].astype(np.float32)
    pins = Pins(
        ids=keys["pin"].astype(np.uint64),
        keys=scale.keys(qualities=qualities, saved_at=saved_at),
        saved_at=saved_at,
        flags=values["flags"].astype(np.uint32),
    )
    board_keys, board_values = _columns(store, BOARDS, _BOARD_KEYS, _BOARD_VALUES)
    arena.load(
        boards=keys["board"].astype(np.uint64),
        pins=pins,
        owned_boards=board_keys["board"].astype(np.uint64),
        owners=board_values["owner"].astype(np.uint64),
    )


def _columns(
    store: Store, family: str, key_type: np.dtype[Any], value_type: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Keys and values of a whole family as records."""
    # Grown in place: a list of rows costs three times as much, most of it in the garbage collector.
    keys, values = bytearray(), bytearray()
    row_count = 0
    for key, value in store.scan(family):
        keys += key
        values += value
        row_count += 1
    if len(keys) != row_count * key_type.itemsize or len(values) != row_count * value_type.itemsize:
        raise CorruptValue(
            f"family {family} holds keys that are not of {key_type.itemsize} bytes or values that are not of "
            f"{value_type.itemsize}: restore a checkpoint"
        )
    return np.frombuffer(keys, dtype=key_type), np.frombuffer(values, dtype=value_type)
