"""Kernels of pruning: topics of boards, and which edges of a pin are most like it.

All take a block of groups: `starts` int64 (group + 1,) into `edges` uint32, rows of neighbours.
"""

# ruff: noqa: PLR0917  kernels take their columns by position
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.chassis.columns.mixing import mix64_kernel


class Topics(NamedTuple):
    """Topics of every pin row: topics[starts[row]:starts[row + 1]], distinct, in no order."""

    starts: NDArray[np.uint64]
    topics: NDArray[np.uint16]


class Vectors(NamedTuple):
    """Topic vectors of every board row, as `Topics`: topics ascending, weights of length 1 (L2)."""

    starts: NDArray[np.uint64]
    topics: NDArray[np.uint16]
    weights: NDArray[np.float32]


@njit(cache=True, nogil=True)
def board_topics(
    starts: Any, edges: Any, of_pins: Any, sums: Any, entropies: Any, counts: Any, topics: Any, weights: Any
) -> int:
    """Topic vectors of boards, and the entropy of each; how many entries were written.

    A pin counts 1, shared by its topics alike; pins without topics do not count.

    Args:
        of_pins: `Topics`.
        sums: float64 (topic_count,), all 0; is so again afterwards.
        entropies: float32 (group,), filled: bits; 0 for a board without topics.
        counts: uint64 (group,), filled: topics of each board.
        topics: uint16, weights: float32: filled; each board's topics ascending, its weights of length 1 (L2).
    """
    written = 0
    for group in range(starts.size - 1):
        begin = written
        total = 0.0
        for place in range(starts[group], starts[group + 1]):
            pin = edges[place]
            first, last = np.int64(of_pins.starts[pin]), np.int64(of_pins.starts[pin + 1])
            if first == last:
                continue
            share = 1.0 / (last - first)
            total += 1.0
            for at in range(first, last):
                topic = of_pins.topics[at]
                if sums[topic] == 0.0:
                    topics[written] = topic
                    written += 1
                sums[topic] += share
        topics[begin:written].sort()
        entropy, square = 0.0, 0.0
        for at in range(begin, written):
            share = sums[topics[at]] / total
            entropy -= share * math.log2(share)
            square += share * share
        for at in range(begin, written):
            weights[at] = sums[topics[at]] / total / math.sqrt(square)
            sums[topics[at]] = 0.0
        entropies[group] = entropy
        counts[group] = written - begin
    return written


@njit(cache=True, nogil=True)
def likeness(pin: Any, board: Any, of_pins: Any, vectors: Any) -> float:
    """Cosine of a pin's topics and a board's vector, 0 to 1; 0 when either has none."""
    first, last = np.int64(of_pins.starts[pin]), np.int64(of_pins.starts[pin + 1])
    if first == last:
        return 0.0
    dot = 0.0
    for at in range(first, last):
        topic = of_pins.topics[at]
        low, high = np.int64(vectors.starts[board]), np.int64(vectors.starts[board + 1])
        end = high
        while low < high:
            middle = (low + high) >> 1
            if vectors.topics[middle] < topic:
                low = middle + 1
            else:
                high = middle
        if low < end and vectors.topics[low] == topic:
            dot += vectors.weights[low]
    return min(1.0, dot / math.sqrt(float(last - first)))


@njit(cache=True, nogil=True)
def edge_ranks(
    rows: Any,
    starts: Any,
    edges: Any,
    board_degrees: Any,
    of_pins: Any,
    vectors: Any,
    keys: Any,
    ties: Any,
) -> None:
    """Fill what edges of pins are ordered by: the smallest of `keys`, then of `ties`, is most like its pin.

    A key is likeness of topics, greatest first, then the board's size, smallest first. A tie is the mixed
    edge, so that of boards alike no pin prefers those with low ids. The caller sorts: numba's argsort, in
    code that was compiled by another process, was seen to crash.

    Args:
        rows: uint32 (group,), pin rows.
        board_degrees: uint32 (board,), pins of each board.
        of_pins, vectors: `Topics`, `Vectors`; without starts: there are no topics, and every likeness is 0.
        keys, ties: uint64 (edge,).
    """
    for group in range(starts.size - 1):
        for place in range(starts[group], starts[group + 1]):
            board = edges[place]
            like = 0.0
            if of_pins.starts.size:
                like = likeness(rows[group], board, of_pins, vectors)
            # 31 bits of likeness are beyond what float32 weights tell apart.
            unlike = np.uint64((1.0 - like) * 2147483647.0)
            keys[place] = (unlike << np.uint64(32)) | np.uint64(board_degrees[board])
            ties[place] = mix64_kernel((np.uint64(rows[group]) << np.uint64(32)) | np.uint64(board))
