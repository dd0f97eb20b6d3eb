"""A reader of the embedded log: from the disk while it is behind, from memory at the tip.

It begins with a snapshot: the end offsets of its partitions and the number of the next group. What lies
before those ends comes from the disk, partition by partition; after that it reads groups by number. When
groups were dropped before it came to them, it takes a new snapshot and goes back to the disk.
"""

from __future__ import annotations

import time

from prometheus_client import Counter

from services.chassis.errors import CorruptValue, LogUnavailable, OffsetOutOfRange, StorageFault
from services.chassis.log.embedded_store import LogStore
from services.chassis.log.log import Chunk, Positions, TopicPartition
from services.chassis.log.recent_groups import RecentGroups, Span


class EmbeddedTail:
    """See `Tail`. `begins` and `ends` are the log's own dictionaries, read live."""

    def __init__(
        self,
        positions: Positions,
        *,
        rows: LogStore,
        recent: RecentGroups,
        begins: Positions,
        ends: Positions,
        chunk_bytes: int,
        overruns: Counter,
    ) -> None:
        self._positions = dict(positions)
        self._rows = rows
        self._recent = recent
        self._begins = begins
        self._ends = ends
        self._chunk_bytes = chunk_bytes
        self._overruns = overruns
        self._closed = False
        self._next_group = -1
        # Partitions to read from the disk, each up to the end of the snapshot.
        self._behind: Positions = {}

    def poll(self, *, timeout_ms: int) -> list[Chunk]:
        """See `Tail.poll`. The byte limit is exceeded by at most one record, or at the tip by one group."""
        self._check_open()
        deadline = time.monotonic() + timeout_ms / 1000
        if self._next_group < 0:
            self._snapshot()
        while True:
            if self._behind:
                return self._read_behind()
            chunks = self._read_groups(deadline)
            # Groups of other partitions wake us too: go on waiting.
            if chunks or (not self._behind and time.monotonic() >= deadline):
                return chunks

    @property
    def silent_s(self) -> float:
        """See `Tail.silent_s`."""
        return 0.0

    def close(self) -> None:
        """See `Tail.close`."""
        self._closed = True
        self._recent.wake()

    def _check_open(self) -> None:
        if self._closed or self._recent.closed:
            raise LogUnavailable("the log is closed" if self._recent.closed else "the tail is closed")

    def _snapshot(self) -> None:
        ends: Positions = {}

        def read() -> None:
            for place in self._positions:
                ends[place] = self._ends[place]

        self._next_group = self._recent.snapshot(read)
        for place, position in self._positions.items():
            if not self._begins[place] <= position <= ends[place]:
                raise self._out_of_range(place, position)
            if position < ends[place]:
                self._behind[place] = ends[place]

    def _read_groups(self, deadline: float) -> list[Chunk]:
        """Groups from memory, merged by partition; [] on a timeout, or, with `_behind` set, an overrun."""
        recent, positions = self._recent, self._positions
        recent.wait(self._next_group, deadline=deadline, stopped=lambda: self._closed)
        self._check_open()
        found: dict[TopicPartition, list[Span]] = {}
        size = 0
        while self._next_group < recent.next_number and size < self._chunk_bytes:
            group = recent.get(self._next_group)
            if group is None:
                if not found:
                    self._overruns.inc()
                    self._snapshot()
                break
            for place, span in group.spans.items():
                if place in positions:
                    size += sum(map(len, span.values))
                    found.setdefault(place, []).append(span)
            self._next_group += 1
        return [self._chunk(place, spans[0].first, _joined(spans)) for place, spans in found.items()]

    def _read_behind(self) -> list[Chunk]:
        """From the disk: as many partitions as fit the byte limit."""
        chunks: list[Chunk] = []
        room = self._chunk_bytes
        for place, target in list(self._behind.items()):
            first = self._positions[place]
            if first < self._begins[place]:
                raise self._out_of_range(place, first)
            values = self._read_rows(place, first, target, room)
            room -= sum(map(len, values))
            chunks.append(self._chunk(place, first, values))
            if first + len(values) == target:
                del self._behind[place]
            if room <= 0:
                break
        return chunks

    def _read_rows(self, place: TopicPartition, first: int, target: int, room: int) -> list[bytes]:
        values: list[bytes] = []
        expected = first
        try:
            rows = self._rows.read(place, start=first, end=target)
            for offset, value in rows:
                if offset != expected:
                    break
                values.append(value)
                expected += 1
                room -= len(value)
                if room <= 0:
                    return values
        except StorageFault as fault:
            # The store opens anew after a failed write, and ends the scans that were open.
            raise LogUnavailable(
                "the log's store was opened anew; read on from the same positions"
            ) from fault
        if expected < target:
            if first < self._begins[place]:
                raise self._out_of_range(place, first)
            raise CorruptValue(
                f"{place[0]}/{place[1]} lacks offset {expected}: restore the log from a checkpoint"
            )
        return values

    def _chunk(self, place: TopicPartition, first: int, values: list[bytes]) -> Chunk:
        next_offset = first + len(values)
        self._positions[place] = next_offset
        offsets = range(first, next_offset)
        return Chunk(*place, offsets, values, next_offset, max(next_offset, self._ends[place]))

    def _out_of_range(self, place: TopicPartition, position: int) -> OffsetOutOfRange:
        topic, partition = place
        return OffsetOutOfRange(
            f"{topic}/{partition} has offsets {self._begins[place]} to {self._ends[place]}, not {position}: "
            "restore a newer checkpoint",
            topic=topic,
            partition=partition,
            offset=position,
        )


def _joined(spans: list[Span]) -> list[bytes]:
    return spans[0].values if len(spans) == 1 else [value for span in spans for value in span.values]
