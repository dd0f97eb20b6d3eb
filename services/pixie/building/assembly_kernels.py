"""Kernels that finish a graph: classes of boards, and the order of edges within a node."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def majority_classes(starts: Any, edges: Any, pin_classes: Any, votes: Any, classes: Any) -> None:
    """Fill `classes` uint16 (group,) with the class of most pins of each board, of equals the smaller number.

    Pins of class 0 have no vote; a board of such pins alone is of class 0.

    Args:
        starts: int64 (group + 1,), of `edges` uint32, pin rows.
        votes: int64 (class,), all 0; is so again afterwards.
    """
    for group in range(starts.size - 1):
        best = np.int64(0)
        for place in range(starts[group], starts[group + 1]):
            class_ = np.int64(pin_classes[edges[place]])
            if class_ == 0:
                continue
            votes[class_] += 1
            if votes[class_] > votes[best] or (votes[class_] == votes[best] and class_ < best):
                best = class_
        for place in range(starts[group], starts[group + 1]):
            votes[pin_classes[edges[place]]] = 0
        classes[group] = best


@njit(cache=True, nogil=True)
def order_by_class(starts: Any, edges: Any, classes: Any) -> None:
    """Bring the edges of each node, ascending rows of neighbours, into the order of (class, row), in place.

    Args:
        starts: int64 (group + 1,), of `edges` uint32.
        classes: uint16, by row of the neighbour.
    """
    for group in range(starts.size - 1):
        begin, end = starts[group], starts[group + 1]
        ordered = True
        for place in range(begin + 1, end):
            if classes[edges[place]] < classes[edges[place - 1]]:
                ordered = False
                break
        if ordered:
            continue
        keys = np.empty(end - begin, np.uint64)
        for at in range(keys.size):
            edge = edges[begin + at]
            keys[at] = (np.uint64(classes[edge]) << np.uint64(32)) | np.uint64(edge)
        keys.sort()
        for at in range(keys.size):
            edges[begin + at] = np.uint32(keys[at] & np.uint64(0xFFFFFFFF))
