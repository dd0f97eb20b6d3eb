"""What walks are measured beside: a loop in numba written straight down, igraph's walk, networkx's graph.

*The loop* does what a reader of the paper would write: one walk after the other, a table of counts as long as
the graph has pins, cleared for each query pin. It counts visits and nothing else: no bound, no boosting.
*igraph* walks in C from one pin, without restart and without counting, in one call: less than is asked of us.
*networkx* has walks of its own only over a matrix of nodes by nodes, 18 GB for the smaller graph. So its
graph is walked, in Python, over its adjacency.
"""

# ruff: noqa: PLR0917  kernels take their columns by position
from __future__ import annotations

import random
import time
from typing import Any

import igraph
import networkx
import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.pixie.graph import Graph


@njit(nogil=True)
def plain_walk(graph: Any, query: Any, steps: int, restart: float, seed: int, counts: Any) -> None:
    """Walks from one query pin; counts must be as long as the graph has pins."""
    pin_starts, pin_edges, board_starts, board_edges = graph
    np.random.seed(seed)
    counts[:] = 0
    pin = query
    for _ in range(steps):
        begin, end = pin_starts[pin], pin_starts[pin + 1]
        board = pin_edges[begin + np.random.randint(0, end - begin)]
        begin, end = board_starts[board], board_starts[board + 1]
        pin = np.int64(board_edges[begin + np.random.randint(0, end - begin)])
        counts[pin] += 1
        if restart >= 1.0 or np.random.random() < restart:
            pin = query


class PlainWalk:
    """The loop on a graph."""

    name = "plain numba loop"

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._counts = np.zeros(graph.pin_count, np.uint32)

    def walk(self, rows: NDArray[np.int64], steps: int, restart: float, seed: int) -> None:
        """Walks from each query pin, the steps shared equally."""
        graph = self._graph
        for place, row in enumerate(rows.tolist()):
            arrays = (graph.pin_starts, graph.pin_edges, graph.board_starts, graph.board_edges)
            plain_walk(arrays, row, steps // rows.size, restart, seed + place, self._counts)


def igraph_steps_a_second(graph: Graph, rows: NDArray[np.int64], *, steps: int) -> float:
    """One walk from each pin, two of igraph's moves a step."""
    pins = np.repeat(np.arange(graph.pin_count), np.diff(graph.pin_starts).astype(np.int64))
    edges = np.column_stack([pins, graph.pin_edges.astype(np.int64) + graph.pin_count])
    made = igraph.Graph(n=graph.pin_count + graph.board_count, edges=edges)
    rates = []
    for row in rows.tolist():
        began = time.thread_time()
        visited = made.random_walk(row, 2 * steps)
        rates.append(steps / (time.thread_time() - began))
        assert len(visited) > 2 * steps - 2, "the walk was not whole"
    return float(np.median(rates))


def networkx_steps_a_second(graph: Graph, rows: NDArray[np.int64], *, steps: int) -> float:
    """Walks with restart 0.5 from each pin, counted in a dictionary."""
    made = networkx.Graph()
    pins = np.repeat(np.arange(graph.pin_count), np.diff(graph.pin_starts).astype(np.int64))
    made.add_edges_from(
        zip(pins.tolist(), (graph.pin_edges.astype(np.int64) + graph.pin_count).tolist(), strict=True)
    )
    neighbours = {node: list(made.adj[node]) for node in made}
    chance = random.Random(1)
    rates = []
    for row in rows.tolist():
        began = time.thread_time()
        counts: dict[int, int] = {}
        pin = row
        for _ in range(steps):
            pin = chance.choice(neighbours[chance.choice(neighbours[pin])])
            counts[pin] = counts.get(pin, 0) + 1
            if chance.random() < 0.5:
                pin = row
        rates.append(steps / (time.thread_time() - began))
    return float(np.median(rates))
