"""Ids of one side: collected, each once and ascending, and the way back from an id to its row."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.pixie.building.array_files import ArrayWriter, mapped
from services.pixie.building.external_sort import ExternalSort
from services.pixie.building.sort_kernels import bucket_starts, drop_repeated, find_rows
from services.pixie.building.source import Advance, BadSource
from services.pixie.graph_files import NODES_MAX

_TABLE_BITS_MAX: Final = 28
"""A table of 2 GB at most, for a quarter of a billion ids and more."""


class IdCollector:
    """Ids in any order, many times; then once each, in a file."""

    def __init__(self, folder: Path, name: str, *, memory_bytes: int) -> None:
        self._path = folder / f"{name}.ids"
        self._name = name
        self._sort = ExternalSort(folder / f"{name}.ids.runs", memory_bytes=memory_bytes)

    def add(self, ids: NDArray[np.uint64]) -> None:
        """Take ids."""
        # A chunk has its popular ids many times: what is sorted at large is less. Not np.unique: on a million
        # ids that are hashes its table of numpy 2.4 takes 1.6 s, sorting 0.02.
        ordered = np.sort(ids)
        self._sort.add(ordered[: drop_repeated(ordered)])

    def finish(self, advance: Advance) -> IdRows:
        """All ids. Raises BadSource when there are more than a graph can have."""
        file = ArrayWriter(self._path, np.uint64)
        for piece in self._sort.merged():
            file.append(piece.keys)
            advance(piece.keys.size)
        file.finish()
        if file.count > NODES_MAX:
            raise BadSource(f"there are {file.count:,} {self._name}; a graph has at most {NODES_MAX:,}")
        return IdRows(mapped(self._path, np.uint64))


class IdRows:
    """Rows of ids: a table by an id's first bits, then a binary search among the few that share them.

    Ids that are counted up, and ids that are hashes, are both spread evenly, so a search is one or two steps.
    The table has about one entry of 8 bytes for every two ids.
    """

    def __init__(self, ids: NDArray[np.uint64]) -> None:
        self.ids = ids
        """Ascending."""
        if not ids.size:
            return
        span = int(ids[-1]) - int(ids[0])
        bits = min(_TABLE_BITS_MAX, max(1, int(ids.size).bit_length() - 1))
        self._shift = np.uint64(max(0, span.bit_length() - bits))
        self._starts = np.empty((span >> int(self._shift)) + 2, np.int64)
        bucket_starts(ids, self._shift, self._starts)

    def __len__(self) -> int:
        return int(self.ids.size)

    def rows(self, wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows, int64, aligned; -1 for ids that there are not."""
        if not self.ids.size:
            return np.full(wanted.size, -1)
        rows = np.empty(wanted.size, np.int64)
        find_rows(self.ids, self._shift, self._starts, wanted, rows)
        return rows
