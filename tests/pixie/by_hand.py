"""Walks the plain way, in Python: what the kernels are held against. Shares nothing with `services/pixie`.

Expectations are computed, not drawn: the chance of each pin after a step of a walk with restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.pixie.graph import Graph

Visits = dict[int, float]
"""Visits by row."""


@dataclass(frozen=True)
class Neighbours:
    """Rows of neighbours, and the class of each node, by row."""

    boards_of: list[list[int]]
    pins_of: list[list[int]]
    board_classes: list[int]
    pin_classes: list[int]


def neighbours(graph: Graph) -> Neighbours:
    """The graph as lists."""
    return Neighbours(
        [
            graph.pin_edges[int(graph.pin_starts[row]) : int(graph.pin_starts[row + 1])].tolist()
            for row in range(graph.pin_count)
        ],
        [
            graph.board_edges[int(graph.board_starts[row]) : int(graph.board_starts[row + 1])].tolist()
            for row in range(graph.board_count)
        ],
        graph.board_classes.tolist(),
        graph.pin_classes.tolist(),
    )


def expected(
    graph: Graph, query: int, *, steps: int, restart: float, bias: float = 0.0, preferred: int = 0
) -> tuple[Visits, Visits]:
    """(pins, boards): visits that so many steps from a query pin expect, were walks never cut off."""
    lists = neighbours(graph)
    pins: Visits = {}
    boards: Visits = {}
    at: Visits = {query: 1.0}
    # The chance that a step is the n-th of its walk falls by (1 - restart) each time.
    chance = restart
    while chance > 1e-9:
        on_boards = _moved(at, lists.boards_of, lists.board_classes, bias, preferred)
        at = _moved(on_boards, lists.pins_of, lists.pin_classes, bias, preferred)
        _add(boards, on_boards, steps * chance)
        _add(pins, at, steps * chance)
        chance *= 1 - restart
    return pins, boards


def _moved(
    at: Mapping[int, float], edges: list[list[int]], classes: list[int], bias: float, preferred: int
) -> Visits:
    after: Visits = {}
    for node, chance in at.items():
        all_ = edges[node]
        liked = [other for other in all_ if preferred and classes[other] == preferred]
        for other in all_:
            share = (1 - bias) / len(all_) + (bias / len(liked) if other in liked else 0.0)
            after[other] = after.get(other, 0.0) + chance * (share if liked else 1 / len(all_))
    return after


def _add(total: Visits, part: Mapping[int, float], times: float) -> None:
    for node, value in part.items():
        if value:
            total[node] = total.get(node, 0.0) + value * times
