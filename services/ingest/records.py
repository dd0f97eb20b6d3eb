"""Events → serialised records, a few microseconds each.

The event is serialised once, and its records are put together around those bytes: with protobuf objects
each record would copy and serialise the whole event again. The layout is protobuf's own, field by field
in order; a test compares every byte with what protobuf writes.

    09 record_id fixed64 | 11 key fixed64 | 18 role | 20 time varint | 28 01 version | 32 length event
                                                                                      or 3a length counts
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import xxhash
from feedmesh.log.v1 import event_pb2

from services.chassis.errors import InvalidId
from services.chassis.ids import SHARDS_MAX, ShardScheme, mix64, shard_of, shards_of
from services.chassis.log.log import NewRecord
from services.chassis.log.records import RECORD_VERSION
from services.ingest.routing import COUNTED, COUNTS, route

_HEAD = struct.Struct("<BQBQBB")
_VERSION_FIELD: Final = b"\x28" + bytes((RECORD_VERSION,))
_EVENT_TAG, _COUNTS_TAG = b"\x32", b"\x3a"
assert RECORD_VERSION < 0x80, "the version is written as a varint of one byte"

# Different roles of one event, and different partitions of its counts, are different records.
_ROLE_IDS: Final = tuple(mix64(role + 1) for role in range(COUNTED + 1))
_U64 = (1 << 64) - 1


class RecordBuilder:
    """Builds the records of valid events for topics of `partitions` partitions each."""

    def __init__(self, *, partitions: int, scheme: ShardScheme = ShardScheme.HASHED) -> None:
        # partition = shard % partitions, and partitions divides every segment's shard count. For hashed
        # ids that makes it the hash modulo partitions, whatever the shard count; embedded ids name the
        # shard, so the greatest shard count stands for all.
        self._partitions = partitions
        self._shards = partitions if scheme is ShardScheme.HASHED else SHARDS_MAX
        self._scheme = scheme

    def build(self, events: Sequence[event_pb2.Event]) -> list[NewRecord]:
        """The records of all events, in order. Raises InvalidId for an id that embeds no shard."""
        records: list[NewRecord] = []
        add = records.append
        for index, event in enumerate(events):
            kind = event.WhichOneof("body")
            assert kind is not None, "validated before"
            body = getattr(event, kind)
            event_id = xxhash.xxh3_64_intdigest(event.id.encode())
            data = event.SerializeToString()
            common = b"\x20" + varint(event.time_ms) + _VERSION_FIELD
            tail = common + _EVENT_TAG + varint(len(data)) + data
            try:
                for topic, key, role in route(kind, body):
                    head = _HEAD.pack(0x09, event_id ^ _ROLE_IDS[role], 0x11, key, 0x18, role)
                    add(NewRecord(topic, self._partition(key), head + tail))
                if kind == "impressions":
                    records.extend(self._packed_counts(event_id, common, body))
            except InvalidId as fault:
                raise InvalidId(f"events[{index}].{kind}: {fault.message}", **fault.facts) from fault
        return records

    def _partition(self, key: int) -> int:
        if self._scheme is ShardScheme.HASHED:
            return mix64(key) % self._partitions
        return shard_of(key, num_shards=self._shards, scheme=self._scheme) % self._partitions

    def _packed_counts(self, event_id: int, common: bytes, body: Any) -> Iterator[NewRecord]:
        """One record for each partition that counts some of the pins; their order is kept."""
        pins = np.fromiter(body.pins, dtype="<u8", count=len(body.pins))
        numbers = shards_of(pins, num_shards=self._shards, scheme=self._scheme) % np.uint32(self._partitions)
        order = np.argsort(numbers, kind="stable")
        pins, numbers = pins[order], numbers[order]
        starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(pins)]
        type_field = b"\x10" + varint(body.type)
        for start, end in itertools.pairwise(starts):
            entities = pins[start:end].tobytes()
            partition = int(numbers[start])
            counts = b"\x0a" + varint(len(entities)) + entities + type_field
            record_id = event_id ^ _ROLE_IDS[COUNTED] ^ mix64(partition + 1)
            head = _HEAD.pack(0x09, record_id & _U64, 0x11, int(pins[start]), 0x18, COUNTED)
            yield NewRecord(COUNTS, partition, head + common + _COUNTS_TAG + varint(len(counts)) + counts)


def varint(value: int) -> bytes:
    """A non-negative integer as protobuf writes it."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
