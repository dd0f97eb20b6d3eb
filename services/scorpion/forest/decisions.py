"""Which way a row goes at a node, as LightGBM's `predict` decides it, one value at a time.

The forest scores without this: `bins.py` turns it into ranks ahead of time. It is for what visits the nodes
themselves, as `contributions.py` does, and `leaf_of` is the slow scorer that either can be tested with.

LightGBM drops values from a dense row that are within ±1e-35 before it scores, so those are 0 everywhere,
also to a test whose threshold is that small. Categories are cut to whole numbers; one that is negative, or
NaN, or too large for 32 bits is in no set.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.scorpion.forest.model_text import (
    CATEGORICAL,
    DEFAULT_LEFT,
    MISSING_NAN,
    MISSING_ZERO,
    Trees,
)

ZERO: Final = float(np.float32(1e-35))
"""What is not further from 0 is 0: a double that was a float, as in LightGBM."""
CATEGORY_END: Final = float(1 << 31)


class Nodes(NamedTuple):
    """What deciding reads of `Trees`, where each is explained; a tuple, because kernels take it."""

    features: NDArray[np.int32]
    thresholds: NDArray[np.float64]
    decisions: NDArray[np.uint8]
    set_starts: NDArray[np.int64]
    set_words: NDArray[np.uint32]


def nodes_of(trees: Trees) -> Nodes:
    """Of all trees; nothing is copied."""
    return Nodes(trees.features, trees.thresholds, trees.decisions, trees.set_starts, trees.set_words)


@njit(cache=True, nogil=True)
def goes_left(value: Any, node: Any, nodes: Any) -> Any:
    """Whether a float64 value of the node's feature goes left; `node` counts over all trees."""
    decision = nodes.decisions[node]
    if decision & CATEGORICAL:
        # Also false for NaN. What is between −1 and 0 is cut to 0.
        if not -1.0 < value < CATEGORY_END:
            return False
        category = np.int64(value)
        members = np.int64(nodes.thresholds[node])
        word = nodes.set_starts[members] + (category >> 5)
        if word >= nodes.set_starts[members + 1]:
            return False
        return (nodes.set_words[word] >> np.uint32(category & 31)) & np.uint32(1) != 0
    missing = (decision >> 2) & 3
    if np.isnan(value):
        if missing == MISSING_NAN:
            return decision & DEFAULT_LEFT != 0
        value = 0.0
    elif -ZERO <= value <= ZERO:
        value = 0.0
    if missing == MISSING_ZERO and value == 0.0:
        return decision & DEFAULT_LEFT != 0
    return value <= nodes.thresholds[node]


def leaf_of(trees: Trees, tree: int, row: NDArray[np.floating[Any]]) -> int:
    """The leaf of one tree, counted from 0 within it, in which a row, shape (feature,), ends."""
    start, end = trees.node_starts[tree], trees.node_starts[tree + 1]
    values = np.asarray(row, np.float64)
    return int(_leaf(values, start, end, trees.lefts, trees.rights, nodes_of(trees)))


@njit(cache=True, nogil=True)
def _leaf(  # noqa: PLR0917
    row: Any, start: Any, end: Any, lefts: Any, rights: Any, nodes: Any
) -> Any:
    if start == end:
        return 0
    place = 0
    while place >= 0:
        node = start + place
        place = lefts[node] if goes_left(row[nodes.features[node]], node, nodes) else rights[node]
    return -1 - place
