"""From edges in order to the files of a graph: rows without gaps, both sides, classes.

    edges by pin ──┬─► pins grouped ─────────────────────────────┐
                   └─► sorted by board ─► boards grouped, classes ─┴─► renumbered, ordered by class ─► files

Nodes that lost all their edges have no row: old rows become places among the groups that there are. That
keeps their order, so edges stay ascending, and ids too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.pixie.building.array_files import ArrayWriter
from services.pixie.building.assembly_kernels import majority_classes, order_by_class
from services.pixie.building.attributes import PinAttributes
from services.pixie.building.draft import Draft
from services.pixie.building.external_sort import ExternalSort
from services.pixie.building.grouped import Groups, GroupWriter, swapped
from services.pixie.building.ids import IdRows
from services.pixie.building.source import Advance, Progress
from services.pixie.graph_files import FILES, FileEntry, file_name

_BLOCK_BYTES: Final = 32
_ROWS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Assembled:
    """What became of the edges."""

    pins: Groups
    boards: Groups
    pin_degree_max: int
    board_degree_max: int
    files: dict[str, FileEntry]


def assemble(
    by_pin: Iterable[NDArray[np.uint64]],
    pin_ids: IdRows,
    board_ids: IdRows,
    attributes: PinAttributes | None,
    draft: Draft,
    *,
    memory_bytes: int,
    progress: Progress,
) -> Assembled:
    """Write all arrays of a graph into the draft. `by_pin`: edges packed by pin, ascending, each once.

    Raises:
        DiskFull: there is no room for it.
    """
    pins, sort = _pin_side(by_pin, draft, memory_bytes)
    advance = progress.step("merging edges by board", sort.added_count)
    writer = GroupWriter(draft.spill, "boards")
    for piece in sort.merged():
        writer.append(piece.keys)
        advance(piece.keys.size)
    boards = writer.finish()
    board_classes = _board_classes(boards, len(board_ids), attributes, memory_bytes)
    pin_classes = np.zeros(len(pin_ids), np.uint16) if attributes is None else attributes.classes
    advance = progress.step("writing the graph", pins.edge_count + boards.edge_count)
    pin_side = _Side("pin", pins, pin_ids, pin_classes)
    board_side = _Side("board", boards, board_ids, board_classes)
    files = pin_side.write_nodes(draft) | board_side.write_nodes(draft)
    block_edges = max(1, memory_bytes // _BLOCK_BYTES)
    files["pin_edges"], pin_degree_max = pin_side.write_edges(draft, board_side, block_edges, advance)
    files["board_edges"], board_degree_max = board_side.write_edges(draft, pin_side, block_edges, advance)
    return Assembled(pins, boards, pin_degree_max, board_degree_max, files)


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of the graph; arrays are by old row."""

    name: str
    groups: Groups
    ids: IdRows
    classes: NDArray[np.uint16]

    def places(self) -> NDArray[np.uint32] | None:
        """By old row the place of its group; None when every row has one, so that both are the same."""
        if self.groups.group_count == len(self.ids):
            return None
        places = np.zeros(len(self.ids), np.uint32)
        for first, rows in self.groups.row_blocks(_ROWS):
            places[rows] = np.arange(first, first + rows.size, dtype=np.uint32)
        return places

    def write_nodes(self, draft: Draft) -> dict[str, FileEntry]:
        """Ids, classes and starts."""
        ids, classes = _writer(draft, f"{self.name}s"), _writer(draft, f"{self.name}_classes")
        for _, rows in self.groups.row_blocks(_ROWS):
            ids.append(self.ids.ids[rows])
            classes.append(self.classes[rows])
        starts = _writer(draft, f"{self.name}_starts")
        for begins in self.groups.start_blocks(_ROWS):
            starts.append(begins)
        writers = {f"{self.name}s": ids, f"{self.name}_classes": classes, f"{self.name}_starts": starts}
        return {array: writer.finish() for array, writer in writers.items()}

    def write_edges(
        self, draft: Draft, other: _Side, block_edges: int, advance: Advance
    ) -> tuple[FileEntry, int]:
        """Edges, by class of the other side's nodes; and the greatest degree."""
        places, degree_max = other.places(), 0
        writer = _writer(draft, f"{self.name}_edges")
        for block in self.groups.blocks(block_edges):
            order_by_class(block.starts, block.edges, other.classes)
            writer.append(block.edges if places is None else places[block.edges])
            degree_max = max(degree_max, int(np.diff(block.starts).max()))
            advance(block.edges.size)
        self.groups.edges_path.unlink()
        return writer.finish(), degree_max


def _pin_side(
    by_pin: Iterable[NDArray[np.uint64]], draft: Draft, memory_bytes: int
) -> tuple[Groups, ExternalSort]:
    writer = GroupWriter(draft.spill, "pins")
    sort = ExternalSort(draft.spill / "by-board.runs", memory_bytes=memory_bytes)
    for keys in by_pin:
        writer.append(keys)
        sort.add(swapped(keys))
    return writer.finish(), sort


def _board_classes(
    boards: Groups, board_count: int, attributes: PinAttributes | None, memory_bytes: int
) -> NDArray[np.uint16]:
    classes = np.zeros(board_count, np.uint16)
    if attributes is None or len(attributes.class_names) == 1:
        return classes
    votes = np.zeros(len(attributes.class_names), np.int64)
    for block in boards.blocks(max(1, memory_bytes // _BLOCK_BYTES)):
        found = np.empty(block.rows.size, np.uint16)
        majority_classes(block.starts, block.edges, attributes.classes, votes, found)
        classes[block.rows] = found
    return classes


def _writer(draft: Draft, array: str) -> ArrayWriter:
    return ArrayWriter(draft.folder / file_name(array), FILES[array])
