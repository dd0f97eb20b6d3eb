"""The feature log: what was served, where, with which features, model and score, as it was at serve time.

Training on what was served needs the features of that moment; computed later they know the future. A row
goes through a bounded queue to one thread, which writes Parquet files (`feature_log_files.py`):

    LogServed ─► FeatureStash.take ─► FeatureLog.append ─► queue ─► thread ─► file, whole, every `flush_s`

A file that is still growing is written again with each flush, beside its place and renamed into it. That
costs its bytes again (5 MB for 20,000 rows of 64 features) and buys few files, none torn. kill -9 loses
the rows since the last flush. *Not* guaranteed: that a row arrives. The queue full, the disk full or low:
rows are dropped and counted, and serving goes on.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge

from services.chassis.clock import Clock
from services.scorpion import feature_log_files as files
from services.scorpion.feature_log_files import LoggedRows
from services.scorpion.feature_stash import FeatureStash, Taken

_FILES_OF_BOUND: Final = 8
"""A file is closed at this share of the directory's bound: removing the oldest one loses no more."""
_STOP_S: Final = 10.0


class FeatureLogMetrics(Protocol):
    """What the log counts."""

    feature_log_rows: Counter
    """Rows on disk."""
    feature_log_dropped: Counter
    """Rows that were lost; label `reason`: `queue` or `disk`."""
    feature_log_absent: Counter
    """Rows that LogServed named and the stash did not have."""
    feature_log_files_removed: Counter
    feature_log_bytes: Gauge


@dataclass(frozen=True, slots=True)
class FeatureLogLimits:
    """Bounds of the log."""

    queue_rows_max: int
    """Rows that wait for the thread; a page is taken whole or not at all."""
    file_rows_max: int
    """A file with so many rows is closed, and another one begun."""
    file_age_max_s: float
    """A file is closed this long after it was begun."""
    flush_s: float
    """Rows are on disk after so long: what a kill -9 loses."""
    directory_bytes_max: int
    """All files of the directory together, of other processes too; the oldest are removed. Exceeded by the
    files that are being written, one of each process."""
    disk_free_bytes_min: int
    """With less room on the disk nothing is written: the disk belongs to the stores first."""


@dataclass(frozen=True, slots=True)
class Served:
    """What LogServed says, checked. Aligned: `pins` uint64, `positions` uint16."""

    log_id: int
    user: int
    pins: NDArray[np.uint64]
    positions: NDArray[np.uint16]
    feed: str
    request_id: str
    served_ms: int
    arms: tuple[str, ...] = ()
    """Arms of the experiments that the page was made under, `experiment=arm` each."""


@dataclass(slots=True)
class _OpenFile:
    """The file that grows. `parts` are its rows, which are written again with each flush."""

    path: Path
    parts: list[LoggedRows]
    ends_at: float
    rows: int = 0
    size_bytes: int = 0


class FeatureLog:
    """The log of one process. `append` and `log_served` are safe from any thread, and never wait."""

    def __init__(
        self, directory: Path, limits: FeatureLogLimits, *, metrics: FeatureLogMetrics, clock: Clock, log: Any
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._changed = threading.Condition()
        self._queue: deque[LoggedRows] = deque()
        self._queued_rows = 0
        self._stopping = False
        self._open: _OpenFile | None = None
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="feature-log", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end. Waits for that, but not for ever."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def append(self, rows: LoggedRows) -> int:
        """Queue rows of one feature list; how many were taken: all of them, or 0 when the queue is full."""
        count = len(rows)
        with self._changed:
            taken = self._queued_rows + count <= self._limits.queue_rows_max and not self._stopping
            if taken:
                self._queue.append(rows)
                self._queued_rows += count
                if self._queued_rows >= self._limits.file_rows_max:
                    self._changed.notify()
        if not taken:
            self._metrics.feature_log_dropped.labels("queue").inc(count)
            return 0
        return count

    def log_served(
        self, served: Served, stash: FeatureStash, *, names: tuple[str, ...], digests: Mapping[str, str]
    ) -> int:
        """Move what was served from the stash to the log; how many rows it took. `names` and `digests` are
        those of the feature list that the stash's matrices have."""
        found = taken = 0
        for part in stash.take(served.log_id, served.pins, user=served.user):
            found += part.asked.size
            taken += self.append(served_rows(served, part, names=names, digests=digests))
        self._metrics.feature_log_absent.inc(served.pins.size - found)
        return taken

    def flush(self) -> None:
        """Write what waits. For the thread alone, or for a test that started none. Raises nothing of the
        disk's faults: the rows are dropped and counted."""
        with self._changed:
            queued, self._queue = self._queue, deque()
            self._queued_rows = 0
        batch: list[LoggedRows] = []
        for rows in queued:
            # In a process the list is one; a process that changes it must not mix rows.
            if batch and (rows.names, rows.digests) != (batch[0].names, batch[0].digests):
                self._write(batch)
                batch = []
            batch.append(rows)
        if batch:
            self._write(batch)
        self._close_when_full()

    def _run(self) -> None:
        try:
            files.remove_unfinished(self._directory, now_ms=self._clock.now_ms())
        except OSError as fault:
            self._log.warning("unfinished files of the feature log stay", reason=str(fault))
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or self._queued_rows >= self._limits.file_rows_max,
                    self._limits.flush_s,
                )
                stopping = self._stopping
            try:
                self.flush()
            except Exception:  # noqa: BLE001  a thread that ends would end the log without a word
                self._log.exception("writing the feature log failed; going on")
            if stopping:
                return

    def _write(self, batch: list[LoggedRows]) -> None:
        """Add the batch to the open file, on disk; on a fault it is dropped, and what was there stays."""
        count = sum(len(rows) for rows in batch)
        file = self._file_for(batch[0])
        try:
            self._check_disk()
            size_bytes = files.write_rows(file.path, file.parts + batch)
        except OSError as fault:
            self._metrics.feature_log_dropped.labels("disk").inc(count)
            if not self._failing:
                self._log.warning("rows of the feature log are dropped", reason=str(fault), row_count=count)
            self._failing = True
            return
        if self._failing:
            self._log.info("the feature log is written again")
        self._failing = False
        file.parts += batch
        file.rows += count
        file.size_bytes = size_bytes
        self._open = file
        self._metrics.feature_log_rows.inc(count)
        self._remove_oldest()

    def _file_for(self, rows: LoggedRows) -> _OpenFile:
        file = self._open
        if file is not None and (file.parts[0].names, file.parts[0].digests) == (rows.names, rows.digests):
            return file
        name = f"{self._clock.now_ms():013d}-{os.urandom(4).hex()}{files.SUFFIX}"
        ends_at = self._clock.monotonic() + self._limits.file_age_max_s
        return _OpenFile(self._directory / name, [], ends_at)

    def _close_when_full(self) -> None:
        file, limits = self._open, self._limits
        if file is not None and (
            file.rows >= limits.file_rows_max
            or self._clock.monotonic() >= file.ends_at
            or file.size_bytes * _FILES_OF_BOUND >= limits.directory_bytes_max
        ):
            self._open = None

    def _check_disk(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        least = self._limits.disk_free_bytes_min
        if shutil.disk_usage(self._directory).free < least:
            raise OSError(f"less than {least} bytes are free on the disk of {self._directory}")

    def _remove_oldest(self) -> None:
        """Bring the directory under its bound; the open file stays."""
        sizes = files.file_sizes(self._directory)
        total = sum(sizes.values())
        for path, size in sizes.items():
            if total <= self._limits.directory_bytes_max:
                break
            if self._open is None or path != self._open.path:
                path.unlink(missing_ok=True)
                self._metrics.feature_log_files_removed.inc()
                total -= size
        self._metrics.feature_log_bytes.set(total)


def served_rows(
    served: Served, part: Taken, *, names: tuple[str, ...], digests: Mapping[str, str]
) -> LoggedRows:
    """Rows of the log from what was stashed and what was served."""
    rows = part.rows
    count = rows.pins.size

    def same(value: object) -> NDArray[np.object_]:
        column = np.empty(count, np.object_)
        # One by one: numpy would take a tuple for values of its own.
        for row in range(count):
            column[row] = value
        return column

    return LoggedRows(
        served_ms=np.full(count, served.served_ms, np.int64),
        now_ms=np.full(count, rows.now_ms, np.int64),
        log_ids=np.full(count, served.log_id, np.uint64),
        request_ids=same(served.request_id),
        users=np.full(count, served.user, np.uint64),
        feeds=same(served.feed),
        models=same(rows.model),
        positions=served.positions[part.asked],
        pins=rows.pins,
        boards=rows.boards if rows.boards.size else np.zeros(count, np.uint64),
        owners=rows.owners if rows.owners.size else np.zeros(count, np.uint64),
        saved_at=rows.saved_at if rows.saved_at.size else np.zeros(count, np.uint32),
        light_scores=rows.light_scores if rows.light_scores.size else np.full(count, np.nan, np.float32),
        scores=rows.scores,
        arms=same(served.arms),
        features=rows.features,
        names=names,
        digests=digests,
    )
