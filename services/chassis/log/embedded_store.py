"""Keys and bytes of the embedded log.

    family `records`, sorted:
    topic number u8 | partition >H | offset >Q          ->  the record's bytes

    family `system`, sorted:
    "begin|" topic number u8 | partition >H             ->  first offset that was not trimmed >Q
    "log_id"                                            ->  16 hex digits, made once
    "topics"                                            ->  JSON: [[name, partition count], …] by topic number

The end of a partition is not stored: it is the offset after its last record, or its begin. So there is no
second truth that a crash could leave behind, and no row per partition in every group.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping

from services.chassis.errors import ConfigFaults
from services.chassis.log.log import TopicPartition
from services.chassis.storage.batch import Batch
from services.chassis.storage.options import Family, log_family, small_family
from services.chassis.storage.store import Store

RECORDS = "records"
SYSTEM = "system"
_LOG_ID = b"log_id"
_TOPICS = b"topics"
_BEGIN = b"begin|"
_PLACE = struct.Struct(">BH")
OFFSET = struct.Struct(">Q")
_TOPICS_MAX = 256


def families() -> dict[str, Family]:
    """The families that the log's store must be opened with."""
    return {RECORDS: log_family(), SYSTEM: small_family()}


class LogStore:
    """Reads and fills batches; decides nothing. `topics` is the table on disk, new topics appended."""

    def __init__(self, store: Store, topics: Mapping[str, int]) -> None:
        self._store = store
        self.topics = self._merge_topics(topics)
        self.log_id = self._identity()
        # What the keys of a partition begin with; the offset as `OFFSET` follows.
        self.prefixes: dict[TopicPartition, bytes] = {
            (topic, partition): _PLACE.pack(number, partition)
            for number, (topic, count) in enumerate(self.topics.items())
            for partition in range(count)
        }

    @property
    def places(self) -> list[TopicPartition]:
        """Every partition of every topic."""
        return list(self.prefixes)

    def begin(self, place: TopicPartition) -> int:
        """First offset that was not trimmed."""
        value = self._store.get(SYSTEM, _BEGIN + self.prefixes[place])
        return 0 if value is None else int(OFFSET.unpack(value)[0])

    def end(self, place: TopicPartition, *, begin: int) -> int:
        """Offset after the last record on disk; `begin` when there is none."""
        prefix = self.prefixes[place]
        rows = self._store.scan_back(
            RECORDS, start=prefix + OFFSET.pack(begin), end=prefix + OFFSET.pack((1 << 64) - 1)
        )
        for key, _ in rows:
            return int(OFFSET.unpack_from(key, len(prefix))[0]) + 1
        return begin

    def read(self, place: TopicPartition, *, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(offset, value) of [start, end) in order."""
        prefix = self.prefixes[place]
        rows = self._store.scan(RECORDS, start=prefix + OFFSET.pack(start), end=prefix + OFFSET.pack(end))
        unpack, at = OFFSET.unpack_from, len(prefix)
        for key, value in rows:
            yield unpack(key, at)[0], value

    def delete_records(self, batch: Batch, place: TopicPartition, *, start: int, end: int) -> None:
        """Delete [start, end) of one partition."""
        prefix = self.prefixes[place]
        batch.delete_range(RECORDS, prefix + OFFSET.pack(start), prefix + OFFSET.pack(end))

    def put_begin(self, batch: Batch, place: TopicPartition, begin: int) -> None:
        """Remember where the partition begins now."""
        batch.put(SYSTEM, _BEGIN + self.prefixes[place], OFFSET.pack(begin))

    def _identity(self) -> str:
        stored = self._store.get(SYSTEM, _LOG_ID)
        if stored is not None:
            return stored.decode()
        made = os.urandom(8).hex()
        batch = self._store.batch()
        batch.put(SYSTEM, _LOG_ID, made.encode())
        self._store.write(batch, sync=True)
        return made

    def _merge_topics(self, wanted: Mapping[str, int]) -> dict[str, int]:
        stored = self._store.get(SYSTEM, _TOPICS)
        topics: dict[str, int] = dict(json.loads(stored)) if stored else {}
        faults = [
            f"topic {name} is configured with {count} partitions, the log at {self._store.path} has "
            f"{topics[name]}: the count never changes once records are stored"
            for name, count in wanted.items()
            if topics.get(name, count) != count
        ]
        if faults:
            raise ConfigFaults(faults)
        merged = {**topics, **wanted}
        assert len(merged) <= _TOPICS_MAX, "a topic's number is one byte of every key"
        if merged != topics:
            batch = self._store.batch()
            batch.put(SYSTEM, _TOPICS, json.dumps(list(merged.items())).encode())
            self._store.write(batch, sync=True)
        return merged
