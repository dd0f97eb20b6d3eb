"""Owns a row: one entity that a user saw or acted on, at a second, in one way. Packed it has 16 bytes.

    entity u64 | time u32, seconds since 1970 | action u8 | 3 bytes of 0          little-endian

The packed form is what the redo log and the tails hold, and what is appended: adding rows is adding bytes.
Reading turns it into columns (`Rows`). Refuses bytes that are no whole rows with CorruptValue.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue

ROW_BYTES: Final = 16
TIME_S_MAX: Final = (1 << 32) - 1
_TIME_MASK = np.uint64(TIME_S_MAX)
_TYPE_SHIFT = np.uint64(32)


class ActionType(IntEnum):
    """The numbers of feedmesh.type.v1.ActionType; stored, so they never change their meaning."""

    IMPRESSION = 1
    CLOSEUP = 2
    CLICK = 3
    SAVE = 4
    HIDE = 5
    SERVED = 6


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Aligned columns; the order is the holder's business. Every action counts as having seen the entity."""

    entities: NDArray[np.uint64]
    times: NDArray[np.uint32]
    """Seconds since 1970."""
    types: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.entities)

    def select(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Rows:
        """The rows that a mask, an index or a slice picks."""
        return Rows(self.entities[which], self.times[which], self.types[which])

    def by_time(self) -> Rows:
        """The rows, oldest first; ties by entity, then action, so that replicas agree."""
        return self.select(np.lexsort((self.types, self.entities, self.times)))


NO_ROWS: Final = Rows(np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.uint8))


def pack_rows(entities: Sequence[int], *, time_s: int, action: int) -> bytes:
    """Return a packed row for each entity, all of one time and one action.

    By `struct`: for the 20 pins of a page it takes half the time of numpy.
    """
    words = [action << 32 | time_s] * (2 * len(entities))
    words[::2] = entities
    return struct.pack(f"<{len(words)}Q", *words)


def unpack_rows(data: bytes) -> Rows:
    """Return packed rows as columns, in their order.

    Raises:
        CorruptValue: the length is not a whole number of rows.
    """
    if not data:
        return NO_ROWS
    if len(data) % ROW_BYTES:
        raise CorruptValue(f"{len(data)} bytes are not rows of {ROW_BYTES}: restore a checkpoint")
    packed = np.frombuffer(data, dtype="<u8").reshape(-1, 2)
    return Rows(
        np.ascontiguousarray(packed[:, 0]),
        (packed[:, 1] & _TIME_MASK).astype(np.uint32),
        (packed[:, 1] >> _TYPE_SHIFT).astype(np.uint8),
    )


def concat(parts: Sequence[Rows]) -> Rows:
    """Return all rows of the parts, part by part."""
    if not parts:
        return NO_ROWS
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.entities for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.types for part in parts]),
    )
