"""The log's history: what was shown, done and written, as far as training wants it, in order of time.

Read once over the public stream (`LogService.Tail`) from the oldest record to where the log ended when the
reading began, so a log that is written meanwhile does not hold it up. The topics `actions` and `objects`
say everything: a save is whole in `actions`, a board in `objects`. A record that was published twice is
taken once (by its id). Records that make no sense are passed over and counted, as followers do.
Order is by event time, as serving saw it when events came in time; ties stay in the order of the log.
Costs about 10 µs and 1 KB a record; a log beyond `records_max` is refused before it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from feedmesh.log.v1 import event_pb2, record_pb2
from services.chassis.columns.packed import unpack_f32, unpack_u64
from services.chassis.errors import BadRequest, FeedmeshError, LogUnavailable, PoisonRecord
from services.chassis.log.log import LogReader, Positions
from services.chassis.log.records import RECORD_VERSION_MAX
from services.realpin.ingest import Acted, Forgotten, Shown, change_of
from services.rockstore.schema import Kind

TOPICS: Final = ("objects", "actions")
"""Objects first: of one moment, a pin is there before it is acted on."""
RECORDS_MAX: Final = 5_000_000
_POLL_MS: Final = 1_000
_SILENCE_POLLS: Final = 30

Progress: TypeAlias = Callable[[int, int], None]
"""Called with records read so far, and records to read."""


@dataclass(frozen=True, slots=True)
class Action:
    """An engagement or hide. `counted`: whether it counts for the pin (a `hide` event does not)."""

    acted: Acted
    counted: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """A pin on a board: an action of its user, too."""

    acted: Acted
    board: int
    quality: float
    """0: the default."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A pin taken off a board."""

    pin: int
    board: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Pins shown at once: one session of training data when `action` is IMPRESSION."""

    shown: Shown
    pins: Sequence[int]
    boards: Sequence[int]
    """Aligned with `pins`, 0 where unknown; or empty."""


@dataclass(frozen=True, slots=True)
class PutRow:
    """An object's feature row, or its delete."""

    kind: int
    """`Kind` of Rockstore."""
    id: int
    row: int
    """Place in the kind's `History.rows`; -1: the object was deleted."""
    version: int
    gone_ms: int
    """When it expires; 0: it stays."""


@dataclass(frozen=True, slots=True)
class PutBoard:
    """A board and its owner."""

    board: int
    owner: int


Happening: TypeAlias = Action | Saved | Removed | Seen | PutRow | PutBoard | Forgotten


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """A feature row as it was published."""

    version: int
    features: NDArray[np.float32]
    ids: NDArray[np.uint64]


@dataclass(slots=True)
class History:
    """What happened, `times_ms` aligned with `happenings`, oldest first."""

    times_ms: list[int] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    rows: dict[int, list[WrittenRow]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    """By `Kind` of Rockstore, in the order of the log."""
    record_count: int = 0
    duplicate_count: int = 0
    poison_count: int = 0

    def add(self, time_ms: int, happening: Happening) -> None:
        """Append; `in_order` sorts."""
        self.times_ms.append(time_ms)
        self.happenings.append(happening)

    def in_order(self) -> History:
        """The same, oldest first; equal times stay as they were."""
        order = sorted(range(len(self.times_ms)), key=self.times_ms.__getitem__)
        self.happenings = [self.happenings[place] for place in order]
        self.times_ms = [self.times_ms[place] for place in order]
        return self


def read_history(log: LogReader, *, records_max: int, progress: Progress) -> History:
    """Everything up to the log's present end.

    Raises:
        BadRequest: more than `records_max` records.
        LogUnavailable: the log went silent.
    """
    begins = {topic: log.begin_offsets(topic) for topic in TOPICS}
    ends = {topic: log.end_offsets(topic) for topic in TOPICS}
    total = sum(sum(ends[topic]) - sum(begins[topic]) for topic in TOPICS)
    if total > records_max:
        raise BadRequest(
            f"the log holds up to {total:,} records of actions and objects; --records-max is {records_max:,} "
            "(about 1 KB of memory each)"
        )
    history = History()
    seen: set[int] = set()
    read = 0
    for topic in TOPICS:
        for values in _values(log, topic, begins[topic], ends[topic]):
            for value in values:
                _take(value, history, seen)
            read += len(values)
            progress(read, total)
    history.record_count = read
    return history.in_order()


def _values(
    log: LogReader, topic: str, begins: Sequence[int], ends: Sequence[int]
) -> Iterator[Sequence[bytes]]:
    """Every value of a topic before `ends`, by chunk. The last offset of a partition may be no record's."""
    positions: Positions = {
        (topic, partition): begin for partition, begin in enumerate(begins) if begin < ends[partition]
    }
    left = dict(positions)
    if not left:
        return
    tail = log.tail(positions)
    silent = 0
    try:
        while left:
            chunks = tail.poll(timeout_ms=_POLL_MS)
            silent = 0 if chunks else silent + 1
            if silent > _SILENCE_POLLS:
                raise LogUnavailable(f"the log sent nothing of {topic} for {_SILENCE_POLLS} s")
            for chunk in chunks:
                end = ends[chunk.partition]
                yield [
                    value for offset, value in zip(chunk.offsets, chunk.values, strict=True) if offset < end
                ]
                if chunk.next_offset >= end:
                    left.pop((topic, chunk.partition), None)
    finally:
        tail.close()


def _take(value: bytes, history: History, seen: set[int]) -> None:
    try:
        record = record_pb2.Record.FromString(value)
        if record.version > RECORD_VERSION_MAX:
            raise PoisonRecord(f"version {record.version}")
        # A dead letter that was replayed, for one service: the record itself lies where it lay.
        if record.record_id in seen or record.only_for:
            history.duplicate_count += 1
            return
        seen.add(record.record_id)
        happening = _happening(record, history.rows)
    except (DecodeError, FeedmeshError):
        history.poison_count += 1
        return
    if happening is not None:
        history.add(record.time_ms, happening)


def _happening(record: record_pb2.Record, rows: dict[int, list[WrittenRow]]) -> Happening | None:
    event = record.event
    body = event.WhichOneof("body")
    if body in {"put_object", "put_board", "delete_object", "delete_board"}:
        return _written(event, body, rows, record.time_ms)
    if body == "remove_pin":
        return Removed(event.remove_pin.pin, event.remove_pin.board)
    change = change_of(record)
    if isinstance(change, Shown):
        return Seen(change, event.impressions.pins[:], event.impressions.boards[:])
    if isinstance(change, Acted):
        if body == "save_pin":
            return Saved(change, event.save_pin.board, event.save_pin.quality)
        return Action(change, counted=body == "action")
    return change


def _written(
    event: event_pb2.Event, body: str, rows: dict[int, list[WrittenRow]], time_ms: int
) -> PutRow | PutBoard | None:
    """What a record of `objects` writes, as far as features are made of it."""
    if body == "put_board":
        return PutBoard(event.put_board.board, event.put_board.board_data.owner)
    if body == "delete_board":
        return PutRow(int(Kind.BOARD), event.delete_board.board, -1, time_ms, 0)
    if body == "delete_object":
        deleted = event.delete_object
        return PutRow(deleted.kind, deleted.id, -1, deleted.version or time_ms, 0)
    put = event.put_object
    name = put.WhichOneof("object")
    if name is None or not (put.features_f32 or put.feature_ids_u64):
        return None
    kind = int(Kind[name.upper()])
    row = WrittenRow(put.schema_version, unpack_f32(put.features_f32), unpack_u64(put.feature_ids_u64))
    rows[kind].append(row)
    gone_ms = time_ms + put.ttl_seconds * 1000 if put.ttl_seconds else 0
    return PutRow(kind, put.id, len(rows[kind]) - 1, put.version or time_ms, gone_ms)
