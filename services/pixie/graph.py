"""The pin-board graph: compressed rows of both sides, mapped from a folder (`graph_files.py`).

A node is a row: its place among the ids of its side, which ascend. Walks read `starts` and `edges` without a
test at each step, so `Graph.open` refuses a graph that would lead out of its arrays. Nothing here is ever
written: any number of threads may read a graph without a lock.
A graph has no close: its memory is unmapped when the last reference to it, and to any of its arrays, is
dropped. Whoever swaps graphs drops the old one, and requests that walk on it keep it until they are done.
Next: `graph_kernels.py` (what is checked), `building/` (how one is made).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from services.pixie.graph_files import FILES, BadGraph, Manifest, check_sums, map_arrays
from services.pixie.graph_kernels import FAULT_TEXTS, FINE, check_edges, check_nodes, edge_digest


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A graph. All arrays are read-only, C-contiguous and of the types named here."""

    manifest: Manifest
    pins: NDArray[np.uint64]
    """Ids (pin_count,), ascending."""
    boards: NDArray[np.uint64]
    """Ids (board_count,), ascending."""
    pin_starts: NDArray[np.uint64]
    """(pin_count + 1,): edges of pin row p are pin_edges[pin_starts[p]:pin_starts[p + 1]], never none."""
    pin_edges: NDArray[np.uint32]
    """Board rows (edge_count,); within a pin by (class of the board, row)."""
    board_starts: NDArray[np.uint64]
    """(board_count + 1,), as `pin_starts`."""
    board_edges: NDArray[np.uint32]
    """Pin rows (edge_count,); within a board by (class of the pin, row)."""
    pin_classes: NDArray[np.uint16]
    """(pin_count,): place in `manifest.class_names`; 0: none."""
    board_classes: NDArray[np.uint16]
    """(board_count,), as `pin_classes`."""

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Self:
        """The graph in a version's folder; about 20 ns an edge, `verify` or not.

        `verify`: compare checksums, and that both sides tell of the same edges. Its structure is checked in
        any case.

        Raises:
            BadGraph: it cannot be walked; what is wrong, says the message.
        """
        manifest = Manifest.read(path)
        arrays = map_arrays(path, manifest)
        if verify:
            check_sums(path, manifest)
        graph = cls(manifest, **arrays)
        graph.check(path, sides=verify)
        return graph

    def check(self, path: Path, *, sides: bool) -> None:
        """Raises BadGraph, which names `path`, unless walks stay inside the arrays.

        `sides`: also that both sides tell of the same edges.
        """
        _check_side(path, "pin", self.pins, self.pin_classes, len(self.class_names))
        _check_side(path, "board", self.boards, self.board_classes, len(self.class_names))
        both = (
            ("pin", self.pin_starts, self.pin_edges, self.board_classes, self.manifest.pin_degree_max),
            ("board", self.board_starts, self.board_edges, self.pin_classes, self.manifest.board_degree_max),
        )
        for side, starts, edges, neighbour_classes, told in both:
            fault, row, degree_max = check_edges(starts, edges, neighbour_classes)
            if fault != FINE:
                raise BadGraph(f"{path}: {side} row {row}: {FAULT_TEXTS[fault]}", path=path)
            if degree_max != told:
                raise BadGraph(f"{path}: greatest degree of a {side} is {degree_max}, not {told}", path=path)
        if sides and edge_digest(self.pin_starts, self.pin_edges, pins_own=True) != edge_digest(
            self.board_starts, self.board_edges, pins_own=False
        ):
            raise BadGraph(f"{path}: the edges of pins are not those of boards", path=path)

    @property
    def version(self) -> str:
        """The folder's name."""
        return self.manifest.version

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class; the first is empty: none."""
        return self.manifest.class_names

    @property
    def pin_count(self) -> int:
        """Pins."""
        return int(self.pins.size)

    @property
    def board_count(self) -> int:
        """Boards."""
        return int(self.boards.size)

    @property
    def edge_count(self) -> int:
        """Edges, each counted once."""
        return int(self.pin_edges.size)

    @property
    def nbytes(self) -> int:
        """Bytes that are mapped."""
        return sum(getattr(self, name).nbytes for name in FILES)

    def class_of(self, name: str) -> int:
        """The class of a name; 0 for the empty name, and for one that the graph does not have."""
        return self.class_names.index(name) if name in self.class_names else 0

    def pin_rows(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of pins, int64, aligned; -1 where the graph does not have one."""
        return _rows(self.pins, ids)

    def board_rows(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of boards, int64, aligned; -1 where the graph does not have one."""
        return _rows(self.boards, ids)


def _check_side(path: Path, side: str, ids: Any, classes: Any, class_count: int) -> None:
    fault, row = check_nodes(ids, classes, class_count)
    if fault != FINE:
        raise BadGraph(f"{path}: {side} row {row}: {FAULT_TEXTS[fault]}", path=path)


def _rows(known: NDArray[np.uint64], ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    places = np.minimum(np.searchsorted(known, ids), known.size - 1)
    return np.where(known[places] == ids, places, -1)
