"""The first pass over a source: edges as they come into files, ids collected; then edges as rows, in order.

    source ─► pins, boards, states in files ─► ids, ascending ─► rows packed ─► sorted (`external_sort.py`)

Two passes, because a row is known only when all ids are. A sorted edge is 8 bytes instead of 16, and sorts
as one number. A source with states (the log) tells of removals: the last state of an edge counts, unless its
board was deleted later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.pixie.building.array_files import ArrayReader, ArrayWriter
from services.pixie.building.external_sort import ExternalSort, Sorted
from services.pixie.building.grouped import HALF, LOW, packed
from services.pixie.building.ids import IdCollector, IdRows
from services.pixie.building.source import Advance, BadSource, EdgeSource, Progress

_PIECE_EDGES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Spilled:
    """All edges of a source, in files, in the order in which they came."""

    pins: IdRows
    boards: IdRows
    edge_count: int
    has_states: bool
    _folder: Path

    def sorted_edges(self, *, by_board: bool, memory_bytes: int, advance: Advance) -> ExternalSort:
        """Edges by rows, packed by board or by pin; the spilled columns go. Raises DiskFull."""
        sort = ExternalSort(
            self._folder / "edges.runs", memory_bytes=memory_bytes, keeps_states=self.has_states
        )
        with (
            ArrayReader(self._folder / "edges.pins", np.uint64) as pins,
            ArrayReader(self._folder / "edges.boards", np.uint64) as boards,
            ArrayReader(self._folder / "edges.states", np.uint64) as states,
        ):
            for start in range(0, self.edge_count, _PIECE_EDGES):
                pin_rows = self.pins.rows(pins.read(start, _PIECE_EDGES))
                board_rows = self.boards.rows(boards.read(start, _PIECE_EDGES))
                keys = packed(board_rows, pin_rows) if by_board else packed(pin_rows, board_rows)
                sort.add(keys, states.read(start, _PIECE_EDGES) if self.has_states else None)
                advance(keys.size)
        for name in ("pins", "boards", "states"):
            (self._folder / f"edges.{name}").unlink()
        return sort


def spill(source: EdgeSource, folder: Path, *, memory_bytes: int, progress: Progress) -> Spilled:
    """Read a source to its end.

    Raises:
        BadSource: it has no edges, or more nodes than a graph can have; or whatever is wrong with it.
        DiskFull: there is no room for its edges.
    """
    columns = {
        name: ArrayWriter(folder / f"edges.{name}", np.uint64) for name in ("pins", "boards", "states")
    }
    pins = IdCollector(folder, "pins", memory_bytes=memory_bytes // 2)
    boards = IdCollector(folder, "boards", memory_bytes=memory_bytes // 2)
    advance = progress.step("reading edges", source.edge_count)
    for chunk in source.edges():
        columns["pins"].append(chunk.pins)
        columns["boards"].append(chunk.boards)
        if chunk.states is not None:
            columns["states"].append(chunk.states)
        pins.add(chunk.pins)
        boards.add(chunk.boards)
        advance(chunk.pins.size)
    for column in columns.values():
        column.finish()
    edge_count = columns["pins"].count
    if not edge_count:
        raise BadSource(f"{source.text} has no edges: a graph of none leads nowhere")
    advance = progress.step("collecting ids", None)
    return Spilled(
        pins.finish(advance), boards.finish(advance), edge_count, columns["states"].count > 0, folder
    )


class EdgeCounts:
    """What became of edges on the way."""

    def __init__(self) -> None:
        self.distinct = 0
        """Pairs of pin and board that the source told of."""
        self.removed = 0
        """Of these, taken off again, or with their board deleted."""


def present_edges(
    pieces: Iterator[Sorted],
    boards: IdRows,
    deleted_ms: Mapping[int, int],
    counts: EdgeCounts,
    advance: Advance,
    *,
    by_board: bool,
) -> Iterator[NDArray[np.uint64]]:
    """Sorted edges without those that were removed."""
    ids = np.array(sorted(deleted_ms), np.uint64)
    rows = boards.rows(ids)
    times = np.array([deleted_ms[int(id_)] for id_ in ids[rows >= 0].tolist()], np.uint64)
    rows = rows[rows >= 0]
    for piece in pieces:
        advance(piece.keys.size)
        counts.distinct += piece.keys.size
        if not piece.states.size:
            yield piece.keys
            continue
        present = (piece.states & np.uint64(1)).astype(np.bool_)
        if rows.size:
            board_rows = ((piece.keys >> HALF) if by_board else (piece.keys & LOW)).astype(np.int64)
            places = np.minimum(np.searchsorted(rows, board_rows), rows.size - 1)
            present &= (rows[places] != board_rows) | ((piece.states >> np.uint64(1)) > times[places])
        counts.removed += int(piece.keys.size - np.count_nonzero(present))
        yield piece.keys[present]
