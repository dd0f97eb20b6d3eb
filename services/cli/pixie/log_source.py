"""Edges and attributes from the log: what was saved and not taken off again, what is said of pins.

Reads the topic `pins` from its oldest record to where it ends when the reading begins: saves, removals,
deleted boards; what happened last, by the event's time, counts. Attributes are in `objects`, of which a later
record of a pin goes before an earlier one. Records that make no sense are passed over, as followers do.
A log that was trimmed no longer has what was saved before: `begins_late`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from feedmesh.log.v1 import event_pb2, record_pb2
from services.chassis.log.log import LogReader
from services.chassis.log.records import RECORD_VERSION_MAX
from services.cli.log.reading import read_to_end, start_positions
from services.pixie.building.source import AttributeChunk, EdgeChunk, states_of

PINS: Final = "pins"
OBJECTS: Final = "objects"
_CHUNK_RECORDS: Final = 100_000
_MADE = TypeVar("_MADE")

_Change = tuple[int, int, int, bool]
"""Pin, board, time in milliseconds, whether it was saved."""
_Attributes = tuple[int, str, list[str]]


class LogSource:
    """A source: the whole log."""

    def __init__(self, log: LogReader, name: str) -> None:
        self._log = log
        self._name = name
        self._deleted: dict[int, int] = {}

    @property
    def text(self) -> str:
        """The mesh."""
        return f"the log of {self._name}"

    @property
    def edge_count(self) -> int | None:
        """At most so many: records of the topic."""
        ends, begins = self._log.end_offsets(PINS), self._log.begin_offsets(PINS)
        return sum(ends) - sum(begins)

    @property
    def begins_late(self) -> bool:
        """Whether the log was trimmed: older saves are not in it."""
        return any(self._log.begin_offsets(PINS))

    def edges(self) -> Iterator[EdgeChunk]:
        """Every save and removal, with its state. Raises LogUnavailable."""
        for changes in self._chunks(PINS, self._change):
            pins, boards, times_ms, saved = zip(*changes, strict=True)
            yield EdgeChunk(
                np.array(pins, np.uint64),
                np.array(boards, np.uint64),
                states_of(np.array(times_ms, np.uint64), np.array(saved, np.bool_)),
            )

    def deleted_boards(self) -> Mapping[int, int]:
        """Boards that were deleted, and when last."""
        return self._deleted

    def attributes(self) -> Iterator[AttributeChunk] | None:
        """Languages and interests of pins. Raises LogUnavailable."""
        return self._attributes()

    def _attributes(self) -> Iterator[AttributeChunk]:
        for known in self._chunks(OBJECTS, _attributes):
            pins, languages, interests = zip(*known, strict=True)
            yield AttributeChunk(np.array(pins, np.uint64), languages, interests)

    def _change(self, record: record_pb2.Record) -> _Change | None:
        event = record.event
        body = event.WhichOneof("body")
        if record.role != record_pb2.ROLE_BOARD or body not in ("save_pin", "remove_pin", "delete_board"):
            return None
        if body == "delete_board":
            board = event.delete_board.board
            self._deleted[board] = max(record.time_ms, self._deleted.get(board, 0))
            return None
        told: event_pb2.SavePin | event_pb2.RemovePin = getattr(event, body)
        if not told.pin or not told.board or record.time_ms < 0:
            return None
        return told.pin, told.board, record.time_ms, body == "save_pin"

    def _chunks(self, topic: str, take: Callable[[record_pb2.Record], _MADE | None]) -> Iterator[list[_MADE]]:
        """What is made of the records of a topic, some at a time, never none."""
        partitions = range(self._log.topics[topic])
        taken: list[_MADE] = []
        for found in read_to_end(self._log, start_positions(self._log, topic, partitions, "begin")):
            made = _taken(found.value, take)
            if made is not None:
                taken.append(made)
            if len(taken) == _CHUNK_RECORDS:
                yield taken
                taken = []
        if taken:
            yield taken


def _taken(value: bytes, take: Callable[[record_pb2.Record], _MADE | None]) -> _MADE | None:
    try:
        record = record_pb2.Record.FromString(value)
    except DecodeError:
        return None
    # A dead letter that was replayed, for one service: the record itself lies where it lay.
    if record.version > RECORD_VERSION_MAX or record.only_for or not record.HasField("event"):
        return None
    return take(record)


def _attributes(record: record_pb2.Record) -> _Attributes | None:
    event = record.event
    if event.WhichOneof("body") != "put_object" or event.put_object.WhichOneof("object") != "pin":
        return None
    put = event.put_object
    return (put.id, put.pin.language, list(put.pin.interests)) if put.id else None
