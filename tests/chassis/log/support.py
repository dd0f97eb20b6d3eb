"""Logs to test with, and a view that keeps what it was given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import PoisonRecord
from services.chassis.log import embedded_store
from services.chassis.log.embedded import EmbeddedLog
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.embedded_metrics import LogMetrics
from services.chassis.log.log import Chunk, NewRecord, Tail
from services.chassis.log.memory import MemoryLog
from services.chassis.metrics import new_registry
from services.chassis.storage.batch import Batch
from services.chassis.storage.options import Family, small_family
from services.chassis.storage.store import Store

TOPICS: Mapping[str, int] = {"pins": 4, "graph": 2}
WAIT_MS = 10_000
"""Longer than any test waits when all is well."""

ROOMY = EmbeddedLogConfig(disk_free_bytes_min=0)


@contextmanager
def embedded_log(
    path: Path,
    *,
    config: EmbeddedLogConfig = ROOMY,
    topics: Mapping[str, int] = TOPICS,
    disk_free: Callable[[], int] | None = None,
    store: Store | None = None,
) -> Iterator[EmbeddedLog]:
    """An embedded log on `path`, closed at the end with its store."""
    opened = store or Store(path, embedded_store.families())
    log = EmbeddedLog(opened, config, metrics=LogMetrics(new_registry()), topics=topics, disk_free=disk_free)
    try:
        yield log
    finally:
        log.close()
        opened.close()


@contextmanager
def memory_log(*, offset_step: int = 1) -> Iterator[MemoryLog]:
    """A log in memory, closed at the end."""
    log = MemoryLog(TOPICS, offset_step=offset_step)
    yield log
    log.close()


def new_records(topic: str, partition: int, *values: bytes) -> list[NewRecord]:
    """Records of one partition."""
    return [NewRecord(topic, partition, value) for value in values]


def read(tail: Tail, count: int) -> list[Chunk]:
    """Poll until `count` records came, then once more to see that no more do."""
    chunks: list[Chunk] = []
    while sum(len(chunk.values) for chunk in chunks) < count:
        polled = tail.poll(timeout_ms=WAIT_MS)
        assert polled, "nothing came in time"
        chunks.extend(polled)
    return chunks


def values_of(chunks: Sequence[Chunk], topic: str, partition: int) -> list[bytes]:
    """The values of one partition, in order."""
    return [
        value
        for chunk in chunks
        if (chunk.topic, chunk.partition) == (topic, partition)
        for value in chunk.values
    ]


def record(record_id: int, *, key: int = 1, version: int = 1, time_ms: int = 1_000) -> bytes:
    """A serialised record; its key says what the KeepingView keeps."""
    return record_pb2.Record(
        record_id=record_id, key=key, time_ms=time_ms, version=version, role=record_pb2.ROLE_SOURCE
    ).SerializeToString()


VIEW_FAMILIES: Mapping[str, Family] = {"system": small_family(), "view": small_family()}
POISON_KEY = 666
USELESS_KEY = 777


class KeepingView:
    """Keeps keys in order, in memory and in the store; POISON_KEY is poison, USELESS_KEY is not for it."""

    def __init__(self, store: Store, topics: Sequence[str] = ("pins",)) -> None:
        self.topics = topics
        self.kept: list[int] = []
        self.batches: list[int] = []
        self._count = sum(1 for _ in store.scan("view"))

    def decode(self, record: record_pb2.Record) -> int | None:
        if record.key == POISON_KEY:
            raise PoisonRecord("the key is poison")
        return None if record.key == USELESS_KEY else record.key

    def apply(self, changes: Sequence[int], batch: Batch) -> None:
        self.batches.append(len(changes))
        for key in changes:
            self.kept.append(key)
            batch.put("view", self._count.to_bytes(8, "big"), key.to_bytes(8, "big"))
            self._count += 1


class FaultyStore(Store):
    """A real store whose next writes or syncs fail, or wait, as a test says."""

    def __init__(self, path: Path, families: Mapping[str, Family]) -> None:
        self.write_faults: list[Exception] = []
        self.sync_faults: list[Exception] = []
        self.syncing = threading.Event()
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.sync_count = 0
        super().__init__(path, families)

    def write(self, batch: Batch, *, sync: bool = False) -> None:
        if self.write_faults and len(batch):
            raise self.write_faults.pop(0)
        super().write(batch, sync=sync)

    def sync(self) -> None:
        self.syncing.set()
        assert self.may_sync.wait(WAIT_MS / 1000)
        if self.sync_faults:
            raise self.sync_faults.pop(0)
        self.sync_count += 1
        super().sync()


def stored_keys(store: Store) -> list[int]:
    """What a KeepingView wrote, in order."""
    return [int.from_bytes(value, "big") for _, value in store.scan("view")]
