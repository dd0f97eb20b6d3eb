"""Owns reading a database that another process writes, or that is a checkpoint: whole families, no write.

What is read is the database as it is at the opening, with what its write-ahead log holds; later writes are
not seen. The writer is not disturbed: no lock is taken and no file is made. All table files are held open
from the start, since the writer's compactions remove files under the reader, who then still has them.
Where next: `store.py`, the writer's side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rocksdict import AccessType, Rdict

from services.chassis.errors import FeedmeshError, StorageFault
from services.chassis.storage.faults import translate, translate_open
from services.chassis.storage.options import (
    MEMORY_DEFAULT,
    Family,
    StorageMemory,
    list_options,
    open_options,
    small_family,
)
from services.chassis.storage.scan import LiveScans, Row

_DEFAULT: Final = "default"
_ALL_FILES: Final = -1
_OPENINGS_MAX: Final = 5
_GONE: Final = "No such file or directory"


class StoreReader:
    """The named families of the database at `path`; others may be there, and are not opened.

    Raises:
        StorageFault: there is no database, or none with these families; or the engine failed.
        CorruptValue: the files are damaged.
    """

    def __init__(
        self, path: Path, families: Mapping[str, Family], *, memory: StorageMemory = MEMORY_DEFAULT
    ) -> None:
        self.path = path
        self.families: dict[str, Family] = {_DEFAULT: small_family(), **families}
        self._scans = LiveScans()
        self._memory = dataclasses.replace(memory, open_files_max=_ALL_FILES)
        self._check_families()
        self._database: Any = self._open()
        self._rdicts = {name: self._database.get_column_family(name) for name in families}

    def scan(self, family: str) -> Iterator[Row]:
        """Yield (key, value) of a family in key order.

        Raises:
            CorruptValue: at the damaged block, after the rows before it.
            StorageFault: the reader was closed meanwhile.
        """
        try:
            cursor = self._scans.open(self._rdicts[family], self.families[family], start=b"", end=None)
            yield from self._scans.rows(cursor)
        except (KeyError, FeedmeshError):
            raise
        except Exception as error:
            raise translate(error, path=self.path, doing="reading") from error

    def close(self) -> None:
        """End all scans and release the files; a second call does nothing."""
        self._scans.close()
        for rdict in (*self._rdicts.values(), self._database):
            if rdict is not None:
                rdict.close()
        self._rdicts, self._database = {}, None

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_families(self) -> None:
        if not (self.path / "CURRENT").is_file():
            raise StorageFault(f"{self.path} holds no database: name the folder of a store", path=self.path)
        try:
            there = set(Rdict.list_cf(str(self.path), list_options()))
        except Exception as error:
            raise translate_open(error, path=self.path) from error
        missing = sorted(set(self.families) - there)
        if missing:
            raise StorageFault(
                f"{self.path} has no {', '.join(missing)}, only {', '.join(sorted(there))}: it is the store "
                "of another service",
                path=self.path,
            )

    def _open(self) -> Any:
        options = open_options(self.families, self._memory)
        for opening in range(1, _OPENINGS_MAX + 1):
            try:
                return Rdict(
                    str(self.path),
                    options[_DEFAULT],
                    column_families=options,
                    access_type=AccessType.read_only(),
                )
            except Exception as error:
                # The writer compacted between our reading its list of files and opening them.
                if opening == _OPENINGS_MAX or _GONE not in str(error):
                    raise translate_open(error, path=self.path) from error
        raise AssertionError("the last opening returns or raises")
