"""The embedded log: partitions in one RocksDB, durable by group commit, tails fed from memory at the tip.

    publish → queue → committer: offsets → one batch → one sync → visible to tails → futures resolve

Owns the database that it is given: nobody else may write to it. A group is one atomic batch, so after
kill -9 each publish is there whole or not at all, and what was acknowledged is there.
A group whose write or sync failed may still lie in the write-ahead log. Its offsets are used again, so
the next batch first deletes what it may have left: otherwise half of a refused publish could show up
behind a shorter one after a restart. A publish that failed is therefore gone, or, after a crash in that
moment, there as a whole: a publisher that retries with the same event ids is right in both cases.
Where next: `group_commit.py`, `embedded_store.py` (the keyspace), `embedded_tail.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from services.chassis.errors import DiskFull, LogUnavailable
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.embedded_metrics import LogMetrics
from services.chassis.log.embedded_store import OFFSET, RECORDS, LogStore
from services.chassis.log.embedded_tail import EmbeddedTail
from services.chassis.log.group_commit import GroupCommit, GroupLimits, Pending
from services.chassis.log.log import (
    DATA_TOPICS,
    DEAD_LETTERS,
    NewRecord,
    Positions,
    TopicPartition,
    check_partition,
    check_size,
)
from services.chassis.log.recent_groups import Group, RecentGroups, Span
from services.chassis.storage.store import Store

_DEAD_LETTER_WAIT_S = 10.0


class EmbeddedLog:
    """A `Log` over `store`, which must have the families of `embedded_store.families()`.

    The store stays the caller's to close, after `close`.

    Raises:
        ConfigFaults: the log on disk has another number of partitions.
    """

    def __init__(
        self,
        store: Store,
        config: EmbeddedLogConfig,
        *,
        metrics: LogMetrics,
        topics: Mapping[str, int] | None = None,
        disk_free: Callable[[], int] | None = None,
    ) -> None:
        wanted = topics if topics is not None else dict.fromkeys(DATA_TOPICS, config.partitions)
        self._store = store
        self._config = config
        self._metrics = metrics
        self._disk_free = disk_free or (lambda: _free_bytes(store))
        self._rows = LogStore(store, {**wanted, DEAD_LETTERS: 1})
        self._begins = {place: self._rows.begin(place) for place in self._rows.places}
        self._ends = {place: self._rows.end(place, begin=begin) for place, begin in self._begins.items()}
        # Ends that failed groups may have reached on disk; see the module's docstring.
        self._stray_ends: Positions = {}
        self._recent = RecentGroups(config.recent_bytes_max)
        self._gauge_offsets()
        self._committer = GroupCommit(
            self._commit,
            limits=GroupLimits(
                group_records_max=config.group_records_max,
                group_bytes_max=config.group_bytes_max,
                queue_records_max=config.queue_records_max,
                queue_bytes_max=config.queue_bytes_max,
            ),
            metrics=metrics,
        )

    @property
    def log_id(self) -> str:
        """Identity, made with the database."""
        return self._rows.log_id

    @property
    def topics(self) -> Mapping[str, int]:
        """Partition count by topic."""
        return self._rows.topics

    def publish(self, records: Sequence[NewRecord]) -> Future[Positions]:
        """See `Log.publish`."""
        size, known = 0, self._ends
        for topic, partition, value in records:
            if (topic, partition) not in known:
                check_partition(self.topics, topic, partition)
            size += len(value)
        config = self._config
        check_size(
            len(records), size, records_max=config.request_records_max, bytes_max=config.request_bytes_max
        )
        self._check_disk()
        return self._committer.submit(records, size)

    def begin_offsets(self, topic: str) -> list[int]:
        """See `LogReader.begin_offsets`."""
        return [self._begins[topic, partition] for partition in range(self.topics[topic])]

    def end_offsets(self, topic: str) -> list[int]:
        """See `LogReader.end_offsets`."""
        return [self._ends[topic, partition] for partition in range(self.topics[topic])]

    def tail(self, positions: Positions, *, chunk_bytes: int = 0) -> EmbeddedTail:
        """See `LogReader.tail`; `chunk_bytes` 0 means the configured size."""
        for topic, partition in positions:
            check_partition(self.topics, topic, partition)
        return EmbeddedTail(
            positions,
            rows=self._rows,
            recent=self._recent,
            begins=self._begins,
            ends=self._ends,
            chunk_bytes=chunk_bytes or self._config.chunk_bytes,
            overruns=self._metrics.overruns,
        )

    def append_dead_letter(self, letter: bytes) -> None:
        """See `LogReader.append_dead_letter`. Raises what `publish` raises, or its future."""
        self.write_dead_letter(letter)

    def write_dead_letter(self, letter: bytes) -> int:
        """Append it and return its offset; raises LogUnavailable when the disk takes longer than 10 s."""
        future = self.publish([NewRecord(DEAD_LETTERS, 0, letter)])
        try:
            return future.result(_DEAD_LETTER_WAIT_S)[DEAD_LETTERS, 0] - 1
        except FutureTimeout:
            raise LogUnavailable("the dead letter was not durable in time; try again") from None

    @property
    def trouble(self) -> str:
        """None that lasts: a disk that fails or is full is said to each publish as it comes."""
        return ""

    def trim(self, positions: Positions) -> None:
        """See `Log.trim`. Blocks until it is durable."""
        for topic, partition in positions:
            check_partition(self.topics, topic, partition)
        self._committer.run(lambda: self._trim(positions)).result()

    def close(self) -> None:
        """Commit what waits, wake all tails, end the committer. Idempotent."""
        self._committer.close()
        self._recent.close()

    def _commit(self, group: list[Pending]) -> list[Positions]:
        """One group: durable, then visible. Runs on the committer's thread."""
        try:
            self._check_disk()
        except DiskFull:
            self._metrics.failed_groups.inc()
            raise
        batch = self._store.batch()
        for place, stray in self._stray_ends.items():
            self._rows.delete_records(batch, place, start=self._ends[place], end=stray)
        spans: dict[TopicPartition, Span] = {}
        new_ends: Positions = {}
        # About 2 µs a record in this loop is most of what a durable record costs here.
        put, pack, prefixes, ends = batch.put, OFFSET.pack, self._rows.prefixes, self._ends
        results: list[Positions] = []
        size = 0
        for pending in group:
            touched: Positions = {}
            for topic, partition, value in pending.records:
                place = (topic, partition)
                offset = new_ends.get(place)
                if offset is None:
                    offset = ends[place]
                    spans[place] = Span(offset, [])
                put(RECORDS, prefixes[place] + pack(offset), value)
                spans[place].values.append(value)
                new_ends[place] = touched[place] = offset + 1
            size += pending.size_bytes
            results.append(touched)
        try:
            with self._metrics.write.time():
                self._store.write(batch)
            with self._metrics.sync.time():
                self._store.sync()
        except Exception:
            for place, end in new_ends.items():
                self._stray_ends[place] = max(end, self._stray_ends.get(place, 0))
            self._metrics.failed_groups.inc()
            raise
        self._stray_ends.clear()
        self._recent.add(Group(spans, size), publish=lambda: self._ends.update(new_ends))
        self._count(group, spans, size)
        return results

    def _trim(self, positions: Positions) -> None:
        batch = self._store.batch()
        begins: Positions = {}
        for place, offset in positions.items():
            old, begin = self._begins[place], min(offset, self._ends[place])
            if begin > old:
                self._rows.delete_records(batch, place, start=old, end=begin)
                self._rows.put_begin(batch, place, begin)
                begins[place] = begin
        if not begins:
            return
        old_begins = {place: self._begins[place] for place in begins}
        # First, so that a tail that meets the hole knows it for a trim and not for damage.
        self._begins.update(begins)
        try:
            self._store.write(batch, sync=True)
        except Exception:
            self._begins.update(old_begins)
            raise
        self._gauge_offsets()

    def _check_disk(self) -> None:
        least = self._config.disk_free_bytes_min
        if least and self._disk_free() < least:
            self._metrics.refused.labels("disk_full").inc()
            raise DiskFull(
                f"less than {least} bytes are free on the log's disk: free space, or trim the log",
                disk_free_bytes_min=least,
            )

    def _count(self, group: list[Pending], spans: dict[TopicPartition, Span], size: int) -> None:
        metrics = self._metrics
        by_topic: dict[str, int] = {}
        for (topic, _), span in spans.items():
            by_topic[topic] = by_topic.get(topic, 0) + len(span.values)
        metrics.committed(by_topic, requests=len(group), size_bytes=size)
        for topic, count in by_topic.items():
            metrics.end_offset.labels(topic).inc(count)
        metrics.recent_bytes.set(self._recent.size_bytes)

    def _gauge_offsets(self) -> None:
        for topic in self.topics:
            self._metrics.begin_offset.labels(topic).set(sum(self.begin_offsets(topic)))
            self._metrics.end_offset.labels(topic).set(sum(self.end_offsets(topic)))


def _free_bytes(store: Store) -> int:
    stats = os.statvfs(store.path)
    return stats.f_bavail * stats.f_frsize
