"""Edges of one side, grouped by node: what a merge of sorted edges becomes, in files.

    <name>.rows     uint32 (group_count,)      which node, by its row among all collected ids; ascending
    <name>.starts   uint64 (group_count + 1,)  where its edges begin
    <name>.edges    uint32 (edge_count,)       rows of its neighbours, ascending within a node

Nodes without edges have no group, so a graph that lost edges on the way has rows without gaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.pixie.building.array_files import ArrayReader, ArrayWriter

LOW: Final = np.uint64(0xFFFFFFFF)
HALF: Final = np.uint64(32)


def packed(high: NDArray[np.int64], low: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Edges as keys that sort by `high`, then by `low`; both are rows, below 2^32."""
    return (high.astype(np.uint64) << HALF) | low.astype(np.uint64)


def swapped(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The same edges, to sort by the other side."""
    return (keys << HALF) | (keys >> HALF)


class Block(NamedTuple):
    """Some groups, whole."""

    first: int
    """Place of the first group."""
    rows: NDArray[np.uint32]
    starts: NDArray[np.int64]
    """(group + 1,), of the block's edges."""
    edges: NDArray[np.uint32]


class GroupWriter:
    """Takes packed edges in order."""

    def __init__(self, folder: Path, name: str) -> None:
        self._rows = ArrayWriter(folder / f"{name}.rows", np.uint32)
        self._starts = ArrayWriter(folder / f"{name}.starts", np.uint64)
        self._edges = ArrayWriter(folder / f"{name}.edges", np.uint32)
        self._last = -1
        self._folder, self._name = folder, name

    def append(self, keys: NDArray[np.uint64]) -> None:
        """Write edges, which follow the last ones in order. Raises DiskFull."""
        if not keys.size:
            return
        rows = (keys >> HALF).astype(np.int64)
        begins = np.flatnonzero(np.diff(rows, prepend=self._last))
        self._last = int(rows[-1])
        self._rows.append(rows[begins].astype(np.uint32))
        self._starts.append((begins + self._edges.count).astype(np.uint64))
        self._edges.append((keys & LOW).astype(np.uint32))

    def finish(self) -> Groups:
        """What was written."""
        self._starts.append(np.array([self._edges.count], np.uint64))
        for file in (self._rows, self._starts, self._edges):
            file.finish()
        return Groups(self._folder, self._name)


class Groups:
    """Grouped edges in their files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.rows_path = folder / f"{name}.rows"
        self.starts_path = folder / f"{name}.starts"
        self.edges_path = folder / f"{name}.edges"
        self.group_count = self.rows_path.stat().st_size // 4
        self.edge_count = self.edges_path.stat().st_size // 4

    def blocks(self, edges_max: int) -> Iterator[Block]:
        """All groups, of at most `edges_max` edges at once, or one group of more."""
        with (
            ArrayReader(self.rows_path, np.uint32) as rows,
            ArrayReader(self.starts_path, np.uint64) as starts,
            ArrayReader(self.edges_path, np.uint32) as edges,
        ):
            group, guess = 0, edges_max
            while group < self.group_count:
                begins = starts.read(group, guess + 1).astype(np.int64)
                count = int(np.searchsorted(begins, begins[0] + edges_max, side="right")) - 1
                count = max(1, count)
                begins = begins[: count + 1]
                yield Block(
                    first=group,
                    rows=rows.read(group, count),
                    starts=begins - begins[0],
                    edges=edges.read(int(begins[0]), int(begins[-1] - begins[0])),
                )
                group += count
                # Starts are read ahead: about as many as the last block had, not one for each edge.
                guess = min(edges_max, 2 * count + 1)

    def row_blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint32]]]:
        """All rows, with the place of the first one of each block."""
        with ArrayReader(self.rows_path, np.uint32) as rows:
            place = 0
            for block in rows.blocks(size):
                yield place, block
                place += block.size

    def start_blocks(self, size: int) -> Iterator[NDArray[np.uint64]]:
        """All starts."""
        with ArrayReader(self.starts_path, np.uint64) as starts:
            yield from starts.blocks(size)

    def remove(self) -> None:
        """Give the disk back."""
        for path in (self.rows_path, self.starts_path, self.edges_path):
            path.unlink(missing_ok=True)


def keys_of(block: Block) -> NDArray[np.uint64]:
    """The block's edges, packed again."""
    return packed(np.repeat(block.rows, np.diff(block.starts)), block.edges)  # type: ignore[arg-type]
