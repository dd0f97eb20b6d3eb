"""Arrays in files, written and read from the front: no array of a build need fit into memory.

Written by appending, never through a mapping: a full disk then is an error, not a signal that kills the
process (SIGBUS).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from services.chassis.errors import DiskFull
from services.pixie.graph_files import FileEntry

_BUFFER_BYTES: Final = 1 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class ArrayWriter:
    """Appends arrays of one type to a new file, and sums them up."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.count = 0
        self._digest = xxhash.xxh3_128()
        with disk_faults(path):
            self._file = path.open("xb", buffering=_BUFFER_BYTES)

    def append(self, array: NDArray[Any]) -> None:
        """Write entries. Raises DiskFull."""
        data = np.ascontiguousarray(array, self.dtype).view(np.uint8).data
        self._digest.update(data)
        self.count += array.size
        with disk_faults(self.path):
            self._file.write(data)

    def finish(self) -> FileEntry:
        """End the file. Raises DiskFull."""
        with disk_faults(self.path):
            self._file.close()
        return FileEntry(self.count * self.dtype.itemsize, self._digest.hexdigest())


class ArrayReader:
    """Reads stretches of an array's file."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self._file = path.open("rb", buffering=0)
        self.count = path.stat().st_size // self.dtype.itemsize

    def read(self, start: int, count: int) -> NDArray[Any]:
        """A copy of `count` entries from `start` on; fewer at the end."""
        self._file.seek(start * self.dtype.itemsize)
        return np.fromfile(self._file, self.dtype, min(count, self.count - start))

    def blocks(self, size: int) -> Iterator[NDArray[Any]]:
        """All of it, `size` entries at a time."""
        for start in range(0, self.count, size):
            yield self.read(start, size)

    def close(self) -> None:
        """End reading."""
        self._file.close()

    def __enter__(self) -> ArrayReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def mapped(path: Path, dtype: Any) -> NDArray[Any]:
    """A file's array, for reading here and there."""
    if not path.stat().st_size:
        return read_only(np.empty(0, dtype))
    return np.memmap(path, dtype, mode="r").view(np.ndarray)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The array, as what is mapped is: kernels are compiled once for both."""
    array.flags.writeable = False
    return array


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """A full disk inside is DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFull(
            f"the disk is full while writing {path}: free space, or build elsewhere with --out", path=path
        ) from error
