"""Owns the keys and bytes of Polaris, in sort order:

    boards          shard >H | board >Q                 owner <Q, put_ms <Q
    interest_pins   shard >H | interest >Q | pin >Q     saved_at <I, flags <I, quality <f, told_ms <Q
    pins            shard >H | board >Q | pin >Q        saved_at <I, flags <I, quality <f
    system          the follower's offsets and recent ids

One key per pin, so that a save writes 30 bytes and not its board; one prefix per board, so that deleting a
board is one range. `interest_pins` has quality * weight; a quality of 0 is a pin that was taken out at
`told_ms`, kept until it is older than `removal_kept_s` at a start.
Reads are served from memory: this is read whole at the start (`load`), into columns: no Python object per
pin outlives its row of the scan.
Refuses values of a wrong length (CorruptValue). Next: `arena.py`.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue
from services.chassis.storage.batch import Batch
from services.chassis.storage.options import Family, edge_family, small_family
from services.chassis.storage.store import Store
from services.polaris.arena_changes import Pins
from services.polaris.light_score import LightScale
from services.polaris.lists import BOARD, INTEREST, Lists

SYSTEM: Final = "system"
PINS: Final = "pins"
BOARDS: Final = "boards"
INTEREST_PINS: Final = "interest_pins"
_FORGOTTEN_AT_ONCE: Final = 10_000
_PINS_OF: Final = {BOARD: PINS, INTEREST: INTEREST_PINS}

_BOARD_KEY: Final = struct.Struct(">HQ")
_PIN_KEY: Final = struct.Struct(">HQQ")
_BOARD_VALUE: Final = struct.Struct("<QQ")
_PIN_VALUE: Final = struct.Struct("<IIf")
_INTEREST_PIN_VALUE: Final = struct.Struct("<IIfQ")

_BOARD_KEYS: Final = np.dtype([("shard", ">u2"), ("board", ">u8")])
_PIN_KEYS: Final = np.dtype([("shard", ">u2"), ("board", ">u8"), ("pin", ">u8")])
_BOARD_VALUES: Final = np.dtype([("owner", "<u8"), ("put_ms", "<u8")])
_PIN_VALUES: Final = np.dtype([("saved_at", "<u4"), ("flags", "<u4"), ("quality", "<f4")])
_INTEREST_PIN_VALUES: Final = np.dtype([*_PIN_VALUES.descr, ("told_ms", "<u8")])
assert _INTEREST_PIN_VALUES.itemsize == _INTEREST_PIN_VALUE.size
assert _PIN_KEYS.itemsize == _PIN_KEY.size
assert _PIN_VALUES.itemsize == _PIN_VALUE.size
assert _BOARD_KEYS.itemsize == _BOARD_KEY.size
assert _BOARD_VALUES.itemsize == _BOARD_VALUE.size


def families() -> dict[str, Family]:
    """What the store is opened with."""
    return {
        PINS: edge_family(_BOARD_KEY.size),
        BOARDS: edge_family(2),
        INTEREST_PINS: edge_family(_BOARD_KEY.size),
        SYSTEM: small_family(),
    }


def put_pin(
    batch: Batch, shard: int, board: int, pin: int, *, saved_at: int, flags: int, quality: float
) -> None:
    """A pin of a board."""
    batch.put(PINS, _PIN_KEY.pack(shard, board, pin), _PIN_VALUE.pack(saved_at, flags, quality))


def put_interest_pin(
    batch: Batch,
    shard: int,
    interest: int,
    pin: int,
    *,
    saved_at: int,
    flags: int,
    quality: float,
    told_ms: int,
) -> None:
    """A pin of an interest, and when that was told."""
    value = _INTEREST_PIN_VALUE.pack(saved_at, flags, quality, told_ms)
    batch.put(INTEREST_PINS, _PIN_KEY.pack(shard, interest, pin), value)


def put_interest_removal(batch: Batch, shard: int, interest: int, pin: int, *, told_ms: int) -> None:
    """A pin was taken out of an interest, which is remembered."""
    value = _INTEREST_PIN_VALUE.pack(0, 0, 0.0, told_ms)
    batch.put(INTEREST_PINS, _PIN_KEY.pack(shard, interest, pin), value)


def delete_pin(batch: Batch, kind: str, shard: int, board: int, pin: int) -> None:
    """A pin that was taken off a board, or fell off a list of this kind."""
    batch.delete(_PINS_OF[kind], _PIN_KEY.pack(shard, board, pin))


def put_board(batch: Batch, shard: int, board: int, *, owner: int, put_ms: int) -> None:
    """A board's owner."""
    batch.put(BOARDS, _BOARD_KEY.pack(shard, board), _BOARD_VALUE.pack(owner, put_ms))


def delete_board(batch: Batch, shard: int, board: int) -> None:
    """A board and all its pins."""
    batch.delete(BOARDS, _BOARD_KEY.pack(shard, board))
    first = _PIN_KEY.pack(shard, board, 0)
    # No pin has the greatest id: a range excludes its end.
    batch.delete_range(PINS, first, _BOARD_KEY.pack(shard, board) + b"\xff" * 9)


class Word(NamedTuple):
    """What is stored of a pin and an interest: when it was told, and the pin's time in seconds, 0 when it was
    taken out."""

    told_ms: int
    saved_at: int


def interest_pin_key(shard: int, interest: int, pin: int) -> bytes:
    """The key of `last_words`."""
    return _PIN_KEY.pack(shard, interest, pin)


def last_words(store: Store, keys: Sequence[bytes]) -> list[Word | None]:
    """What is stored of pins and interests, None where nothing is. Raises CorruptValue."""
    words: list[Word | None] = []
    for value in store.multi_get(INTEREST_PINS, keys):
        if value is None:
            words.append(None)
            continue
        if len(value) != _INTEREST_PIN_VALUE.size:
            raise _corrupt(INTEREST_PINS, _PIN_KEY.size, _INTEREST_PIN_VALUE.size)
        saved_at, _, quality, told_ms = _INTEREST_PIN_VALUE.unpack(value)
        words.append(Word(told_ms, saved_at if quality else 0))
    return words


def load(store: Store, lists: Lists, *, removals_before_ms: int) -> None:
    """Fill empty arenas with everything stored; about a second for a million pins.

    Removals that were told before `removals_before_ms` are deleted. Raises CorruptValue.
    """
    keys, values = _columns(store, PINS, _PIN_KEYS, _PIN_VALUES)
    board_keys, board_values = _columns(store, BOARDS, _BOARD_KEYS, _BOARD_VALUES)
    lists.boards.arena.load(
        boards=keys["board"].astype(np.uint64),
        pins=_pins(keys, values, lists.boards.scale),
        owned_boards=board_keys["board"].astype(np.uint64),
        owners=board_values["owner"].astype(np.uint64),
    )
    keys, values = _columns(store, INTEREST_PINS, _PIN_KEYS, _INTEREST_PIN_VALUES)
    removed = values["quality"] == 0.0
    _forget(store, keys[removed & (values["told_ms"] < removals_before_ms)])
    keys, values = keys[~removed], values[~removed]
    nobody = np.empty(0, dtype=np.uint64)
    lists.interests.arena.load(
        boards=keys["board"].astype(np.uint64),
        pins=_pins(keys, values, lists.interests.scale),
        owned_boards=nobody,
        owners=nobody,
    )


def _pins(keys: NDArray[Any], values: NDArray[Any], scale: LightScale) -> Pins:
    saved_at = values["saved_at"].astype(np.uint32)
    qualities = values["quality"].astype(np.float32)
    return Pins(
        ids=keys["pin"].astype(np.uint64),
        keys=scale.keys(qualities=qualities, saved_at=saved_at),
        saved_at=saved_at,
        flags=values["flags"].astype(np.uint32),
    )


def _forget(store: Store, removed: NDArray[Any]) -> None:
    for first in range(0, len(removed), _FORGOTTEN_AT_ONCE):
        batch = store.batch()
        for key in removed[first : first + _FORGOTTEN_AT_ONCE]:
            batch.delete(INTEREST_PINS, key.tobytes())
        store.write(batch)


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
        raise _corrupt(family, key_type.itemsize, value_type.itemsize)
    return np.frombuffer(keys, dtype=key_type), np.frombuffer(values, dtype=value_type)


def _corrupt(family: str, key_bytes: int, value_bytes: int) -> CorruptValue:
    return CorruptValue(
        f"family {family} holds keys that are not of {key_bytes} bytes or values that are not of "
        f"{value_bytes}: restore a checkpoint"
    )


def pins_of_boards(
    rows: Iterable[tuple[bytes, bytes]], *, rows_max: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Boards and their pins, aligned, from a scan of the family `PINS`, at most `rows_max` at once.

    Raises CorruptValue.
    """
    scan = iter(rows)
    while keys := b"".join(key for key, _ in itertools.islice(scan, rows_max)):
        if len(keys) % _PIN_KEY.size:
            raise CorruptValue(f"family {PINS} holds keys that are not of {_PIN_KEY.size} bytes")
        columns = np.frombuffer(keys, dtype=_PIN_KEYS)
        yield columns["board"].astype(np.uint64), columns["pin"].astype(np.uint64)
