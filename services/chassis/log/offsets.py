"""Where a follower stands: its offsets and its log's identity, in the store that the view is written to.

    family `system`, sorted:
    "log_id"                              ->  identity of the log that the offsets belong to
    "offset|" topic "|" partition >H      ->  next offset to apply >Q

Refuses a store of another log, whose offsets mean nothing. Offsets that the log does not have any more are
found here, by partition, and refused by who serves (`shards/lost.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from services.chassis.errors import DataLoss, Internal
from services.chassis.log.log import Chunk, LogReader, Positions, TopicPartition
from services.chassis.shards.lost import LostPartition
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
    """Where to go on: the stored offset, or 0, or with `begin_trimmed` the log's beginning.

    Whether the log still has it, `lost_partitions` tells.
    """
    begins: dict[str, list[int]] = {}
    positions: Positions = {}
    for place in places:
        topic, partition = place
        stored = store.get(SYSTEM, _key(place))
        if stored is not None:
            positions[place] = _OFFSET.unpack(stored)[0]
        elif begin_trimmed:
            if topic not in begins:
                begins[topic] = log.begin_offsets(topic)
            positions[place] = begins[topic][partition]
        else:
            positions[place] = 0
    return positions


def lost_partitions(log: LogReader, positions: Positions) -> list[LostPartition]:
    """The partitions where what comes next was trimmed, or where the log ends before it; asks the log."""
    topics = dict.fromkeys(topic for topic, _ in positions)
    begins = {topic: log.begin_offsets(topic) for topic in topics}
    ends = {topic: log.end_offsets(topic) for topic in topics}
    return [
        LostPartition(
            topic=topic,
            partition=partition,
            partition_count=log.topics[topic],
            applied=offset,
            begin=begins[topic][partition],
            end=ends[topic][partition],
        )
        for (topic, partition), offset in positions.items()
        if not begins[topic][partition] <= offset <= ends[topic][partition]
    ]


def put_offsets(batch: Batch, chunks: Iterable[Chunk]) -> None:
    """Put the chunks' next offsets into the batch that applies them."""
    for chunk in chunks:
        batch.put(SYSTEM, _key((chunk.topic, chunk.partition)), _OFFSET.pack(chunk.next_offset))


def _key(place: TopicPartition) -> bytes:
    topic, partition = place
    return b"offset|" + topic.encode() + b"|" + _PARTITION.pack(partition)
