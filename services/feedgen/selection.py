"""Selection: which of the ranked candidates make the page, and in which order.

Owns spacing: two pins of one board, or of one owner, do not stand next to each other while there is
anything else to show. Refuses nothing: when only one board is left, its pins fill the page (a full page is
worth more than variety that is not there). Cost: one heap entry a board, so it grows with the page and the
boards, not with the candidates. Source of the shape: task scheduling with a cool-down.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spacing:
    """How far apart pins of one board or owner stand at least; 1 means no rule."""

    board_gap: int
    owner_gap: int


@dataclass(frozen=True)
class Selected:
    """Rows of the candidates that make the page, in order."""

    rows: NDArray[np.intp]
    moved_count: int
    """Times that the best candidate left had to wait because of its board or owner."""
    relaxed_count: int
    """Items that stand closer than the rule asks, because nothing else was left."""


def select(
    scores: NDArray[np.float32],
    boards: NDArray[np.uint64],
    owners: NDArray[np.uint64],
    *,
    page_size: int,
    spacing: Spacing,
) -> Selected:
    """The best `page_size` rows by score under the spacing rule.

    Greedy: each place gets the best row whose board and owner have not been shown within their gaps. Board
    or owner 0 means unknown and is under no rule. Ties in score: the earlier row first.
    """
    queues = _queues(scores, boards, owners)
    heap = [(-float(scores[rows[0]]), int(rows[0]), queue) for queue, rows in enumerate(queues)]
    heapq.heapify(heap)
    heads = [0] * len(queues)
    waiting: list[tuple[int, float, int, int]] = []
    free_at: dict[tuple[str, int], int] = {}
    page: list[int] = []
    moved = relaxed = 0
    while len(page) < page_size and (heap or waiting):
        place = len(page)
        while waiting and waiting[0][0] <= place:
            _, score, row, queue = heapq.heappop(waiting)
            heapq.heappush(heap, (score, row, queue))
        chosen = None
        while heap and chosen is None:
            score, row, queue = heapq.heappop(heap)
            ready = max(
                free_at.get(("board", int(boards[row])), 0), free_at.get(("owner", int(owners[row])), 0)
            )
            if ready <= place:
                chosen = (row, queue)
            else:
                moved += 1
                heapq.heappush(waiting, (ready, score, row, queue))
        if chosen is None:
            best = min(range(len(waiting)), key=lambda at: waiting[at][1:3])
            _, _, row, queue = waiting.pop(best)
            heapq.heapify(waiting)
            chosen = (row, queue)
            relaxed += 1
        row, queue = chosen
        page.append(row)
        if boards[row]:
            free_at["board", int(boards[row])] = place + spacing.board_gap
        if owners[row]:
            free_at["owner", int(owners[row])] = place + spacing.owner_gap
        heads[queue] += 1
        if heads[queue] < len(queues[queue]):
            following = int(queues[queue][heads[queue]])
            heapq.heappush(heap, (-float(scores[following]), following, queue))
    return Selected(np.array(page, np.intp), moved, relaxed)


def _queues(
    scores: NDArray[np.float32], boards: NDArray[np.uint64], owners: NDArray[np.uint64]
) -> list[NDArray[np.intp]]:
    """Rows by board and owner, each best first: the rules treat all rows of a queue alike."""
    if not len(scores):
        return []
    order = np.lexsort((-scores, owners, boards))
    changes = (np.diff(boards[order]) != 0) | (np.diff(owners[order]) != 0)
    return np.split(order, np.flatnonzero(changes) + 1)
