"""The log in memory: for tests, and the shortest statement of what a log does. Keeps nothing.

One lock, one list per partition. `offset_step` spreads offsets apart as Kafka does, so that code which
counts on dense offsets fails in a test instead of on Kafka. Refuses the same things as the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from services.chassis.errors import LogUnavailable, OffsetOutOfRange
from services.chassis.log.log import (
    DEAD_LETTERS,
    Chunk,
    NewRecord,
    Positions,
    TopicPartition,
    check_partition,
)

_CHUNK_BYTES = 1 << 20


class _Partition:
    __slots__ = ("begin", "end", "first_offset", "values")

    def __init__(self) -> None:
        self.begin = 0
        self.end = 0
        self.first_offset = 0
        self.values: list[bytes] = []


class MemoryLog:
    """A `Log` whose writes are "durable" at once. Thread-safe."""

    def __init__(
        self,
        topics: Mapping[str, int],
        *,
        log_id: str = "memory",
        offset_step: int = 1,
        chunk_bytes: int = _CHUNK_BYTES,
    ) -> None:
        self.topics: Mapping[str, int] = {DEAD_LETTERS: 1, **topics}
        self.log_id = log_id
        self._step = offset_step
        self._chunk_bytes = chunk_bytes
        self._partitions: dict[TopicPartition, _Partition] = {
            (topic, number): _Partition() for topic, count in self.topics.items() for number in range(count)
        }
        self._changed = threading.Condition()
        self._closed = False

    def publish(self, records: Sequence[NewRecord]) -> Future[Positions]:
        """Append all records; the future is resolved on return."""
        for record in records:
            check_partition(self.topics, record.topic, record.partition)
        touched: Positions = {}
        with self._changed:
            self._check_open()
            for record in records:
                place = (record.topic, record.partition)
                partition = self._partitions[place]
                partition.values.append(record.value)
                partition.end += self._step
                touched[place] = partition.end
            self._changed.notify_all()
        done: Future[Positions] = Future()
        done.set_result(touched)
        return done

    def begin_offsets(self, topic: str) -> list[int]:
        """First offset that is still there, by partition."""
        return [self._partitions[topic, number].begin for number in range(self.topics[topic])]

    def end_offsets(self, topic: str) -> list[int]:
        """Offset after the last record, by partition."""
        return [self._partitions[topic, number].end for number in range(self.topics[topic])]

    def tail(self, positions: Positions) -> MemoryTail:
        """A tail from these offsets on."""
        for topic, partition in positions:
            check_partition(self.topics, topic, partition)
        return MemoryTail(self, positions)

    def append_dead_letter(self, letter: bytes) -> None:
        """Append to `dead-letters`."""
        self.write_dead_letter(letter)

    def write_dead_letter(self, letter: bytes) -> int:
        """Append to `dead-letters`, and its offset."""
        positions = self.publish([NewRecord(DEAD_LETTERS, 0, letter)]).result()
        return positions[DEAD_LETTERS, 0] - self._step

    @property
    def trouble(self) -> str:
        """Memory has none."""
        return ""

    def trim(self, positions: Positions) -> None:
        """Forget what lies before these offsets."""
        with self._changed:
            for place, offset in positions.items():
                partition = self._partitions[place]
                begin = max(partition.begin, min(offset, partition.end))
                dropped = min(-((partition.first_offset - begin) // self._step), len(partition.values))
                del partition.values[:dropped]
                partition.first_offset += dropped * self._step
                partition.begin = begin

    def close(self) -> None:
        """Wake every tail with LogUnavailable."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailable("the log is closed")

    def _poll(self, tail: MemoryTail, timeout_ms: int) -> list[Chunk]:
        deadline = time.monotonic() + timeout_ms / 1000
        with self._changed:
            while True:
                if tail.closed:
                    raise LogUnavailable("the tail is closed")
                self._check_open()
                chunks = self._read(tail.positions)
                left = deadline - time.monotonic()
                if chunks or left <= 0:
                    return chunks
                self._changed.wait(left)

    def _read(self, positions: Positions) -> list[Chunk]:
        chunks: list[Chunk] = []
        room = self._chunk_bytes
        for (topic, number), offset in positions.items():
            partition = self._partitions[topic, number]
            if not partition.begin <= offset <= partition.end:
                raise OffsetOutOfRange(
                    f"{topic}/{number} has offsets {partition.begin} to {partition.end}, not {offset}",
                    topic=topic,
                    partition=number,
                )
            if offset == partition.end or room <= 0:
                continue
            skipped = max(0, -((partition.first_offset - offset) // self._step))
            values: list[bytes] = []
            for value in partition.values[skipped:]:
                values.append(value)
                room -= len(value)
                if room <= 0:
                    break
            first = partition.first_offset + skipped * self._step
            offsets = range(first, first + len(values) * self._step, self._step)
            next_offset = first + len(values) * self._step
            chunks.append(Chunk(topic, number, offsets, values, next_offset, partition.end))
        for chunk in chunks:
            positions[chunk.topic, chunk.partition] = chunk.next_offset
        return chunks


class MemoryTail:
    """A place in a MemoryLog."""

    def __init__(self, log: MemoryLog, positions: Positions) -> None:
        self._log = log
        self.positions = dict(positions)
        self.closed = False

    def poll(self, *, timeout_ms: int) -> list[Chunk]:
        """See `Tail.poll`."""
        return self._log._poll(self, timeout_ms)

    @property
    def silent_s(self) -> float:
        """See `Tail.silent_s`."""
        return 0.0

    def close(self) -> None:
        """Wake a blocked poll, which raises LogUnavailable."""
        with self._log._changed:
            self.closed = True
            self._log._changed.notify_all()
