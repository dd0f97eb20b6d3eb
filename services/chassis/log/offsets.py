"""Where a follower stands: its offsets and its log's identity, in the store that the view is written to.

    family `system`, sorted:
    "log_id"                              ->  identity of the log that the offsets belong to
    "offset|" topic "|" partition >H      ->  next offset to apply >Q

Refuses a store of another log, and offsets that the log has trimmed: both mean data that is missing, and
waiting does not bring it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from services.chassis.errors import DataLoss, Internal, OffsetOutOfRange
from services.chassis.log.log import Chunk, LogReader, Positions, TopicPartition
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.batch import Batch
from services.chassis.storage.store import Store

SYSTEM = "system"
_LOG_ID = b"log_id"
_PARTITION = struct.Struct(">H")
_OFFSET = struct.Struct(">Q")


class ForeignLog(DataLoss):
    """The store follows another log than the one it was pointed at."""


def check_log_id(store: Store, log_id: str) -> None:
    """Remember the log at the first contact; raises ForeignLog at a later one with another log."""
    known = store.get(SYSTEM, _LOG_ID)
    if known is None:
        batch = store.batch()
        batch.put(SYSTEM, _LOG_ID, log_id.encode())
        store.write(batch)
    elif known.decode() != log_id:
        raise ForeignLog(
            f"the store at {store.path} follows log {known.decode()!r}, this is log {log_id!r}: its offsets "
            "mean nothing here; empty the data directory, or restore a checkpoint of this log"
        )


def owned_places(
    topics: Sequence[str], *, partitions: Mapping[str, int], owned: OwnedShards
) -> list[TopicPartition]:
    """The partitions that hold records of owned shards: partition = shard % partition count."""
    places: list[TopicPartition] = []
    for topic in topics:
        count = partitions.get(topic)
        if count is None:
            raise Internal(f"the log has no topic {topic!r}, only {', '.join(sorted(partitions))}")
        try:
            places.extend((topic, number) for number in owned.partitions(count))
        except ValueError as fault:
            raise Internal(
                f"topic {topic!r}: {fault}; a shard's records must lie in one partition"
            ) from fault
    return places


def first_positions(
    store: Store, log: LogReader, places: Iterable[TopicPartition], *, begin_trimmed: bool
) -> Positions:
    """Where to go on: the stored offset, or the log's beginning.

    Raises OffsetOutOfRange when what comes next was trimmed, or the log ends before it.
    """
    begins: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    positions: Positions = {}
    for place in places:
        topic, partition = place
        if topic not in begins:
            begins[topic], ends[topic] = log.begin_offsets(topic), log.end_offsets(topic)
        begin, end = begins[topic][partition], ends[topic][partition]
        stored = store.get(SYSTEM, _key(place))
        offset = _OFFSET.unpack(stored)[0] if stored is not None else begin if begin_trimmed else 0
        if not begin <= offset <= end:
            raise OffsetOutOfRange(
                f"{topic}/{partition} is applied up to {offset}, the log has {begin} to {end}: restore a "
                "newer checkpoint",
                topic=topic,
                partition=partition,
            )
        positions[place] = offset
    return positions


def put_offsets(batch: Batch, chunks: Iterable[Chunk]) -> None:
    """Put the chunks' next offsets into the batch that applies them."""
    for chunk in chunks:
        batch.put(SYSTEM, _key((chunk.topic, chunk.partition)), _OFFSET.pack(chunk.next_offset))


def _key(place: TopicPartition) -> bytes:
    topic, partition = place
    return b"offset|" + topic.encode() + b"|" + _PARTITION.pack(partition)
