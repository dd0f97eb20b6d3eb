"""Bytes of the log → changes of a view: parse, drop duplicates and other shards, decode, set poison aside.

Pure but for the window of recent ids. About 2 µs a record before the view's own `decode`: names are
bound outside of the loops, and nothing is logged or counted per record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import FeedmeshError, InvalidId
from services.chassis.log.dedup import RecentIds
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.log import Chunk, TopicPartition
from services.chassis.log.view import Change, View
from services.chassis.shards.owned import OwnedShards

RECORD_VERSION: Final = 1
"""Format of ordinary records."""
ADDRESSED_VERSION: Final = 2
"""Format of a record with `only_for`: one that does not know the field must not apply it."""
INTEREST_VERSION: Final = 3
"""Format of a record at an interest: to one that does not know the event it would look like nothing to do."""
RECORD_VERSION_MAX: Final = 3
"""The newest format that this code reads."""

LETTER_VALUE_BYTES_MAX: Final = 1_000_000
"""Of a poison record's bytes; with reason and names it stays under the 1 MiB of a dead letter."""
_REASON_CHARS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that cannot be applied."""

    topic: str
    partition: int
    offset: int
    value: bytes
    reason: str


@dataclass(slots=True)
class Decoded:
    """What a piece of the log comes to."""

    changes: list[Change] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    fresh_ids: list[tuple[int, NDArray[np.uint64], int]] = field(default_factory=list)
    """(row of the window, ids, next offset)."""
    counts: dict[str, int] = field(default_factory=dict)
    """Records by topic."""
    oldest_ms: int = 0
    """Least event time of the records applied; 0 without any."""


@dataclass(slots=True)
class _Parsed:
    """Records that could be parsed; `sources` says of each where it lay, `spans` where each chunk's are."""

    records: list[record_pb2.Record] = field(default_factory=list)
    sources: list[tuple[Chunk, int]] = field(default_factory=list)
    spans: list[tuple[Chunk, int, int]] = field(default_factory=list)


class RecordReader:
    """Reads the records of the given places for one view."""

    def __init__(
        self,
        places: Sequence[TopicPartition],
        *,
        partitions: Mapping[str, int],
        view: View,
        owned: OwnedShards,
        recent: RecentIds,
        metrics: FollowerMetrics,
        service: str = "",
    ) -> None:
        self._service = service
        self._rows = {place: row for row, place in enumerate(places)}
        self._view = view
        self._owned = owned
        self._recent = recent
        self._metrics = metrics
        # With a partition for each shard, what is read is owned: no key needs to be hashed.
        self._shared = any(partitions[topic] != owned.num_shards for topic in view.topics)

    def read(self, chunks: Sequence[Chunk]) -> Decoded:
        """Parse and decode the chunks in order. Admits their ids: each chunk may be read once."""
        decoded, batch = Decoded(), _Parsed()
        for chunk in chunks:
            first = len(batch.records)
            _parse(chunk, batch, decoded.poison, service=self._service)
            batch.spans.append((chunk, first, len(batch.records)))
            decoded.counts[chunk.topic] = decoded.counts.get(chunk.topic, 0) + len(chunk.values)
        if batch.records:
            keep = self._admit(batch, decoded)
            if self._shared:
                keep &= self._owned_records(batch, keep, decoded.poison)
            self._decode(batch, keep, decoded)
        return decoded

    def _admit(self, batch: _Parsed, decoded: Decoded) -> NDArray[np.bool_]:
        count = len(batch.records)
        ids = np.fromiter((record.record_id for record in batch.records), dtype=np.uint64, count=count)
        rows = np.empty(count, dtype=np.int64)
        for chunk, first, end in batch.spans:
            rows[first:end] = self._rows[chunk.topic, chunk.partition]
        fresh = self._recent.admit(rows, ids)
        for chunk, first, end in batch.spans:
            new = ids[first:end][fresh[first:end]]
            if new.size:
                decoded.fresh_ids.append((int(rows[first]), new, chunk.next_offset))
            if new.size < end - first:
                self._metrics.duplicates.labels(chunk.topic).inc(end - first - new.size)
        return fresh

    def _owned_records(
        self, batch: _Parsed, keep: NDArray[np.bool_], poison: list[Poison]
    ) -> NDArray[np.bool_]:
        records = batch.records
        keys = np.fromiter((record.key for record in records), dtype=np.uint64, count=len(records))
        try:
            owned = self._owned.owns(keys)
        except InvalidId:
            owned = np.array([self._owns_one(batch, index, poison) for index in range(len(records))])
        for index in np.flatnonzero(~owned):
            # Packed counts are of several shards: their view sorts them out.
            owned[index] = records[index].HasField("counts")
        for chunk, first, end in batch.spans:
            passed = int(np.count_nonzero(keep[first:end] & ~owned[first:end]))
            if passed:
                self._metrics.not_owned.labels(chunk.topic).inc(passed)
        return owned

    def _owns_one(self, batch: _Parsed, index: int, poison: list[Poison]) -> bool:
        """For the rare batch with a key that does not embed a shard."""
        try:
            return self._owned.owns_one(batch.records[index].key)
        except InvalidId as fault:
            chunk, at = batch.sources[index]
            poison.append(_poison(chunk, at, str(fault)))
            return False

    def _decode(self, batch: _Parsed, keep: NDArray[np.bool_], decoded: Decoded) -> None:
        decode, add, records = self._view.decode, decoded.changes.append, batch.records
        oldest_ms = 0
        for index in np.flatnonzero(keep).tolist():
            record = records[index]
            try:
                change = decode(record)
            except Exception as fault:  # noqa: BLE001  decode is pure: its faults are the record's
                chunk, at = batch.sources[index]
                decoded.poison.append(_poison(chunk, at, _reason(fault)))
                continue
            if change is not None:
                add(change)
            time_ms = record.time_ms
            if time_ms < oldest_ms or not oldest_ms:
                oldest_ms = time_ms
        decoded.oldest_ms = oldest_ms


def _parse(chunk: Chunk, batch: _Parsed, poison: list[Poison], *, service: str) -> None:
    """The chunk's records that are for everybody, or for `service`."""
    parse = record_pb2.Record.FromString
    for index, value in enumerate(chunk.values):
        try:
            record = parse(value)
        except DecodeError:
            poison.append(_poison(chunk, index, "the bytes are not a Record"))
            continue
        if record.only_for and record.only_for != service:
            # Before anything of it is judged: what is wrong with it is the other service's to say.
            continue
        if record.version > RECORD_VERSION_MAX:
            why = f"record version {record.version} is newer than {RECORD_VERSION_MAX}: update this service"
            poison.append(_poison(chunk, index, why))
            continue
        batch.records.append(record)
        batch.sources.append((chunk, index))


def dead_letter(poison: Poison, *, service: str, now_ms: int) -> bytes:
    """The serialised `DeadLetter`. A value over 1 MB is cut: the log still has it whole at its offset."""
    return record_pb2.DeadLetter(
        topic=poison.topic,
        partition=poison.partition,
        offset=poison.offset,
        service=service,
        reason=poison.reason[:_REASON_CHARS_MAX],
        value=poison.value[:LETTER_VALUE_BYTES_MAX],
        time_ms=now_ms,
    ).SerializeToString()


def _poison(chunk: Chunk, index: int, reason: str) -> Poison:
    return Poison(chunk.topic, chunk.partition, chunk.offsets[index], chunk.values[index], reason)


def _reason(fault: Exception) -> str:
    return str(fault) if isinstance(fault, FeedmeshError) else f"{type(fault).__name__}: {fault}"
