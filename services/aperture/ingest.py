"""Owns the way from a record of `actions` to rows: the view of Aperture's follower.

    decode: record -> Seen (packed rows) | Forgotten
    apply:  the last batch is committed -> rows into memory -> lanes spilled -> redo log
    upkeep: the last batch is committed -> freezer's slice -> lanes spilled

What becomes a row: `action`; `save_pin`, as SAVE of the pin; every pin of `impressions`; `hide` of a pin, as
HIDE. `remove_pin` does not, nor does a hide that is taken back: the pin was seen all the same, and history is
not rewritten. Hidden boards and owners are Apiary's.

Everything of a batch goes into the follower's one batch: rows (redo log, or tails when their lane is
spilled), frozen buckets, clock. Memory after a crash is the redo log, read again by `load`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.aperture.freezer import Freezer
from services.aperture.metrics import ApertureMetrics
from services.aperture.mutable import LANES, Mutable
from services.aperture.rows import ROW_BYTES, TIME_S_MAX, ActionType, pack_rows
from services.aperture.spill import SpillLimits, put_lane
from services.aperture.store import ApertureStore, redo_group
from services.chassis.errors import PoisonRecord
from services.chassis.storage import Batch

TOPICS: Final = ("actions",)
PINS_MAX: Final = 1_000
_ACTIONS = frozenset(int(action) for action in ActionType)
_SHOWN = frozenset((int(ActionType.IMPRESSION), int(ActionType.SERVED)))


class Seen(NamedTuple):
    """Rows of one record: one user, one second, one action."""

    user: int
    time_s: int
    data: bytes
    """Packed rows."""


class Forgotten(NamedTuple):
    """Everything of the user goes."""

    user: int


Change: TypeAlias = Seen | Forgotten


class ApertureView:
    """The follower's view; see the head of the file. `load` first."""

    topics = TOPICS

    def __init__(
        self,
        *,
        store: ApertureStore,
        mutable: Mutable,
        freezer: Freezer,
        limits: SpillLimits,
        retention_s: int,
        freeze_every_batches: int,
        metrics: ApertureMetrics,
    ) -> None:
        self._store = store
        self._mutable = mutable
        self._freezer = freezer
        self._limits = limits
        self._retention_s = retention_s
        self._freeze_every_batches = freeze_every_batches
        self._metrics = metrics
        self._clock_s = 0
        self._sequence = 0
        self._batches_unfrozen = 0
        # Lanes to spill, first come first served: full ones before those that a closed bucket wants spilled.
        self._full: dict[int, None] = {}
        self._due: dict[int, None] = {}

    def load(self) -> None:
        """Fill memory from the redo log; before the follower starts. Blocks for about 1 s for 100 MB."""
        for number, sequence, groups in self._store.redo():
            for user, bucket, data in groups:
                if data is None:
                    self._mutable.forget(number, user)
                else:
                    self._mutable.append(number, user, bucket, data)
            self._sequence = max(self._sequence, sequence + 1)
            self._note_full(number)
        # Deletes of forgotten users are committed with their redo groups: nothing is left to hide.
        for _, lane in self._mutable.lanes():
            lane.forgotten.clear()
        self._advance(self._store.clock_s())
        self._metrics.mutable_bytes.set(self._mutable.size_bytes)

    def decode(self, record: record_pb2.Record) -> Change | None:
        """The change that a record makes; None for what is no row. Raises PoisonRecord."""
        time_s = record.time_ms // 1000
        if not 0 < time_s <= TIME_S_MAX:
            raise PoisonRecord(f"time_ms {record.time_ms} is not a time that can be stored")
        body = record.event.WhichOneof("body") if record.WhichOneof("body") == "event" else None
        if body is None:
            raise PoisonRecord("a record of `actions` needs an event with a body")
        change = _change(record, body, time_s)
        if change is not None and change.user != record.key:
            raise PoisonRecord(f"the key {record.key} is not the event's user {change.user}")
        return change

    def apply(self, changes: Sequence[Change], batch: Batch) -> None:
        """Take one batch of changes in. A call means that the batch of the call before is committed."""
        self._mutable.drop_spilled()
        self._batches_unfrozen += 1
        if self._batches_unfrozen >= self._freeze_every_batches:
            # Before the rows, on what is committed: what it deletes must not meet what this batch adds.
            self._freeze(batch)
        touched = self._take(changes, batch)
        newest_s = max((change.time_s for change in changes if isinstance(change, Seen)), default=0)
        if newest_s > self._clock_s:
            self._advance(newest_s)
            self._store.put_clock(batch, self._clock_s)
        spilled = self._spill(batch)
        for number, groups in touched.items():
            if number not in spilled:
                self._store.put_redo(batch, number, sequence=self._sequence, groups=groups)
        self._sequence += 1
        self._metrics.mutable_bytes.set(self._mutable.size_bytes)

    @property
    def upkeep_waits(self) -> bool:
        """See `Upkeep`."""
        return bool(self._due or self._full) or not self._freezer.idle

    def upkeep(self, batch: Batch) -> None:
        """See `Upkeep`. A call means that the batch of the call before is committed, as with `apply`."""
        self._mutable.drop_spilled()
        self._freeze(batch)
        self._spill(batch)
        self._metrics.mutable_bytes.set(self._mutable.size_bytes)

    def _freeze(self, batch: Batch) -> None:
        self._batches_unfrozen = 0
        self._freezer.run(batch)

    def _take(self, changes: Sequence[Change], batch: Batch) -> dict[int, list[bytes]]:
        """Put the rows into memory; returns the redo groups by lane."""
        store, mutable = self._store, self._mutable
        bucket_s, oldest_s = store.bucket_s, self._clock_s - self._retention_s
        users = np.fromiter((change.user for change in changes), dtype=np.uint64, count=len(changes))
        touched: dict[int, list[bytes]] = {}
        row_count = expired_count = 0
        for change, number in zip(changes, store.lanes_of(users).tolist(), strict=True):
            user = change.user
            if isinstance(change, Forgotten):
                mutable.forget(number, user)
                store.forget(batch, user)
                self._freezer.forgot(number // LANES)
                # Its rows are still in the lane's redo log: spill it soon, which drops that.
                self._due[number] = None
                self._metrics.forgotten.inc()
                group = redo_group(user, 0, None)
            elif change.time_s <= oldest_s:
                expired_count += len(change.data) // ROW_BYTES
                continue
            else:
                bucket = change.time_s // bucket_s
                mutable.append(number, user, bucket, change.data)
                row_count += len(change.data) // ROW_BYTES
                group = redo_group(user, bucket, change.data)
            if number in touched:
                touched[number].append(group)
            else:
                touched[number] = [group]
        self._metrics.rows.inc(row_count)
        self._metrics.rows_expired.inc(expired_count)
        for number in touched:
            self._note_full(number)
        return touched

    def _advance(self, clock_s: int) -> None:
        self._clock_s = max(self._clock_s, clock_s)
        if self._freezer.advance(self._clock_s):
            boundary = self._freezer.boundary
            closed = (n for n, lane in self._mutable.lanes() if lane.oldest_bucket < boundary)
            self._due.update((number, None) for number in closed)

    def _note_full(self, number: int) -> None:
        lane = self._mutable.lane(number)
        if lane.size_bytes > self._limits.lane_bytes or lane.pieces > self._limits.lane_pieces:
            self._full[number] = None

    def _spill(self, batch: Batch) -> set[int]:
        """Put the lanes that must go into the batch, as many as its limits allow."""
        limits, mutable = self._limits, self._mutable
        excess = mutable.size_bytes - limits.mutable_bytes
        if excess > 0:
            sizes = ((lane.size_bytes, number) for number, lane in mutable.lanes())
            for lane_bytes, number in heapq.nlargest(limits.excess_lanes, sizes):
                if excess > 0:
                    self._full[number] = None
                    excess -= lane_bytes
        chosen: list[int] = []
        pieces = size_bytes = 0
        for number in (*self._full, *self._due):
            lane = mutable.lane(number)
            pieces += lane.pieces
            size_bytes += lane.size_bytes
            if chosen and (pieces > limits.pieces or size_bytes > limits.size_bytes):
                break
            if number not in chosen:
                chosen.append(number)
        for number in chosen:
            self._full.pop(number, None)
            self._due.pop(number, None)
            tails = put_lane(self._store, batch, number, mutable.lane(number))
            self._freezer.spilled(number // LANES)
            self._metrics.spilled_tails.inc(tails)
        self._metrics.spilled_lanes.inc(len(chosen))
        mutable.spilled(chosen)
        return set(chosen)


def _change(record: record_pb2.Record, body: str, time_s: int) -> Change | None:
    event = record.event
    if body == "impressions":
        return _shown(event.impressions, time_s)
    if body == "action":
        action = event.action
        if action.type not in _ACTIONS:
            raise PoisonRecord(f"action type {action.type} is not known")
        return _one(action.user, action.pin, time_s, action.type)
    if body == "save_pin":
        return _one(event.save_pin.user, event.save_pin.pin, time_s, ActionType.SAVE)
    if body == "forget_user":
        _need(user=event.forget_user.user)
        return Forgotten(event.forget_user.user)
    if body not in {"hide", "remove_pin"}:
        raise PoisonRecord(f"an event {body} does not belong into `actions`")
    hide = event.hide
    if body == "remove_pin" or hide.undo or hide.kind != type_pb2.OBJECT_KIND_PIN:
        return None
    return _one(hide.user, hide.id, time_s, ActionType.HIDE)


def _shown(shown: event_pb2.Impressions, time_s: int) -> Seen:
    # A slice of a repeated field is a list, made in one go.
    pins = shown.pins[:]
    if shown.type not in _SHOWN:
        raise PoisonRecord(f"impressions of action type {shown.type}")
    if not 1 <= len(pins) <= PINS_MAX:
        raise PoisonRecord(f"impressions of {len(pins)} pins, must be 1 to {PINS_MAX}")
    _need(user=shown.user, pin=0 not in pins)
    return Seen(shown.user, time_s, pack_rows(pins, time_s=time_s, action=shown.type))


def _one(user: int, pin: int, time_s: int, action: int) -> Seen:
    _need(user=user, pin=pin)
    return Seen(user, time_s, pack_rows((pin,), time_s=time_s, action=action))


def _need(**values: int) -> None:
    for name, value in values.items():
        if not value:
            raise PoisonRecord(f"{name} is missing")
