"""From the log to the arena and the store: the view of the topic `pins`.

`decode` refuses (PoisonRecord) ids of 0, keys of another board, qualities outside 0..1, and times that a
uint32 of seconds cannot hold. `apply` turns the records into columns and hands them to the arena in slices
of `slice_records`; what the arena says became of each (applied, ignored, displaced a pin) goes to the batch,
so the store holds exactly what memory holds.
A pin that is saved again to a board takes the later save's time, quality and flags; a save or removal older
than the save that is there changes nothing. A board needs no `put_board` before its pins (its owner is then
0); `delete_board` takes all its pins, and later saves begin it anew.
Next: `arena.py`, `store.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import PoisonRecord
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.batch import Batch
from services.polaris import store
from services.polaris.arena import Arena
from services.polaris.arena_changes import (
    DELETE_BOARD,
    IGNORED,
    PUT_BOARD,
    REMOVE,
    SAVE,
    Changes,
)
from services.polaris.config import PolarisConfig
from services.polaris.light_score import SAVED_AT_MAX, LightScale
from services.polaris.metrics import PolarisMetrics


class PinChange(NamedTuple):
    """One record, decoded; fields that a kind does not need are 0."""

    kind: int
    board: int
    time_ms: int
    pin: int = 0
    quality: float = 1.0
    flags: int = 0
    owner: int = 0


class PinsView:
    """The view that a Follower drives; the arena is its memory."""

    topics: Sequence[str] = ("pins",)

    def __init__(
        self,
        arena: Arena,
        metrics: PolarisMetrics,
        *,
        config: PolarisConfig,
        owned: OwnedShards,
        scale: LightScale,
    ) -> None:
        self._arena = arena
        self._metrics = metrics
        self._config = config
        self._owned = owned
        self._scale = scale

    def decode(self, record: record_pb2.Record) -> PinChange | None:
        """The change that a record makes; None for events that Polaris does not follow.

        Raises PoisonRecord.
        """
        body = record.event.WhichOneof("body") if record.HasField("event") else None
        decode = _DECODERS.get(body or "")
        if decode is None:
            return None
        if record.role != record_pb2.ROLE_BOARD:
            raise PoisonRecord(f"{body} has role {record.role}, must be at the board")
        if not 0 < record.time_ms // 1000 <= SAVED_AT_MAX:
            raise PoisonRecord(f"{body} has time_ms {record.time_ms}, outside 1970 to 2106")
        change = decode(record, self._config.quality_default)
        if not change.board or change.board != record.key:
            raise PoisonRecord(f"{body} of board {change.board} lies under key {record.key}")
        return change

    def apply(self, changes: Sequence[PinChange], batch: Batch) -> None:
        """Change the arena, and put the same into `batch`."""
        slice_size = self._config.slice_records
        for first in range(0, len(changes), slice_size):
            self._apply_slice(changes[first : first + slice_size], batch)
        # A batch of saves may add as many pins as it has records.
        most = self._config.shrink_pins + self._config.follower.batch_records_max
        boards, pins = self._arena.shrink(spare_pins=self._config.shrink_pins, most_pins=most)
        shards = self._owned.shards_of(boards)
        for shard, board, pin in zip(shards.tolist(), boards.tolist(), pins.tolist(), strict=True):
            store.delete_pin(batch, shard, board, pin)
        self._metrics.shrunk(len(pins))

    def _apply_slice(self, changes: Sequence[PinChange], batch: Batch) -> None:
        columns = self._columns(changes)
        results, displaced = self._arena.apply(columns)
        shards = self._owned.shards_of(columns.boards)
        ignored_count = displaced_count = 0
        for change, shard, result, fell in zip(
            changes, shards.tolist(), results.tolist(), displaced.tolist(), strict=True
        ):
            if result == IGNORED:
                ignored_count += 1
                continue
            _write(batch, change, shard)
            if fell:
                displaced_count += 1
                store.delete_pin(batch, shard, change.board, fell)
        self._metrics.applied(
            len(changes) - ignored_count, ignored_count=ignored_count, displaced_count=displaced_count
        )

    def _columns(self, changes: Sequence[PinChange]) -> Changes:
        kinds, boards, times_ms, pins, qualities, flags, owners = zip(*changes, strict=True)
        saved_at = (np.array(times_ms, dtype=np.int64) // 1000).astype(np.uint32)
        stored_qualities = np.array(qualities, dtype=np.float32)
        return Changes(
            kinds=np.array(kinds, dtype=np.uint8),
            boards=np.array(boards, dtype=np.uint64),
            pins=np.array(pins, dtype=np.uint64),
            # From the float32 that is stored, so that a restart comes to the same key.
            keys=self._scale.keys(qualities=stored_qualities, saved_at=saved_at),
            saved_at=saved_at,
            flags=np.array(flags, dtype=np.uint32),
            owners=np.array(owners, dtype=np.uint64),
        )


def _write(batch: Batch, change: PinChange, shard: int) -> None:
    board, saved_at = change.board, change.time_ms // 1000
    if change.kind == SAVE:
        store.put_pin(
            batch, shard, board, change.pin, saved_at=saved_at, flags=change.flags, quality=change.quality
        )
    elif change.kind == REMOVE:
        store.delete_pin(batch, shard, board, change.pin)
    elif change.kind == PUT_BOARD:
        store.put_board(batch, shard, board, owner=change.owner, put_ms=change.time_ms)
    else:
        store.delete_board(batch, shard, board)


def _save_pin(record: record_pb2.Record, quality_default: float) -> PinChange:
    save = record.event.save_pin
    quality = save.quality or quality_default
    if not save.pin:
        raise PoisonRecord("save_pin has pin 0")
    if not (math.isfinite(quality) and 0.0 < quality <= 1.0):
        raise PoisonRecord(
            f"save_pin of pin {save.pin} has quality {save.quality}, must be over 0, at most 1"
        )
    return PinChange(SAVE, save.board, record.time_ms, save.pin, quality, save.flags)


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


_DECODERS: dict[str, Callable[[record_pb2.Record, float], PinChange]] = {
    "save_pin": _save_pin,
    "remove_pin": _remove_pin,
    "put_board": _put_board,
    "delete_board": _delete_board,
}
