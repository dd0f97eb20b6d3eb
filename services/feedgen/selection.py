"""Selection: which of the ranked candidates make the page, and in which order.

Owns spacing: two pins of one board, or of one owner, do not stand next to each other while there is
anything else to show. Refuses nothing: when only one board is left, its pins fill the page (a full page is
worth more than variety that is not there). Cost: one sort, then about a microsecond for each row that is
looked at: as many as the page has, and those that had to wait. Rows of one board and owner wait in one queue
behind their best, so a board with a thousand pins is looked at once a place. Source of the shape: task
scheduling with a cool-down.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

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
    order = np.argsort(-scores, kind="stable")
    selection = _Selection(spacing, boards[order].tolist(), owners[order].tolist())
    while len(selection.page) < page_size and selection.take_next():
        pass
    return Selected(order[selection.page], selection.moved_count, selection.relaxed_count)


@dataclass(slots=True)
class _Selection:
    """A page in the making. A row is known by its rank here, 0 the best: lower ranks go first everywhere."""

    spacing: Spacing
    boards: list[int]
    owners: list[int]
    page: list[int] = field(default_factory=list)
    moved_count: int = 0
    relaxed_count: int = 0
    _next: int = 0
    """The best rank that was not looked at."""
    _ready: list[int] = field(default_factory=list)
    """Heap of ranks that waited and may be free now."""
    _waiting: list[tuple[int, int]] = field(default_factory=list)
    """Heap of (place from which it is free, rank): the best of each queue that has to wait."""
    _queues: dict[tuple[int, int], deque[int]] = field(default_factory=dict)
    """By (board, owner): ranks behind the one in `_ready` or `_waiting`; empty: nothing is behind it."""
    _board_free_at: dict[int, int] = field(default_factory=dict)
    _owner_free_at: dict[int, int] = field(default_factory=dict)

    def take_next(self) -> bool:
        """Fill one place; False when no row is left."""
        place = len(self.page)
        while self._waiting and self._waiting[0][0] <= place:
            heapq.heappush(self._ready, heapq.heappop(self._waiting)[1])
        while (rank := self._best()) >= 0:
            free_at = max(
                self._board_free_at.get(self.boards[rank], 0), self._owner_free_at.get(self.owners[rank], 0)
            )
            if free_at <= place:
                self._show(rank, place)
                return True
            self.moved_count += 1
            self._queues.setdefault((self.boards[rank], self.owners[rank]), deque())
            heapq.heappush(self._waiting, (free_at, rank))
        if not self._waiting:
            return False
        best = min(range(len(self._waiting)), key=lambda at: self._waiting[at][1])
        rank = self._waiting.pop(best)[1]
        heapq.heapify(self._waiting)
        self.relaxed_count += 1
        self._show(rank, place)
        return True

    def _best(self) -> int:
        """Take the best rank that may be free, -1 when there is none; rows behind one that waits queue up."""
        boards, owners, queues = self.boards, self.owners, self._queues
        at = self._next
        while at < len(boards):
            if self._ready and self._ready[0] < at:
                break
            queue = queues.get((boards[at], owners[at]))
            if queue is None:
                self._next = at + 1
                return at
            queue.append(at)
            at += 1
        self._next = at
        return heapq.heappop(self._ready) if self._ready else -1

    def _show(self, rank: int, place: int) -> None:
        board, owner = self.boards[rank], self.owners[rank]
        self.page.append(rank)
        if board:
            self._board_free_at[board] = place + self.spacing.board_gap
        if owner:
            self._owner_free_at[owner] = place + self.spacing.owner_gap
        queue = self._queues.get((board, owner))
        if queue:
            heapq.heappush(self._ready, queue.popleft())
        elif queue is not None:
            # Nothing behind it: the next of its kind is met in the order of ranks.
            del self._queues[board, owner]
