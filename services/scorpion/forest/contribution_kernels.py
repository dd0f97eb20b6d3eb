"""The kernels of `contributions.py`, which says what they compute, and in whose words.

`plan_steps` lays every tree out once as the steps of a walk from left to right, with all that does not depend
on rows. `add_contributions` takes `LANES` rows at once through the steps: rows differ in where they go, but
contributions visit every node for every row, so no lane waits for another. What it keeps while it walks is
one level of each branch on the way down.
"""

# ruff: noqa: PLR0917  kernels take their columns by position

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.scorpion.forest.decisions import Nodes, goes_left

LANES: Final = 64


class Steps(NamedTuple):
    """All trees, node by node, each before what is below it, left before right; leaves are steps, too.

    Every step but a root belongs to the *branch* that leads to it. Shape (step,), but for `starts`.
    """

    starts: NDArray[np.int64]
    """Shape (tree + 1,)."""
    places: NDArray[np.int64]
    """A node, or −1 − leaf, counted over all trees."""
    levels: NDArray[np.int64]
    """Branches from the root."""
    left: NDArray[np.bool_]
    """Whether the branch is taken when its test holds."""
    features: NDArray[np.int64]
    """What the branch tests; of a root, 0."""
    aboves: NDArray[np.int64]
    """Level of the nearest branch above that tests the same feature; 0: there is none."""
    shares: NDArray[np.float64]
    """Of training rows, the share that takes the branch, times that of every branch above which tests the
    same feature: in (0, 1]."""
    widths: NDArray[np.int64]
    """Shape (tree,): the most different features that are tested on the way to one leaf."""


class Points(NamedTuple):
    """Gauss and Legendre's points in (0, 1), by how many they are: n of them from starts[n] on."""

    starts: NDArray[np.int64]
    at: NDArray[np.float64]
    weights: NDArray[np.float64]


@njit(cache=True, nogil=True)
def order_steps(node_starts: Any, leaf_starts: Any, lefts: Any, rights: Any) -> Any:
    """`starts`, `places`, `levels` and `left` of `Steps`."""
    total = node_starts[-1] + leaf_starts[-1]
    starts = np.zeros(len(node_starts), np.int64)
    places = np.zeros(total, np.int64)
    levels = np.zeros(total, np.int64)
    left = np.zeros(total, np.bool_)
    step = 0
    for tree in range(len(node_starts) - 1):
        start, first_leaf = node_starts[tree], leaf_starts[tree]
        size = node_starts[tree + 1] - start
        waiting = np.zeros((size + 2, 3), np.int64)
        waiting[0, 0] = start if size > 0 else -1 - first_leaf
        depth = 1
        while depth > 0:
            depth -= 1
            place, level, is_left = waiting[depth]
            places[step], levels[step], left[step] = place, level, is_left == 1
            step += 1
            if place >= 0:
                # The left one last: the last is the next.
                for side, child in ((0, rights[place]), (1, lefts[place])):
                    waiting[depth, 0] = start + child if child >= 0 else child - first_leaf
                    waiting[depth, 1] = level + 1
                    waiting[depth, 2] = side
                    depth += 1
        starts[tree + 1] = step
    return starts, places, levels, left


@njit(cache=True, nogil=True)
def trace_features(
    starts: Any, places: Any, levels: Any, node_features: Any, node_counts: Any, leaf_counts: Any
) -> Any:
    """`features`, `aboves`, `shares` and `widths` of `Steps`."""
    features = np.zeros(len(places), np.int64)
    aboves = np.zeros(len(places), np.int64)
    shares = np.ones(len(places), np.float64)
    widths = np.zeros(len(starts) - 1, np.int64)
    # By feature: the level of the lowest branch on the way here that tests it; 0: none does.
    lowest = np.zeros(node_features.max() + 1 if len(node_features) else 1, np.int64)
    for tree in range(len(starts) - 1):
        # By level: the step there, and the different features tested until there.
        here = np.zeros(starts[tree + 1] - starts[tree], np.int64)
        different = np.zeros(len(here), np.int64)
        here[0] = starts[tree]
        depth = 0
        for step in range(starts[tree] + 1, starts[tree + 1]):
            while depth >= levels[step]:
                lowest[features[here[depth]]] = aboves[here[depth]]
                depth -= 1
            parent = places[here[depth]]
            feature = node_features[parent]
            above = lowest[feature]
            place = places[step]
            count = node_counts[place] if place >= 0 else leaf_counts[-1 - place]
            features[step], aboves[step] = feature, above
            shares[step] = count / node_counts[parent] * (shares[here[above]] if above > 0 else 1.0)
            different[depth + 1] = different[depth] + (above == 0)
            depth += 1
            here[depth] = step
            lowest[feature] = depth
            widths[tree] = max(widths[tree], different[depth])
        while depth > 0:
            lowest[features[here[depth]]] = aboves[here[depth]]
            depth -= 1
    return features, aboves, shares, widths


class Walk(NamedTuple):
    """What is known at each level of the way down. First axis: level."""

    steps: NDArray[np.int64]
    lefts: NDArray[np.float64]
    """(level, lane): 1 where the node's test holds."""
    takes: NDArray[np.float64]
    """(level, lane): 1 where the row takes the branch, and every one above that tests the same feature."""
    inverses: NDArray[np.float64]
    """(level, point): 1 / (share + t · (1 − share)), of a row that takes the branch."""
    products: NDArray[np.float64]
    """(level, point, lane): over the different features until here."""
    sums: NDArray[np.float64]
    """(level, point, lane): over the leaves below so far, value times product."""


def empty_walk(*, depth: int, points: int) -> Walk:
    """For trees of so many branches on the way to a leaf."""
    room = np.empty((2, depth + 1, points, LANES))
    room[0, 0] = 1.0
    return Walk(
        steps=np.zeros(depth + 1, np.int64),
        lefts=np.empty((depth + 1, LANES)),
        takes=np.ones((depth + 1, LANES)),
        inverses=np.empty((depth + 1, points)),
        products=room[0],
        sums=room[1],
    )


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def add_contributions(
    rows: Any, nodes: Nodes, leaf_values: Any, steps: Steps, points: Points, walk: Walk, out: Any
) -> None:
    """Adds every tree's contributions to `out`, float64 (row, class, feature), of float64 (row, feature)."""
    row_count, class_count, feature_count = out.shape
    lanes = np.empty((LANES, rows.shape[1]))
    block = np.empty((class_count, feature_count, LANES))
    for first in range(0, row_count, LANES):
        used = min(LANES, row_count - first)
        # Whole vectors are faster. Lanes that are left over repeat a row; nobody reads them.
        width = (used + 7) // 8 * 8
        for lane in range(width):
            lanes[lane] = rows[first + min(lane, used - 1)]
        block[:] = 0.0
        for tree in range(len(steps.widths)):
            _add_tree(lanes[:width], tree, nodes, leaf_values, steps, points, walk, block[tree % class_count])
        for lane in range(used):
            out[first + lane] += block[:, :, lane]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _add_tree(
    lanes: Any, tree: Any, nodes: Any, leaf_values: Any, steps: Any, points: Any, walk: Any, block: Any
) -> None:
    count = (steps.widths[tree] + 1) // 2
    at = points.at[points.starts[count] : points.starts[count + 1]]
    weights = points.weights[points.starts[count] : points.starts[count + 1]]
    levels, places, features = steps.levels, steps.places, nodes.features
    lefts, products, sums = walk.lefts, walk.products, walk.sums
    width = len(lanes)
    level = -1
    for step in range(steps.starts[tree], steps.starts[tree + 1]):
        while level >= levels[step]:
            _leave(level, width, steps, at, weights, walk, block)
            level -= 1
        level += 1
        walk.steps[level] = step
        if level > 0:
            _take(level, width, steps, at, walk)
        place = places[step]
        value = leaf_values[-1 - place] if place < 0 else 0.0
        for q in range(count):
            for lane in range(width):
                sums[level, q, lane] = products[level, q, lane] * value
        if place >= 0:
            feature = features[place]
            for lane in range(width):
                lefts[level, lane] = 1.0 if goes_left(lanes[lane, feature], place, nodes) else 0.0
    while level > 0:
        _leave(level, width, steps, at, weights, walk, block)
        level -= 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _take(level: Any, width: Any, steps: Any, at: Any, walk: Any) -> None:
    """Down the branch of the level's step."""
    step = walk.steps[level]
    above = steps.aboves[step]
    share, share_above = steps.shares[step], steps.shares[walk.steps[above]]
    # Views here, not in the loops: numba counts references for each, which cost half of the time there.
    left, take, take_above = walk.lefts[level - 1], walk.takes[level], walk.takes[above]
    inverse, inverse_above = walk.inverses[level], walk.inverses[above]
    before, after = walk.products[level - 1], walk.products[level]
    sign, offset = (1.0, 0.0) if steps.left[step] else (-1.0, 1.0)
    for lane in range(width):
        take[lane] = (offset + sign * left[lane]) * take_above[lane]
    for q in range(len(at)):
        t = at[q]
        other = (1.0 - t) * share
        inverse[q] = 1.0 / (other + t)
        if above == 0:
            for lane in range(width):
                after[q, lane] = before[q, lane] * (other + take[lane] * t)
        else:
            # The factor of the branch above, of the same feature, makes room for this one.
            none = 1.0 / ((1.0 - t) * share_above)
            change = inverse_above[q] - none
            for lane in range(width):
                factor = (other + take[lane] * t) * (none + take_above[lane] * change)
                after[q, lane] = before[q, lane] * factor


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _leave(level: Any, width: Any, steps: Any, at: Any, weights: Any, walk: Any, block: Any) -> None:
    """Up the branch of the level's step, when all leaves below it are summed."""
    step = walk.steps[level]
    above = steps.aboves[step]
    share, share_above = steps.shares[step], steps.shares[walk.steps[above]]
    take, take_above = walk.takes[level], walk.takes[above]
    inverse, inverse_above = walk.inverses[level], walk.inverses[above]
    below, here = walk.sums[level], walk.sums[level - 1]
    total = block[steps.features[step]]
    for q in range(len(at)):
        none = -weights[q] / (1.0 - at[q])
        change = weights[q] * (1.0 - share) * inverse[q] - none
        if above == 0:
            for lane in range(width):
                total[lane] += below[q, lane] * (none + take[lane] * change)
                here[q, lane] += below[q, lane]
        else:
            change_above = weights[q] * (1.0 - share_above) * inverse_above[q] - none
            for lane in range(width):
                slope = take[lane] * change - take_above[lane] * change_above
                total[lane] += below[q, lane] * slope
                here[q, lane] += below[q, lane]
