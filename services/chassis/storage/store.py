"""Owns one RocksDB on disk: reads, atomic writes, scans, checkpoints; the only opener of a database.

The follower (or the log's committer) is the one writer; any thread may read. Its hazards are shut here:
every family is passed at every open, an undeclared family on disk is refused, bytes only (raw mode), no
iterator outlives `close`, a batch is bounded, and the engine's errors become ours (`faults.py`).
A written batch survives kill -9; it survives power loss only after `sync`.
After a failed write RocksDB refuses all later ones, also when space is free again; the next `write` here
therefore opens the database anew first, so trying the same batch again is enough.
Where next: `options.py` for the tuning, `scan.py` for what iteration must not do.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocksdict import Checkpoint, DbClosedError, IngestExternalFileOptions, Rdict, WriteBatch

from services.chassis.errors import DiskFull, FeedmeshError, LimitExceeded, StorageFault
from services.chassis.storage import gauges
from services.chassis.storage.batch import Batch, fill
from services.chassis.storage.faults import translate, translate_open
from services.chassis.storage.options import (
    MEMORY_DEFAULT,
    Family,
    StorageMemory,
    list_options,
    open_options,
    small_family,
)
from services.chassis.storage.scan import LiveScans, Row, successor

DEFAULT = "default"
CLOSE_WAIT_S = 10.0

# Passed on as they are: bugs of the caller (an undeclared family, not bytes), and errors already ours.
PASSED_ON = (KeyError, TypeError, ValueError, FeedmeshError)


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds of one write: a batch holds the engine (and the GIL) until it is in the memtables."""

    batch_entries_max: int = 20_000
    """Operations in one batch. 200,000 were measured to stall every other thread for 65 ms."""
    batch_bytes_max: int = 64 << 20
    """Bytes of keys and values in one batch."""


LIMITS_DEFAULT = StoreLimits()


class Store:
    """A database at `path` with exactly these families, and `default`, which nobody need declare.

    Raises:
        StorageFault: open elsewhere; or families on disk that are not declared; or the engine failed.
        CorruptValue: the files are damaged: restore a checkpoint.
        DiskFull: there is no room to open it.
    """

    def __init__(
        self,
        path: Path,
        families: Mapping[str, Family],
        *,
        memory: StorageMemory = MEMORY_DEFAULT,
        limits: StoreLimits = LIMITS_DEFAULT,
    ) -> None:
        self.path = path
        self.families: dict[str, Family] = {DEFAULT: small_family(), **families}
        self.limits = limits
        self._memory = memory
        self._scans = LiveScans()
        # Held to open, close and reopen; readers take it only after they met a closed handle.
        self._opening = threading.RLock()
        self._closed = False
        self._write_failed = False
        self._rdicts: dict[str, Any] = {}
        self._handles: dict[str, Any] = {}
        self._open()

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return the value, or None when the key is absent."""
        value: bytes | None = self._call(family, "get", key)
        return value

    def multi_get(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values in the order of `keys`, None where absent. Lets other threads run meanwhile."""
        if not keys:
            return []
        values: list[bytes | None] = self._call(family, "get", list(keys))
        return values

    def scan(self, family: str, *, start: bytes = b"", end: bytes | None = None) -> Iterator[Row]:
        """Yield (key, value) of [start, end) in key order; `end` None is the end of the family.

        The rows are those at the first `next`: later writes are not seen. On a plain table the whole
        family is read, whatever the range.

        Raises:
            CorruptValue: at the damaged block, after the rows before it.
            StorageFault: the store was closed meanwhile.
        """
        return self._rows(family, start=start, end=end, reverse=False)

    def scan_prefix(self, family: str, prefix: bytes) -> Iterator[Row]:
        """Yield (key, value) of every key that starts with `prefix`, in key order; as `scan` otherwise."""
        return self._rows(family, start=prefix, end=successor(prefix), reverse=False)

    def scan_back(self, family: str, *, start: bytes = b"", end: bytes | None = None) -> Iterator[Row]:
        """Yield (key, value) of [start, end) from the last key to the first; as `scan` otherwise.

        Raises:
            ValueError: the family is a plain table, which cannot be read backwards.
        """
        if self.families[family].is_table:
            raise ValueError(f"{family} is a plain table, which cannot be scanned backwards")
        return self._rows(family, start=start, end=end, reverse=True)

    def batch(self) -> Batch:
        """Return an empty batch for this store's families."""
        return Batch(self.families)

    def write(self, batch: Batch, *, sync: bool = False) -> None:
        """Apply the batch whole or not at all; blocks until it is in the write-ahead log.

        With `sync` it is on the disk on return. When the sync fails the batch may or may not survive
        power loss; writing it again is harmless. The batch is left as it was, to be tried again.

        Raises:
            LimitExceeded: the batch is over `limits`; it is never split, as that would break atomicity.
            DiskFull, StorageFault: nothing was applied; try the same batch again later.
        """
        self._check_limits(batch)
        with self._opening:
            if self._closed:
                raise self._closed_fault()
            if self._write_failed:
                self.reopen()
            native = WriteBatch(raw_mode=True)
            fill(native, batch.operations, self._handles)
            try:
                # An empty batch still syncs what was written before it.
                if batch.operations:
                    self._rdicts[DEFAULT].write(native)
                if sync:
                    self._rdicts[DEFAULT].flush_wal(True)
            except Exception as error:
                self._write_failed = True
                raise self._fault(error, "writing") from error

    def sync(self) -> None:
        """Block until everything written so far is on the disk."""
        self.write(self.batch(), sync=True)

    def ingest(self, family: str, files: Sequence[Path]) -> None:
        """Take table files over (`table_file.py`), all or none; their rows are newer than what is there.

        The files are moved, or copied from another file system. On the disk on return.

        Raises:
            CorruptValue, DiskFull, StorageFault: nothing was taken over.
        """
        options = IngestExternalFileOptions()
        options.set_move_files(True)
        self._call(family, "ingest_external_file", [str(path) for path in files], options)

    def checkpoint(self, path: Path) -> None:
        """Make an openable copy at `path` (which must not exist) of hard links; on the same file system.

        Raises:
            StorageFault: `path` exists, or the engine failed.
        """
        if path.exists():
            raise StorageFault(f"checkpoint {path} exists already: choose a new directory", path=path)
        try:
            Checkpoint(self._rdicts[DEFAULT]).create_checkpoint(str(path))
        except Exception as error:
            raise self._fault(error, "copying") from error

    def compact(self, family: str) -> None:
        """Flush and compact one family whole; blocks, minutes for a large one. For tools and tests."""
        self._call(family, "flush")
        self._call(family, "compact_range", None, None)

    def flush(self) -> None:
        """Write every memtable to files, so that the next open replays nothing."""
        for family in self.families:
            self._call(family, "flush")

    def stats(self) -> dict[str, int]:
        """Return gauges of the whole store: see `gauges.py`, and `live_scans`, the scans that are open."""
        return {**gauges.of_store(self._property, self.families), "live_scans": len(self._scans)}

    def family_stats(self) -> dict[str, dict[str, int]]:
        """Return the gauges of each family: estimated keys, and bytes by kind."""
        return gauges.of_families(self._property, self.families)

    def reopen(self) -> None:
        """Close and open again; the cure after a failed write. Open scans end with StorageFault.

        Raises:
            DiskFull: too little room to be sure of opening again; the store stays open for reads.
        """
        with self._opening:
            if self._closed:
                raise self._closed_fault()
            free_bytes = shutil.disk_usage(self.path).free
            if free_bytes < self._memory.wal_bytes_max:
                # Opening replays the write-ahead log into files: started without room, it would take
                # the readers' data away as well.
                raise DiskFull(
                    f"{self.path} needs {self._memory.wal_bytes_max} bytes free to recover from a failed "
                    f"write, and has {free_bytes}",
                    path=self.path,
                )
            self._shut()
            self._open()
            self._write_failed = False

    def close(self) -> None:
        """End all scans, flush, and release the files; a second call does nothing.

        Raises:
            DiskFull, StorageFault: the last flush failed. All is released, and what was written is in the
                write-ahead log, from which the next open restores it.
        """
        with self._opening:
            if self._closed:
                return
            self._closed = True
            failure = self._shut()
        if failure is not None:
            raise translate(failure, path=self.path, doing="closing") from failure

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        try:
            self._refuse_undeclared()
            self.path.mkdir(parents=True, exist_ok=True)
            # Every family, `default` by name too: RocksDB would keep its old options in silence.
            options = open_options(self.families, self._memory)
            default = Rdict(str(self.path), options[DEFAULT], column_families=options)
        except FeedmeshError:
            raise
        except Exception as error:
            raise translate_open(error, path=self.path) from error
        self._rdicts = {
            name: default if name == DEFAULT else default.get_column_family(name) for name in self.families
        }
        self._handles = {name: default.get_column_family_handle(name) for name in self.families}

    def _refuse_undeclared(self) -> None:
        if not (self.path / "CURRENT").exists():
            return
        undeclared = sorted(set(Rdict.list_cf(str(self.path), list_options())) - set(self.families))
        if undeclared:
            raise StorageFault(
                f"{self.path} holds families that this version does not declare: {', '.join(undeclared)}; "
                "it was written by another service or a newer version",
                path=self.path,
                families=",".join(undeclared),
            )

    def _shut(self) -> Exception | None:
        """Release scans, handles and files; return the first failure. Families first: the last unlocks."""
        failure: Exception | None = None
        self._handles = {}
        # Out of reach before it is closed: under steady reads there is no moment at which it is free.
        closing = sorted(self._rdicts.items(), key=lambda item: item[0] == DEFAULT)
        self._rdicts = dict.fromkeys(self.families)
        deadline = time.monotonic() + CLOSE_WAIT_S
        while closing:
            self._scans.close()
            try:
                if closing[0][1] is not None:
                    closing[0][1].close()
            except RuntimeError as error:
                # "Already borrowed": another thread is inside a multi_get, which ends soon.
                if time.monotonic() < deadline:
                    time.sleep(0.001)
                    continue
                failure = failure or error
            except Exception as error:  # noqa: BLE001  the engine raises nothing more precise
                failure = failure or error
            # Without its object a handle is gone, even if its last flush failed.
            del closing[0]
        # Those that were opened while the handles closed; from here on none can be.
        self._scans.close()
        return failure

    def _rows(self, family: str, *, start: bytes, end: bytes | None, reverse: bool) -> Iterator[Row]:
        if family not in self.families:
            raise KeyError(family)  # now, not at the first `next`
        return self._scanned(family, start, end, reverse) if end is None or start < end else iter(())

    def _scanned(self, family: str, start: bytes, end: bytes | None, reverse: bool) -> Iterator[Row]:
        declared = self.families[family]
        try:
            try:
                cursor = self._scans.open(
                    self._rdicts[family], declared, start=start, end=end, reverse=reverse
                )
            except (AttributeError, DbClosedError, RuntimeError):
                with self._opening:
                    cursor = self._scans.open(
                        self._rdict(family), declared, start=start, end=end, reverse=reverse
                    )
            yield from self._scans.rows(cursor)
        except PASSED_ON:
            raise
        except Exception as error:
            raise self._fault(error, "scanning") from error

    def _call(self, family: str, method: str, *args: object) -> Any:
        """Call the engine; a call that meets a reopening waits for it and runs again."""
        try:
            return getattr(self._rdicts[family], method)(*args)
        except PASSED_ON:
            raise
        except (AttributeError, DbClosedError, RuntimeError):
            with self._opening:
                try:
                    return getattr(self._rdict(family), method)(*args)
                except PASSED_ON:
                    raise
                except Exception as error:
                    raise self._fault(error, "reading") from error
        except Exception as error:
            raise self._fault(error, "reading") from error

    def _property(self, family: str, name: str) -> int:
        value: int | None = self._call(family, "property_int_value", name)
        return value or 0

    def _rdict(self, family: str) -> Any:
        with self._opening:
            rdict = self._rdicts[family]
            if rdict is None and not self._closed:
                raise StorageFault(
                    f"{self.path} could not be opened again after a failed write", path=self.path
                )
            if rdict is None:
                raise self._closed_fault()
            return rdict

    def _check_limits(self, batch: Batch) -> None:
        limits = self.limits
        if len(batch) > limits.batch_entries_max or batch.size_bytes > limits.batch_bytes_max:
            raise LimitExceeded(
                f"a batch of {len(batch)} entries and {batch.size_bytes} bytes is over the limit of "
                f"{limits.batch_entries_max} entries and {limits.batch_bytes_max} bytes; write less at once",
                entries=len(batch),
                entries_max=limits.batch_entries_max,
                bytes=batch.size_bytes,
                bytes_max=limits.batch_bytes_max,
            )

    def _fault(self, error: Exception, doing: str) -> FeedmeshError:
        return self._closed_fault() if self._closed else translate(error, path=self.path, doing=doing)

    def _closed_fault(self) -> StorageFault:
        return StorageFault(f"the store at {self.path} is closed", path=self.path)
