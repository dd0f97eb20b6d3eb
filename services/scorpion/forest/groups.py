"""The trees as they are scored: entries by byte of the leaf mask.

Leaves are numbered from left to right, and a row's leaf mask has a bit for each. A node whose test fails (the
row goes right) takes away the leaves of its left subtree: one run of bits, in one or a few bytes of the mask.
A *group* is one byte of one tree's mask with the entries that touch it: (column, rank, bits to clear). The
groups of a tree run from its last byte to its first. 31,000 nodes make some 43,000 entries of six bytes.
Next: `kernel.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.scorpion.forest.columns import Tests
from services.scorpion.forest.kernel import LANES
from services.scorpion.forest.model_text import Trees


class Groups(NamedTuple):
    """What `kernel.score_blocks` reads; a tuple, because the kernel takes it."""

    offsets: NDArray[np.uint32]
    """Shape (entry,): first byte of the compared column in a block."""
    ranks: NDArray[np.int8]
    clears: NDArray[np.int8]
    starts: NDArray[np.uint32]
    """Shape (group + 1,)."""
    tree_groups: NDArray[np.int64]
    """Shape (tree + 1,)."""
    leaf_starts: NDArray[np.int64]
    leaf_values: NDArray[np.float64]
    """In the order of each tree's leaf mask."""
    large: bool
    """Whether a tree has more than 256 leaves."""


def plan_groups(trees: Trees, tests: Tests) -> Groups:
    """The trees, laid out."""
    first_leaf, leaves_before, leaf_order = order_leaves(
        trees.node_starts, trees.leaf_starts, trees.lefts, trees.rights
    )
    leaf_counts = np.diff(trees.leaf_starts)
    bytes_of_tree = -(-leaf_counts // 8)
    tree_groups = np.concatenate([[0], np.cumsum(bytes_of_tree)])
    # Each node clears leaves [first, end); one entry for each byte of the mask that this touches.
    end_leaf = first_leaf + leaves_before
    first_byte, last_byte = first_leaf // 8, (end_leaf - 1) // 8
    entry_counts = last_byte - first_byte + 1
    node = np.repeat(np.arange(len(first_leaf)), entry_counts)
    within = np.arange(len(node)) - np.repeat(np.cumsum(entry_counts) - entry_counts, entry_counts)
    byte = first_byte[node] + within
    low = np.clip(first_leaf[node] - byte * 8, 0, 8)
    high = np.clip(end_leaf[node] - byte * 8, 0, 8)
    clears = (np.left_shift(1, high) - np.left_shift(1, low)).astype(np.uint8)
    tree = np.repeat(np.arange(trees.count), np.diff(trees.node_starts))[node]
    group = tree_groups[tree] + bytes_of_tree[tree] - 1 - byte
    # By column within a group: neighbours read the same lines of the block.
    order = np.lexsort((tests.columns[node], group))
    sizes = np.bincount(group, minlength=int(tree_groups[-1]))
    return Groups(
        offsets=(tests.columns[node[order]].astype(np.int64) * LANES).astype(np.uint32),
        ranks=np.ascontiguousarray(tests.ranks[node[order]]),
        clears=clears[order].view(np.int8),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint32),
        tree_groups=tree_groups.astype(np.int64),
        leaf_starts=trees.leaf_starts,
        leaf_values=np.ascontiguousarray(trees.leaf_values[leaf_order]),
        large=bool(leaf_counts.max() > 256),
    )


@njit(cache=True, nogil=True)
def order_leaves(node_starts: Any, leaf_starts: Any, lefts: Any, rights: Any) -> Any:
    """Walks each tree from left to right.

    Returns, for each node, its first leaf by that order and how many leaves are left of its test (int64
    (node,)), and for each place in that order the leaf of the model (int64 (leaf,), over all trees).
    """
    nodes = node_starts[-1]
    first_leaf = np.zeros(nodes, np.int64)
    leaves_before = np.zeros(nodes, np.int64)
    leaf_order = np.zeros(leaf_starts[-1], np.int64)
    for tree in range(len(node_starts) - 1):
        start, first = node_starts[tree], leaf_starts[tree]
        size = node_starts[tree + 1] - start
        if size == 0:
            leaf_order[first] = first
            continue
        # On the stack: a node whose left side is to be walked, or −1 − node when it has been.
        stack = np.empty(2 * size + 2, np.int64)
        stack[0] = 0
        depth, met = 1, 0
        while depth > 0:
            depth -= 1
            if stack[depth] >= 0:
                node = stack[depth]
                first_leaf[start + node] = met
                stack[depth] = -1 - node
                depth += 1
                child = lefts[start + node]
            else:
                node = -1 - stack[depth]
                leaves_before[start + node] = met - first_leaf[start + node]
                child = rights[start + node]
            if child < 0:
                leaf_order[first + met] = first - child - 1
                met += 1
            else:
                stack[depth] = child
                depth += 1
    return first_leaf, leaves_before, leaf_order
