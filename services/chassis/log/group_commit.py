"""Group commit: one thread takes all publishes that wait and makes them durable with one sync.

While a sync runs (1 to 10 ms), new publishes gather; the next group takes them all. So a busy log pays
one fsync for hundreds of publishes, and an idle one adds no wait, unless `group_wait_s` asks for one.
Owns the bounded queue and the futures; what "commit" means is the log's. Refuses what does not fit in the
queue (QueueFull), at once: a longer queue would only move the deadline faults later.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from services.chassis.errors import LogUnavailable, QueueFull
from services.chassis.log.group_metrics import GroupMetrics
from services.chassis.log.log import NewRecord, Positions


@dataclass(frozen=True, slots=True)
class Pending:
    """A publish that waits, or, with `task`, something that must run between two groups."""

    records: Sequence[NewRecord]
    size_bytes: int
    future: Future[Any] = field(default_factory=Future)
    task: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """`group_*`: one commit, beyond its first publish. `queue_*`: all that may wait."""

    group_records_max: int
    group_bytes_max: int
    queue_records_max: int
    queue_bytes_max: int
    group_wait_s: float = 0.0
    """How long the first publish of a group waits for company, where a commit is dear."""


Commit = Callable[[list[Pending]], list[Positions]]
"""Makes a group durable and visible; one result per publish. Raises when nothing of it was written."""


class GroupCommit:
    """The queue and the thread. `close` commits what waits."""

    def __init__(self, commit: Commit, *, limits: GroupLimits, metrics: GroupMetrics) -> None:
        self._commit = commit
        self._limits = limits
        self._metrics = metrics
        self._queue: deque[Pending] = deque()
        self._records = 0
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        metrics.queue_records.set_function(lambda: self._records)
        metrics.queue_bytes.set_function(lambda: self._bytes)
        self._thread = threading.Thread(target=self._run, name="log-committer", daemon=True)
        self._thread.start()

    def submit(self, records: Sequence[NewRecord], size_bytes: int) -> Future[Positions]:
        """Queue a publish. Raises QueueFull or LogUnavailable."""
        pending = Pending(records, size_bytes)
        limits = self._limits
        with self._changed:
            self._check_open()
            if (
                self._records + len(records) > limits.queue_records_max
                or self._bytes + size_bytes > limits.queue_bytes_max
            ):
                self._metrics.refused.labels("queue_full").inc()
                raise QueueFull(
                    f"{self._records} records wait for the disk already; come back in a moment",
                    waiting_records=self._records,
                    waiting_bytes=self._bytes,
                )
            self._push(pending)
        return pending.future

    def run(self, task: Callable[[], None]) -> Future[None]:
        """Run `task` on the committer's thread, in turn."""
        pending = Pending((), 0, task=task)
        with self._changed:
            self._check_open()
            self._push(pending)
        return pending.future

    def close(self) -> None:
        """Refuse new publishes, commit those that wait, end the thread. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailable("the log is closed")

    def _push(self, pending: Pending) -> None:
        self._queue.append(pending)
        self._records += len(pending.records)
        self._bytes += pending.size_bytes
        self._changed.notify()

    def _run(self) -> None:
        while True:
            group = self._take()
            if not group:
                return
            # A publisher that gave up before its turn is left out; from here on nobody can cancel.
            group = [pending for pending in group if pending.future.set_running_or_notify_cancel()]
            if group:
                self._settle(group)

    def _take(self) -> list[Pending]:
        """All that waits, as far as it fits one group; [] at the end."""
        limits = self._limits
        with self._changed:
            while not self._queue:
                if self._closed:
                    return []
                self._changed.wait()
            queue = self._queue
            self._gather()
            first = queue.popleft()
            group, records, size = [first], len(first.records), first.size_bytes
            while queue and first.task is None and queue[0].task is None:
                records += len(queue[0].records)
                size += queue[0].size_bytes
                if records > limits.group_records_max or size > limits.group_bytes_max:
                    break
                group.append(queue.popleft())
            for pending in group:
                self._records -= len(pending.records)
                self._bytes -= pending.size_bytes
        return group

    def _gather(self) -> None:
        """With the lock held: give others `group_wait_s` to join, unless a group is full already."""
        limits = self._limits
        until = time.monotonic() + limits.group_wait_s
        while self._records < limits.group_records_max and self._bytes < limits.group_bytes_max:
            left = until - time.monotonic()
            if left <= 0 or self._closed:
                return
            self._changed.wait(left)

    def _settle(self, group: list[Pending]) -> None:
        task = group[0].task
        try:
            if task is not None:
                results: list[Any] = [task()]
            else:
                results = self._commit(group)
        except Exception as fault:  # noqa: BLE001  the publishers are told; the next group is tried
            for pending in group:
                pending.future.set_exception(fault)
        else:
            for pending, result in zip(group, results, strict=True):
                pending.future.set_result(result)
