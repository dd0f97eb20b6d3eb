"""From the log to the arenas and the store: the view of the topic `pins`.

`apply` turns decoded records into columns and hands them to the arena of their kind in slices of
`slice_records`; what the arena says became of each (applied, ignored, displaced a pin) goes to the batch,
so the store holds exactly what memory holds.
A pin that is saved again to a board takes the later save's time, quality and flags; a save or removal older
than the save that is there changes nothing. A board needs no `put_board` before its pins (its owner is then
0); `delete_board` takes all its pins, and later saves begin it anew. Of interests the last word by the
event's time stays, removals included: `last_word.py`.
Next: `decoding.py`, `arena.py`, `store.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from feedmesh.log.v1 import record_pb2
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.batch import Batch
from services.chassis.storage.store import Store
from services.polaris import store
from services.polaris.arena_changes import IGNORED, PUT_BOARD, REMOVE, SAVE, Changes
from services.polaris.config import PolarisConfig
from services.polaris.decoding import PinChange, decode
from services.polaris.last_word import is_making_room, standing
from services.polaris.light_score import LightScale
from services.polaris.lists import INTEREST, Lists, PinLists
from services.polaris.metrics import PolarisMetrics


class PinsView:
    """The view that a Follower drives; the arenas are its memory."""

    topics: Sequence[str] = ("pins",)

    def __init__(
        self,
        lists: Lists,
        metrics: PolarisMetrics,
        *,
        config: PolarisConfig,
        owned: OwnedShards,
        database: Store,
    ) -> None:
        self._lists = lists
        self._metrics = metrics
        self._config = config
        self._owned = owned
        self._database = database

    def decode(self, record: record_pb2.Record) -> PinChange | None:
        """The change that a record makes; None for events that Polaris does not follow.

        Raises PoisonRecord.
        """
        return decode(record, quality_default=self._config.quality_default)

    def apply(self, changes: Sequence[PinChange], batch: Batch) -> None:
        """Change the arenas, and put the same into `batch`."""
        told = [change for change in changes if change.told_ms]
        of_boards = [change for change in changes if not change.told_ms] if told else changes
        self._apply_to(self._lists.boards, of_boards, batch, record_count=len(of_boards))
        shards = self._owned.shards_of(np.array([change.board for change in told], np.uint64))
        stands = standing(self._database, told, shards.tolist())
        self._metrics.applied(INTEREST, 0, ignored_count=len(told) - stands.record_count, displaced_count=0)
        self._apply_to(self._lists.interests, stands.changes, batch, record_count=stands.record_count)

    def _apply_to(
        self, lists: PinLists, changes: Sequence[PinChange], batch: Batch, *, record_count: int
    ) -> None:
        for some in _slices(changes, self._config.slice_records):
            self._apply_slice(lists, some, batch)
        # A batch of saves may add as many pins as it has records.
        spare = self._config.shrink_pins
        boards, pins = lists.arena.shrink(spare_pins=spare, most_pins=spare + record_count)
        shards = self._owned.shards_of(boards)
        for shard, board, pin in zip(shards.tolist(), boards.tolist(), pins.tolist(), strict=True):
            store.delete_pin(batch, lists.kind, shard, board, pin)
        self._metrics.shrunk(lists.kind, len(pins))

    def _apply_slice(self, lists: PinLists, changes: Sequence[PinChange], batch: Batch) -> None:
        columns = _columns(changes, lists.scale)
        results, displaced = lists.arena.apply(columns)
        shards = self._owned.shards_of(columns.boards)
        applied_count = ignored_count = displaced_count = 0
        for change, shard, result, fell in zip(
            changes, shards.tolist(), results.tolist(), displaced.tolist(), strict=True
        ):
            if result == IGNORED:
                ignored_count += 1
                continue
            if is_making_room(change):
                continue
            applied_count += 1
            _write(batch, lists.kind, change, shard)
            if fell:
                displaced_count += 1
                store.delete_pin(batch, lists.kind, shard, change.board, fell)
        self._metrics.applied(
            lists.kind, applied_count, ignored_count=ignored_count, displaced_count=displaced_count
        )


def _slices(changes: Sequence[PinChange], size: int) -> Iterator[Sequence[PinChange]]:
    first = 0
    while first < len(changes):
        end = first + size
        # A pin that makes room for itself stays in one slice, or a reader could miss it in between.
        end += is_making_room(changes[min(end, len(changes)) - 1])
        yield changes[first:end]
        first = end


def _columns(changes: Sequence[PinChange], scale: LightScale) -> Changes:
    kinds, boards, times_ms, pins, qualities, flags, owners, _ = zip(*changes, strict=True)
    saved_at = (np.array(times_ms, dtype=np.int64) // 1000).astype(np.uint32)
    stored_qualities = np.array(qualities, dtype=np.float32)
    return Changes(
        kinds=np.array(kinds, dtype=np.uint8),
        boards=np.array(boards, dtype=np.uint64),
        pins=np.array(pins, dtype=np.uint64),
        # From the float32 that is stored, so that a restart comes to the same key.
        keys=scale.keys(qualities=stored_qualities, saved_at=saved_at),
        saved_at=saved_at,
        flags=np.array(flags, dtype=np.uint32),
        owners=np.array(owners, dtype=np.uint64),
    )


def _write(batch: Batch, list_kind: str, change: PinChange, shard: int) -> None:
    board, pin, saved_at = change.board, change.pin, change.time_ms // 1000
    if list_kind == INTEREST:
        if change.kind == SAVE:
            store.put_interest_pin(
                batch, shard, board, pin, saved_at=saved_at, flags=change.flags, quality=change.quality,
                told_ms=change.told_ms,
            )  # fmt: skip
        else:
            store.put_interest_removal(batch, shard, board, pin, told_ms=change.told_ms)
    elif change.kind == SAVE:
        store.put_pin(batch, shard, board, pin, saved_at=saved_at, flags=change.flags, quality=change.quality)
    elif change.kind == REMOVE:
        store.delete_pin(batch, list_kind, shard, board, pin)
    elif change.kind == PUT_BOARD:
        store.put_board(batch, shard, board, owner=change.owner, put_ms=change.time_ms)
    else:
        store.delete_board(batch, shard, board)
