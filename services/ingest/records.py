"""Events → serialised records, a few microseconds each.

The event is serialised once, and its records are put together around those bytes: with protobuf objects
each record would copy and serialise the whole event again. The layout is protobuf's own, field by field
in order; a test compares every byte with what protobuf writes.

    09 record_id fixed64 | 11 key fixed64 | 18 role | 20 time varint | 28 version | 32 length event
                                                                                   or 3a length counts
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from feedmesh.log.v1 import event_pb2
from services.chassis.ids import SHARDS_MAX, ShardScheme, mix64, shards_of
from services.chassis.log.log import NewRecord
from services.chassis.log.records import INTEREST_VERSION, RECORD_VERSION
from services.ingest.routing import COUNTED, COUNTS, INTEREST, ROUTES

_HEAD = struct.Struct("<BQBQBB")
_VERSION_FIELD: Final = b"\x28" + bytes((RECORD_VERSION,))
_INTEREST_VERSION_FIELD: Final = b"\x28" + bytes((INTEREST_VERSION,))
_EVENT_TAG, _COUNTS_TAG = b"\x32", b"\x3a"
assert max(RECORD_VERSION, INTEREST_VERSION) < 0x80, "the version is written as a varint of one byte"

# Different roles of one event, different partitions of its counts, and different interests are different
# records.
_ROLE_IDS: Final = tuple(mix64(role + 1) for role in range(INTEREST + 1))


class RecordBuilder:
    """Builds the records of valid events for topics of `partitions` partitions each."""

    def __init__(self, *, partitions: int, scheme: ShardScheme = ShardScheme.HASHED) -> None:
        # partition = shard % partitions, and partitions divides every segment's shard count. For hashed
        # ids that makes it the hash modulo partitions, whatever the shard count; embedded ids name the
        # shard, so the greatest shard count stands for all.
        self._partitions = partitions
        self._shards = partitions if scheme is ShardScheme.HASHED else SHARDS_MAX
        self._scheme = scheme
        self._partition_ids = [mix64(number + 1) for number in range(partitions)]

    def build(self, events: Sequence[event_pb2.Event]) -> list[NewRecord]:
        """The records of all events, in order. Raises InvalidId for an id that embeds no shard."""
        topics: list[str] = []
        keys: list[int] = []
        values: list[bytes] = []
        packed: list[NewRecord] = []
        pack, digest = _HEAD.pack, xxhash.xxh3_64_intdigest
        for event in events:
            kind = event.WhichOneof("body")
            assert kind is not None, "validated before"
            body = getattr(event, kind)
            event_id = digest(event.id.encode())
            data = event.SerializeToString()
            is_of_interests = kind == "put_pin_interests"
            version = _INTEREST_VERSION_FIELD if is_of_interests else _VERSION_FIELD
            common = b"\x20" + varint(event.time_ms) + version
            tail = common + _EVENT_TAG + varint(len(data)) + data
            for topic, key, role in ROUTES[kind](body):
                topics.append(topic)
                keys.append(key)
                record_id = event_id ^ _ROLE_IDS[role]
                if is_of_interests:
                    # Two interests of one pin may lie in one partition, where followers drop a known id.
                    record_id ^= mix64(key)
                values.append(pack(0x09, record_id, 0x11, key, 0x18, role) + tail)
            if kind == "impressions":
                packed.extend(self._packed_counts(event_id, common, body))
        partitions = self._partitions_of(np.array(keys, dtype=np.uint64)).tolist()
        return [*map(NewRecord, topics, partitions, values), *packed]

    def _partitions_of(self, keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
        # All keys of a request at once: one by one, hashing was a tenth of the cost of an event.
        shards = shards_of(keys, num_shards=self._shards, scheme=self._scheme)
        partitions: NDArray[np.uint32] = shards % np.uint32(self._partitions)
        return partitions

    def _packed_counts(self, event_id: int, common: bytes, body: Any) -> Iterator[NewRecord]:
        """One record for each partition that counts some of the pins; their order is kept."""
        pins = np.fromiter(body.pins, dtype="<u8", count=len(body.pins))
        partitions = self._partitions_of(pins)
        order = np.argsort(partitions, kind="stable")
        pins, partitions = pins[order], partitions[order]
        starts = [0, *(np.flatnonzero(np.diff(partitions)) + 1).tolist(), len(pins)]
        data, keys, numbers = pins.tobytes(), pins.tolist(), partitions.tolist()
        type_field = b"\x10" + varint(body.type)
        event_id ^= _ROLE_IDS[COUNTED]
        for start, end in itertools.pairwise(starts):
            counts = b"\x0a" + varint(8 * (end - start)) + data[8 * start : 8 * end] + type_field
            record_id = event_id ^ self._partition_ids[numbers[start]]
            head = _HEAD.pack(0x09, record_id, 0x11, keys[start], 0x18, COUNTED)
            tail = common + _COUNTS_TAG + varint(len(counts)) + counts
            yield NewRecord(COUNTS, numbers[start], head + tail)


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
