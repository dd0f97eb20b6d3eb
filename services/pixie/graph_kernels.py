"""Kernels that check a graph: what walks take for granted, since they test nothing at a step."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from services.chassis.columns.mixing import mix64_kernel

FINE: Final = 0
FIRST_START: Final = 1
LAST_START: Final = 2
NO_EDGES: Final = 3
NEIGHBOUR_ABSENT: Final = 4
UNORDERED_EDGES: Final = 5
UNORDERED_IDS: Final = 6
UNKNOWN_CLASS: Final = 7
ID_NOBODY: Final = 8

FAULT_TEXTS: Final = {
    FIRST_START: "its first start is not 0",
    LAST_START: "its last start is not the number of edges",
    NO_EDGES: "it has no edges, or its starts are wrong",
    NEIGHBOUR_ABSENT: "an edge leads to a row that there is not",
    UNORDERED_EDGES: "edges of a node are not in order of class and row, or one comes twice",
    UNORDERED_IDS: "ids do not ascend",
    UNKNOWN_CLASS: "a class has no name",
    ID_NOBODY: "an id is 0, which is nobody's",
}


@njit(cache=True, nogil=True)
def check_nodes(ids: Any, classes: Any, class_count: int) -> tuple[int, int]:
    """(fault, row) of the nodes of one side; (FINE, 0) when ids ascend from 1 and classes have names.

    Args:
        ids: uint64 (node_count,), at least one.
        classes: uint16 (node_count,).
    """
    if ids[0] == 0:
        return ID_NOBODY, 0
    for row in range(ids.size):
        if row and ids[row] <= ids[row - 1]:
            return UNORDERED_IDS, row
        if classes[row] >= class_count:
            return UNKNOWN_CLASS, row
    return FINE, 0


@njit(cache=True, nogil=True)
def check_edges(starts: Any, edges: Any, neighbour_classes: Any) -> tuple[int, int, Any]:
    """(fault, row, greatest degree) of the edges of one side.

    Args:
        starts: uint64 (node_count + 1,).
        edges: uint32 (edge_count,), rows of the other side.
        neighbour_classes: uint16 (nodes of the other side,).
    """
    if starts[0] != 0:
        return FIRST_START, 0, 0
    if starts[-1] != edges.size:
        return LAST_START, starts.size - 1, 0
    degree_max = np.int64(0)
    for row in range(starts.size - 1):
        begin, end = np.int64(starts[row]), np.int64(starts[row + 1])
        # A walk divides by the degree. Also above the last start: it would lead out of the file.
        if end <= begin or end > edges.size:
            return NO_EDGES, row, 0
        degree_max = max(degree_max, end - begin)
        before = np.int64(-1)
        for place in range(begin, end):
            neighbour = np.int64(edges[place])
            if neighbour >= neighbour_classes.size:
                return NEIGHBOUR_ABSENT, row, 0
            order = (np.int64(neighbour_classes[neighbour]) << 32) | neighbour
            if order <= before:
                return UNORDERED_EDGES, row, 0
            before = order
    return FINE, 0, degree_max


@njit(cache=True, nogil=True)
def edge_digest(starts: Any, edges: Any, *, pins_own: bool) -> np.uint64:
    """A sum over all edges that does not depend on their order: equal for both sides of one graph.

    Two sides that differ have the same sum with a chance of 2^-64: each edge counts with its mixed bits.
    `pins_own`: whether `starts` are those of pins.
    """
    total = np.uint64(0)
    for row in range(starts.size - 1):
        for place in range(np.int64(starts[row]), np.int64(starts[row + 1])):
            if pins_own:
                edge = (np.uint64(row) << np.uint64(32)) | np.uint64(edges[place])
            else:
                edge = (np.uint64(edges[place]) << np.uint64(32)) | np.uint64(row)
            # Mixed twice around a constant: mix64 keeps 0, and edge (0, 0) must count.
            total += mix64_kernel(edge ^ np.uint64(0x9E3779B97F4A7C15))
    return total
