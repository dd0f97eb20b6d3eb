"""Selection: which of the ranked candidates make the page, and in which order.

Owns spacing and shares. Two pins of one board, owner or followed interest do not stand next to each other
while there is anything else to show; each source has its part of the page, at every place of it, while it has
candidates. Refuses nothing: when only one board is left, its pins fill the page (a full page is worth more
than variety that is not there). For each place, the first of these that has a row:

    a source that is owed one (it would fall under its least share), else any below its greatest share
      ... and not within the source gap, free of the other gaps
      ... within the source gap
    any source, free of the gaps                                              a share relaxed
    any source, whatever its gaps                                             spacing relaxed

Cost: one sort, then about a microsecond for each row that is looked at: as many as the page has, and those
that had to wait (`stream.py`), for each source that may be next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.feedgen.candidates import Candidates
from services.feedgen.stream import Gaps, Shown, Stream


@dataclass(frozen=True)
class Share:
    """A source's part of the page, 0 to 1."""

    least: float = 0.0
    greatest: float = 1.0


@dataclass(frozen=True)
class Spacing:
    """How far apart pins of one kind stand at least; 1 means no rule."""

    board_gap: int = 1
    owner_gap: int = 1
    interest_gap: int = 1
    source_gap: int = 1


@dataclass(frozen=True)
class Selected:
    """Rows of the candidates that make the page, in order."""

    rows: NDArray[np.intp]
    moved_count: int
    """Times that the best candidate left had to wait because of its board, owner or interest."""
    relaxed_count: int
    """Items that stand closer than the rule asks, because nothing else was left."""
    over_share_count: int
    """Items beyond their source's greatest share, because no other source had a row."""


def select(
    scores: NDArray[np.float32],
    candidates: Candidates,
    *,
    page_size: int,
    spacing: Spacing,
    shares: Sequence[Share] = (Share(),),
) -> Selected:
    """The best `page_size` rows by score under the spacing rules and the shares, one for each source.

    Greedy, place by place. Board, owner or interest 0 means unknown and is under no rule. Ties in score: the
    earlier row first.
    """
    order = np.argsort(-scores, kind="stable")
    page = _Page(candidates, order, spacing, shares)
    while len(page.rows) < page_size and page.take_next():
        pass
    return Selected(
        np.array(page.rows, np.intp),
        sum(stream.moved_count for stream in page.streams),
        page.relaxed_count,
        page.over_share_count,
    )


class _Page:
    """A page in the making."""

    def __init__(
        self,
        candidates: Candidates,
        order: NDArray[np.intp],
        spacing: Spacing,
        shares: Sequence[Share],
    ) -> None:
        self.rows: list[int] = []
        self.relaxed_count = 0
        self.over_share_count = 0
        self._shares = shares
        self._counts = [0] * len(shares)
        self._source_gap = spacing.source_gap
        self._source_free_at = [0] * len(shares)
        gaps = Gaps(spacing.board_gap, spacing.owner_gap, spacing.interest_gap)
        shown = Shown()
        sources = candidates.sources[order]
        self.streams = [
            Stream.of(candidates, order if len(shares) == 1 else order[sources == at], gaps, shown)
            for at in range(len(shares))
        ]
        # A row's rank among all: what sources are compared by.
        self._ranks = np.empty(len(order), np.intp)
        self._ranks[order] = np.arange(len(order))

    def take_next(self) -> bool:
        """Fill one place; False when no row is left."""
        place = len(self.rows)
        if len(self.streams) == 1:
            return self._take(0, place) or self._take_relaxed([0], place)
        left = [at for at, stream in enumerate(self.streams) if stream.has_rows]
        owed = self._owed(left, place)
        below = [at for at in left if self._counts[at] + 1 <= self._shares[at].greatest * (place + 1) + 1]
        for choice in (owed, below):
            rested = [at for at in choice if self._source_free_at[at] <= place]
            if self._take_best(rested, place) or self._take_best(choice, place):
                return True
        if self._take_best(left, place):
            self.over_share_count += 1
            return True
        return self._take_relaxed(left, place)

    def _owed(self, left: Sequence[int], place: int) -> list[int]:
        """Sources of which one must have this place, or least shares cannot all hold any more.

        Looks a few places ahead, where the places that are owed until then are as many as there are.
        """
        for ahead in range(1, 2 * len(left) + 1):
            needs = [int(self._shares[at].least * (place + ahead) + 1e-9) - self._counts[at] for at in left]
            if sum(need for need in needs if need > 0) >= ahead:
                return [at for at, need in zip(left, needs, strict=True) if need > 0]
        return []

    def _take_best(self, choice: Sequence[int], place: int) -> bool:
        """Show the best free row of the given sources."""
        best, best_rank = -1, -1
        for at in choice:
            row = self.streams[at].peek(place)
            if row >= 0 and (best < 0 or self._ranks[row] < best_rank):
                best, best_rank = at, int(self._ranks[row])
        return best >= 0 and self._take(best, place)

    def _take(self, at: int, place: int) -> bool:
        row = self.streams[at].take(place)
        if row < 0:
            return False
        self._show(at, row, place)
        return True

    def _take_relaxed(self, choice: Sequence[int], place: int) -> bool:
        """Show the best row that waits, of any of the given sources."""
        waiting = [(self._ranks[row], at) for at in choice if (row := self.streams[at].best_waiting()) >= 0]
        if not waiting:
            return False
        at = min(waiting)[1]
        self.relaxed_count += 1
        self._show(at, self.streams[at].take_waiting(place), place)
        return True

    def _show(self, at: int, row: int, place: int) -> None:
        self.rows.append(row)
        self._counts[at] += 1
        self._source_free_at[at] = place + self._source_gap
