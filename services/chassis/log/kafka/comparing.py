"""Whether Kafka holds what a log holds: every record read back, its place, offset and bytes, as a digest.

Both sides are read whole, from where the source begins; the order within a partition is part of the digest,
the order of partitions is not. Where next: `copying.py`, which does not trust itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import xxhash

from services.chassis.errors import DataLoss
from services.chassis.log.kafka.client import Consumer, Place, connection_options
from services.chassis.log.kafka.config import KafkaConnection
from services.chassis.log.kafka.faults import translated
from services.chassis.log.log import Positions, TopicPartition

_NAME: Final = "feedmesh-log-compare"
_POLL_MS: Final = 500
_SILENT_POLLS: Final = 120

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the step (`copying`, `comparing`), records done of it, and records in all."""


class Source(Protocol):
    """A log that nobody writes meanwhile. `LogStore` is one."""

    log_id: str
    topics: dict[str, int]

    def begin(self, place: TopicPartition) -> int:
        """First offset that was not trimmed."""
        ...

    def end(self, place: TopicPartition, *, begin: int) -> int:
        """Offset after the last record."""
        ...

    def read(self, place: TopicPartition, *, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(offset, value) of [start, end) in order, without a hole."""
        ...


async def compare(
    source: Source, connection: KafkaConnection, begins: Positions, ends: Positions, *, progress: Progress
) -> tuple[str, int]:
    """The digest of all partitions from `begins` to `ends`, which both sides have, and their bytes.

    Raises:
        DataLoss: a partition in Kafka differs, or ends early.
        LogUnavailable: Kafka is in trouble.
    """
    in_kafka = await _digests_in_kafka(connection, begins, ends, progress)
    whole, size_bytes = xxhash.xxh3_128(), 0
    for place in sorted(begins):
        own, own_bytes = _digest_of(source.read(place, start=begins[place], end=ends[place]))
        if own != in_kafka[place]:
            topic = connection.topic_prefix + place[0]
            raise DataLoss(
                f"{topic}/{place[1]} in Kafka differs from the log that was copied: delete the topics "
                f"{connection.topic_prefix}* and copy again"
            )
        whole.update(f"{place[0]}/{place[1]} {own}\n".encode())
        size_bytes += own_bytes
    return whole.hexdigest(), size_bytes


async def _digests_in_kafka(
    connection: KafkaConnection, begins: Positions, ends: Positions, progress: Progress
) -> dict[TopicPartition, str]:
    total = sum(ends[place] - begin for place, begin in begins.items())
    progress("comparing", 0, total)
    states = {place: xxhash.xxh3_128() for place in begins}
    left = {place for place, begin in begins.items() if begin < ends[place]}
    names = {Place(connection.topic_prefix + topic, number): (topic, number) for topic, number in left}
    consumer = Consumer(
        **connection_options(connection, name=_NAME),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
    )
    done = silent = 0
    with translated("to read the copy back"):
        try:
            await consumer.start()
            consumer.assign(list(names))
            for name, place in names.items():
                consumer.seek(name, begins[place])
            while left:
                fetched: Mapping[Any, Sequence[Any]] = await consumer.getmany(timeout_ms=_POLL_MS)
                silent = 0 if fetched else silent + 1
                if silent > _SILENT_POLLS:
                    raise DataLoss(f"Kafka gives nothing more of {sorted(left)[:3]}")
                for name, records in fetched.items():
                    place = names[name]
                    _add(states[place], ((record.offset, record.value or b"") for record in records))
                    done += len(records)
                    if records[-1].offset + 1 >= ends[place]:
                        left.discard(place)
                progress("comparing", done, total)
        finally:
            await consumer.stop()
    return {place: state.hexdigest() for place, state in states.items()}


def _digest_of(rows: Iterator[tuple[int, bytes]]) -> tuple[str, int]:
    size = 0

    def counted() -> Iterator[tuple[int, bytes]]:
        nonlocal size
        for offset, value in rows:
            size += len(value)
            yield offset, value

    state = xxhash.xxh3_128()
    _add(state, counted())
    return state.hexdigest(), size


def _add(state: Any, records: Iterable[tuple[int, bytes]]) -> None:
    for offset, value in records:
        state.update(offset.to_bytes(8, "little") + len(value).to_bytes(4, "little") + value)
