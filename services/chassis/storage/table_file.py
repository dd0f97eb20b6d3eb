"""Owns the making of table files (SST) outside a store: sorted keys in, one file out, to be ingested whole.

Refuses keys that do not ascend, which the engine would find out too. The file is on the disk after `finish`;
a writer that is left without it leaves a file that no store takes.
Where next: `store.py`, whose `ingest` takes the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rocksdict import SstFileWriter

from services.chassis.storage.faults import translate
from services.chassis.storage.options import MEMORY_DEFAULT, Family, open_options


class TableFile:
    """One table file being written, for a family of the given tuning. For one thread."""

    def __init__(self, path: Path, family: Family) -> None:
        self._path = path
        self._last = b""
        # The engine keeps no reference of its own to the options.
        self._options = open_options({"default": family}, MEMORY_DEFAULT)["default"]
        self._writer: Any = SstFileWriter(self._options)
        try:
            self._writer.open(str(path))
        except Exception as error:
            raise translate(error, path=path, doing="writing") from error

    def extend(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        """Append aligned keys and values.

        Raises:
            ValueError: a key does not come after the one before it.
            DiskFull, StorageFault: the file cannot be written.
        """
        writer, last = self._writer, self._last
        for key, value in zip(keys, values, strict=True):
            if key <= last:
                raise ValueError(f"key {key.hex()} does not come after {last.hex()}")
            last = key
            try:
                writer[key] = value
            except Exception as error:
                raise translate(error, path=self._path, doing="writing") from error
        self._last = last

    def finish(self) -> None:
        """Complete the file; it holds one key at least."""
        try:
            self._writer.finish()
        except Exception as error:
            raise translate(error, path=self._path, doing="writing") from error
