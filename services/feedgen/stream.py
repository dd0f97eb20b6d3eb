"""One source's rows in order of score, of which each place takes the best that is free of the gaps.

Owns the waiting: a row whose board, owner or interest was shown within its gap waits until the place from
which it is free, and rows of the same kind queue up behind it, so a board with a thousand pins is looked at
once a place. What was shown is shared between the streams of a page (`Shown`): a gap holds across sources.
Source of the shape: task scheduling with a cool-down. Next: `selection.py`, which chooses between streams.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from services.feedgen.candidates import Candidates

Kind = tuple[int, int, int]
"""(board, owner, interest) of a row."""


class Gaps(NamedTuple):
    """Places between two rows of one board, owner or interest; 1: no rule."""

    board: int
    owner: int
    interest: int


@dataclass(slots=True)
class Shown:
    """From which place each board, owner and interest is free again."""

    boards: dict[int, int] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    interests: dict[int, int] = field(default_factory=dict)

    def free_at(self, kind: Kind) -> int:
        """The first place at which a row of this kind may stand."""
        board, owner, interest = kind
        return max(self.boards.get(board, 0), self.owners.get(owner, 0), self.interests.get(interest, 0))

    def note(self, kind: Kind, place: int, gaps: Gaps) -> None:
        """A row of this kind stands at `place`; 0 is under no rule."""
        board, owner, interest = kind
        if board:
            self.boards[board] = place + gaps.board
        if owner:
            self.owners[owner] = place + gaps.owner
        if interest:
            self.interests[interest] = place + gaps.interest


@dataclass(slots=True)
class Stream:
    """A row is known by its rank here, 0 the best: lower ranks go first everywhere."""

    rows: list[int]
    """Row of the candidates by rank."""
    kinds: list[Kind]
    gaps: Gaps
    shown: Shown
    moved_count: int = 0
    """Times that the best rank had to wait."""
    _next: int = 0
    """The best rank that was not looked at."""
    _ready: list[int] = field(default_factory=list)
    """Heap of ranks that waited and may be free now."""
    _waiting: list[tuple[int, int]] = field(default_factory=list)
    """Heap of (place from which it is free, rank): the best of each queue that has to wait."""
    _queues: dict[Kind, deque[int]] = field(default_factory=dict)
    """By kind: ranks behind the one in `_ready` or `_waiting`; empty: nothing is behind it."""

    @classmethod
    def of(cls, candidates: Candidates, rows: NDArray[np.intp], gaps: Gaps, shown: Shown) -> Self:
        """The given rows, best first."""
        columns = (candidates.boards, candidates.owners, candidates.interests)
        kinds = list(zip(*(column[rows].tolist() for column in columns), strict=True))
        return cls(rows.tolist(), kinds, gaps, shown)

    @property
    def has_rows(self) -> bool:
        """Whether any row is left."""
        return self._next < len(self.rows) or bool(self._ready) or bool(self._waiting)

    def peek(self, place: int) -> int:
        """The row that `take` would give; −1 when every row that is left has to wait. It stays."""
        rank = self._free_rank(place)
        if rank < 0:
            return -1
        heapq.heappush(self._ready, rank)
        self._queues.setdefault(self.kinds[rank], deque())
        return self.rows[rank]

    def take(self, place: int) -> int:
        """Take the best row that is free at `place`; −1 when there is none."""
        rank = self._free_rank(place)
        return self._show(rank, place) if rank >= 0 else -1

    def best_waiting(self) -> int:
        """The best row that waits; −1 when none does. Only after `take` or `peek` found none."""
        return self.rows[min(rank for _, rank in self._waiting)] if self._waiting else -1

    def take_waiting(self, place: int) -> int:
        """Take the best row that waits, though it is not free."""
        best = min(range(len(self._waiting)), key=lambda at: self._waiting[at][1])
        rank = self._waiting.pop(best)[1]
        heapq.heapify(self._waiting)
        return self._show(rank, place)

    def _free_rank(self, place: int) -> int:
        """Take out the best rank that is free at `place`; those before it wait. −1 when there is none."""
        while self._waiting and self._waiting[0][0] <= place:
            heapq.heappush(self._ready, heapq.heappop(self._waiting)[1])
        while (rank := self._best()) >= 0:
            free_at = self.shown.free_at(self.kinds[rank])
            if free_at <= place:
                return rank
            self.moved_count += 1
            self._queues.setdefault(self.kinds[rank], deque())
            heapq.heappush(self._waiting, (free_at, rank))
        return -1

    def _best(self) -> int:
        """Take the best rank that may be free, −1 when there is none; rows behind one that waits queue up."""
        kinds, queues = self.kinds, self._queues
        at = self._next
        while at < len(kinds):
            if self._ready and self._ready[0] < at:
                break
            queue = queues.get(kinds[at])
            if queue is None:
                self._next = at + 1
                return at
            queue.append(at)
            at += 1
        self._next = at
        return heapq.heappop(self._ready) if self._ready else -1

    def _show(self, rank: int, place: int) -> int:
        kind = self.kinds[rank]
        self.shown.note(kind, place, self.gaps)
        queue = self._queues.get(kind)
        if queue:
            heapq.heappush(self._ready, queue.popleft())
        elif queue is not None:
            # Nothing behind it: the next of its kind is met in the order of ranks.
            del self._queues[kind]
        return self.rows[rank]
