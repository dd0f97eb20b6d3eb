"""Sorting more than memory holds: sorted runs in a file, then one merge of all runs.

    add → a buffer in memory; full: sorted, each key once; still more than half full: a run in the file
    merged → a block of every run in memory; all keys up to the least last key of the blocks are in memory, so
             they are taken, sorted, and given out; whose block is used up, reads its next

Sorting what is taken anew costs less than merging it key by key: numpy sorts uint64 with vector instructions,
44 million a second where this was measured, 80 million when they are runs. One merge does for all runs: with
n bytes of memory a run has n/16 keys, and blocks stay over 100 KB to 10,000 runs.
With states each key keeps its last one: the one of the latest time (`source.states_of`), of equal times the
one that was added last.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.pixie.building.array_files import ArrayReader, ArrayWriter
from services.pixie.building.sort_kernels import drop_repeated, keep_last

Column = NDArray[np.uint64]

PIECE_KEYS: Final = 1 << 20
"""Most keys that are given out at once, so that whoever takes them needs little memory for what is made of
them."""
_KEY_BYTES: Final = 16
"""Memory of a key: the buffer; while merging, the blocks and what was taken of them."""
_STATE_BYTES: Final = 64
"""Memory of a key with its state: an order and sorted copies of both columns beside them."""
_BLOCK_KEYS_MIN: Final = 16


class Sorted(NamedTuple):
    """Keys, ascending and each once, and their states."""

    keys: Column
    states: Column


class ExternalSort:
    """Keys are added, then given out in order, once. The file is `path`, with states also `path`.states."""

    def __init__(self, path: Path, *, memory_bytes: int, keeps_states: bool = False) -> None:
        self.added_count = 0
        self._keeps_states = keeps_states
        size = max(_BLOCK_KEYS_MIN, memory_bytes // (_STATE_BYTES if keeps_states else _KEY_BYTES))
        self._size = size
        self._keys = np.empty(size, np.uint64)
        self._states = np.empty(size if keeps_states else 0, np.uint64)
        self._fill = 0
        self._runs: list[tuple[int, int]] = []
        self._path = path
        self._files: list[ArrayWriter] = []

    def add(self, keys: Column, states: Column | None = None) -> None:
        """Take keys in any order. Raises DiskFull."""
        self.added_count += keys.size
        at = 0
        while at < keys.size:
            count = min(keys.size - at, self._size - self._fill)
            self._keys[self._fill : self._fill + count] = keys[at : at + count]
            if states is not None:
                self._states[self._fill : self._fill + count] = states[at : at + count]
            self._fill += count
            at += count
            if self._fill == self._size:
                self._sort_buffer()
                # Keys that repeat much, as ids do, never leave memory.
                if self._fill > self._size // 2:
                    self._spill()

    def merged(self) -> Iterator[Sorted]:
        """All keys in order, in pieces; the file goes at the end. Raises DiskFull."""
        self._sort_buffer()
        if not self._runs:
            yield from _pieces(self._keys[: self._fill], self._states[: self._fill])
            self._release()
            return
        self._spill()
        self._release()
        for file in self._files:
            file.finish()
        yield from self._merge()
        for file in self._files:
            file.path.unlink()

    def _release(self) -> None:
        self._keys = self._states = np.empty(0, np.uint64)

    def _sort_buffer(self) -> None:
        keys, states = self._keys[: self._fill], self._states[: self._fill]
        if self._keeps_states:
            _sort_by_time(keys, states)
            self._fill = int(keep_last(keys, states))
        else:
            keys.sort()
            self._fill = int(drop_repeated(keys))

    def _spill(self) -> None:
        if not self._fill:
            return
        if not self._files:
            self._files.append(ArrayWriter(self._path, np.uint64))
            if self._keeps_states:
                self._files.append(ArrayWriter(_states_path(self._path), np.uint64))
        self._runs.append((self._files[0].count, self._fill))
        for file, column in zip(self._files, (self._keys, self._states), strict=False):
            file.append(column[: self._fill])
        self._fill = 0

    def _merge(self) -> Iterator[Sorted]:
        block_keys = max(_BLOCK_KEYS_MIN, self._size // (2 * len(self._runs)))
        readers = [ArrayReader(file.path, np.uint64) for file in self._files]
        try:
            runs = [_Run(readers, start, count, block_keys) for start, count in self._runs]
            while True:
                for run in runs:
                    run.fill()
                runs = [run for run in runs if run.keys.size]
                if not runs:
                    return
                unread = [run.keys[-1] for run in runs if run.left]
                taken = [run.take(min(unread) if unread else None) for run in runs]
                yield from self._united(taken)
        finally:
            for reader in readers:
                reader.close()

    def _united(self, taken: list[Sorted]) -> Iterator[Sorted]:
        keys = np.concatenate([part.keys for part in taken])
        states = np.concatenate([part.states for part in taken])
        if self._keeps_states:
            # In the order of runs, which is that of arrival: the sort keeps it among equals.
            _sort_by_time(keys, states)
            count = int(keep_last(keys, states))
        else:
            keys.sort()
            count = int(drop_repeated(keys))
        yield from _pieces(keys[:count], states[:count])


class _Run:
    """One run and its block in memory."""

    def __init__(self, readers: list[ArrayReader], start: int, count: int, block_keys: int) -> None:
        self._readers = readers
        self._next = start
        self.left = count
        """Keys that are not in memory yet."""
        self._block_keys = block_keys
        self.keys = self.states = np.empty(0, np.uint64)

    def fill(self) -> None:
        """Read the next block when the last one is used up."""
        if self.keys.size or not self.left:
            return
        count = min(self._block_keys, self.left)
        columns = [reader.read(self._next, count) for reader in self._readers]
        self.keys = columns[0]
        self.states = columns[1] if len(columns) > 1 else self.states
        self._next += count
        self.left -= count

    def take(self, bound: np.uint64 | None) -> Sorted:
        """What is in memory up to `bound`, which counts; None: all of it."""
        count = self.keys.size if bound is None else int(np.searchsorted(self.keys, bound, side="right"))
        taken = Sorted(self.keys[:count], self.states[:count])
        self.keys, self.states = self.keys[count:], self.states[count:]
        return taken


def _sort_by_time(keys: Column, states: Column) -> None:
    order = np.lexsort((states >> np.uint64(1), keys))
    keys[:] = keys[order]
    states[:] = states[order]


def _pieces(keys: Column, states: Column) -> Iterator[Sorted]:
    for start in range(0, keys.size, PIECE_KEYS):
        part = slice(start, start + PIECE_KEYS)
        yield Sorted(keys[part], states[part])


def _states_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.states")
