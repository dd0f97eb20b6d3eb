"""What a log is: topics of partitions, records in order, atomic durable writes, tails from an offset.

Owns the interface and the values that cross it. Offsets of a partition increase but need not be dense
(Kafka spends offsets on transaction markers), so nobody may count records by subtracting offsets.
`LogReader` is what a follower needs, `Log` adds writing; `RemoteLog` and `KafkaReader` are readers only.
Where next: `memory.py` (the shortest implementation), `embedded.py`, `kafka/log.py`, `follower.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

from services.chassis.errors import LimitExceeded

TopicPartition: TypeAlias = tuple[str, int]
Positions: TypeAlias = dict[TopicPartition, int]
"""Next offset to read, by partition."""

DEAD_LETTERS: Final = "dead-letters"
"""Topic of records that a view could not apply; one partition, values are serialised `DeadLetter`s."""

DATA_TOPICS: Final = ("graph", "pins", "actions", "counts", "objects")
"""Topics that Ingest routes events to."""


class NewRecord(NamedTuple):
    """A record to publish. `value` is what readers get back, byte for byte.

    A tuple, because Ingest makes and the log unpacks tens of thousands of them a second.
    """

    topic: str
    partition: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one partition in order; `offsets` and `values` are aligned and may be empty together.

    `next_offset` is where reading goes on (beyond the last offset where the log has holes), `end_offset`
    the offset after the partition's last durable record as known when the chunk was made.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    values: Sequence[bytes]
    next_offset: int
    end_offset: int


class Tail(Protocol):
    """A reader's place in the log. For one thread, except `close`, which any thread may call."""

    def poll(self, *, timeout_ms: int) -> list[Chunk]:
        """Records that follow, bounded by the tail's byte limit; [] when none came in `timeout_ms`.

        Blocks up to `timeout_ms`. A record larger than the byte limit still comes, alone.

        Raises:
            OffsetOutOfRange: a position was trimmed, or lies beyond the end. Facts `topic` and `partition`
                say which; without them all positions mean nothing here (another log).
            LogUnavailable: the log cannot be reached, or was closed. Open a new tail at the same positions.
        """
        ...

    @property
    def silent_s(self) -> float:
        """Seconds since the partition that was heard of least recently gave a sign of life; any thread.

        A record, or word that there is none. 0.0 for a log in this process. Infinite until every partition
        gave one: a tail that was just opened knows nothing, whatever its predecessor heard.
        """
        ...

    def close(self) -> None:
        """Give up the place; a blocked `poll` returns or raises LogUnavailable soon. Idempotent."""
        ...


class LogReader(Protocol):
    """What followers need of a log."""

    @property
    def log_id(self) -> str:
        """Identity of the log: positions and tokens of another id mean nothing here."""
        ...

    @property
    def topics(self) -> Mapping[str, int]:
        """Partition count by topic."""
        ...

    def begin_offsets(self, topic: str) -> list[int]:
        """First offset that is still there, by partition. All four raise LogUnavailable when remote."""
        ...

    def end_offsets(self, topic: str) -> list[int]:
        """Offset after the last durable record, by partition."""
        ...

    def tail(self, positions: Positions) -> Tail:
        """A tail of these partitions from these offsets on. Positions are checked by `poll`."""
        ...

    def append_dead_letter(self, letter: bytes) -> None:
        """Append a serialised `DeadLetter`; returns when it is durable. A retry may append it twice."""
        ...

    def close(self) -> None:
        """Release what the log holds. Idempotent."""
        ...


class Log(LogReader, Protocol):
    """A log that can be written."""

    def publish(self, records: Sequence[NewRecord]) -> Future[Positions]:
        """Append all records, or none: readers never see a part. Does not block for the disk.

        The future resolves when the records are durable, and visible or about to be (a reader waits for the
        positions), to the next offset of every partition touched. It fails with DiskFull or StorageFault when
        nothing was written, with LogUnavailable when they are there whole or not at all. Giving up waiting
        does not take the records back.

        Raises:
            LogUnavailable: nothing can be written at present; see `trouble`. Nothing was queued.
            QueueFull: too much waits already. Nothing was queued.
            DiskFull: less room on disk than the configured floor. Nothing was queued.
            LimitExceeded: the records alone are larger than one write may be.
            ValueError: a topic or partition that does not exist (a fault of the caller's).
        """
        ...

    def write_dead_letter(self, letter: bytes) -> int:
        """`append_dead_letter`, and its offset."""
        ...

    @property
    def trouble(self) -> str:
        """Why nothing becomes durable at present, for people; empty when all is well. Does not block."""
        ...

    def trim(self, positions: Positions) -> None:
        """Forget what lies before these offsets; offsets beyond the end trim to the end. Durable."""
        ...


def check_partition(topics: Mapping[str, int], topic: str, partition: int) -> None:
    """Raises ValueError unless the log has this partition."""
    count = topics.get(topic)
    if count is None or not 0 <= partition < count:
        raise ValueError(f"no partition {partition} of topic {topic!r} in {dict(topics)}")


def check_size(count: int, size_bytes: int, *, records_max: int, bytes_max: int) -> None:
    """Raises LimitExceeded when a publish has more records, or bytes, than one may have."""
    if count > records_max or size_bytes > bytes_max:
        raise LimitExceeded(
            f"{count} records of {size_bytes} bytes are more than one publish may "
            f"write ({records_max} and {bytes_max} bytes); split it",
            records=count,
            bytes=size_bytes,
        )
