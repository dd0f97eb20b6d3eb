"""What a walk found, ranked: the best pins or boards, given candidates, and the reasons of both.

Best first, equal scores by id. Scores are visits, boosted and penalised as the settings say. Visits are
rounded, and at least 1 for what was visited: exact walks expect parts of one.
Next: `visit_kernels.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.pixie.settings import WalkSettings
from services.pixie.visit_kernels import add_up, clear, find_reasons, places_of, score_visited
from services.pixie.walk import Plan, WalkCounts
from services.pixie.walk_kernels import Found


@dataclass(frozen=True, slots=True, eq=False)
class Reasons:
    """Query pins that led to each row of an answer: those of row i are [starts[i]:starts[i + 1]]."""

    starts: NDArray[np.uint32]
    query_places: NDArray[np.uint16]
    """In the request."""
    visits: NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Aligned columns of an answer. `rows` are -1 for candidates that the graph does not have."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    visits: NDArray[np.uint32]
    degrees: NDArray[np.uint32]
    places: NDArray[np.int64]
    """In the totals; -1: not visited."""


class SideVisits:
    """Visits of one side. Its arrays are the workspace's: use it within `Walkers.walk`."""

    def __init__(
        self,
        starts: NDArray[np.uint64],
        planned: Plan,
        found: Found,
        totals: Any,
    ) -> None:
        self._starts = starts
        self._planned = planned
        self._found = found
        self._totals = totals
        # Two kernels find slots by them: an address itself is numbers that numba takes from kernels only.
        self._slots = (max(int(found.counts.sum()), 1), starts.size - 1)
        self.visited_count = int(
            add_up(found.log, planned.queries.starts, found.counts, totals, *self._slots)
        )
        """Rows that were visited."""

    def clear(self) -> None:
        """Give the memory back empty."""
        clear(self._totals, self.visited_count)

    def best(self, settings: WalkSettings, *, limit: int, excluded: NDArray[np.int64]) -> Ranked:
        """The best `limit` rows, without `excluded` ones."""
        scores = self._scores(settings)
        left_out = places_of(self._totals, *self._slots, excluded)
        scores[left_out[left_out >= 0]] = 0
        rows = self._totals.rows[: self.visited_count]
        # One number that sorts: bits of positive floats are in the order of the floats, rows in that of ids.
        keys = (~scores.view(np.uint32)).astype(np.uint64) << np.uint64(32) | rows
        count = int(np.count_nonzero(scores))
        if limit < count:
            keys.partition(limit - 1)
        keys = np.sort(keys[: min(limit, count)]) if limit < count else np.sort(keys)[:count]
        found = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
        return self._ranked(found, places_of(self._totals, *self._slots, found), scores)

    def of(self, settings: WalkSettings, rows: NDArray[np.int64]) -> Ranked:
        """Given rows, in their order."""
        return self._ranked(rows, places_of(self._totals, *self._slots, rows), self._scores(settings))

    def reasons(self, ranked: Ranked, *, most: int) -> Reasons:
        """Who led to each row of an answer."""
        counts, queries, visits = find_reasons(
            self._found.log, self._planned.queries.starts, self._found.counts, self.visited_count,
            ranked.places, most,
        )  # fmt: skip
        named = np.arange(most) < counts[:, None]
        return Reasons(
            starts=np.concatenate(([0], np.cumsum(counts))).astype(np.uint32),
            query_places=self._planned.places[queries[named]].astype(np.uint16),
            visits=_whole(visits[named]),
        )

    def _scores(self, settings: WalkSettings) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = score_visited(
            self._totals, self.visited_count, self._starts, settings.booster, float(settings.degree_penalty)
        )
        return scores

    def _ranked(
        self, rows: NDArray[np.int64], places: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> Ranked:
        visited = places >= 0
        answered, visits = np.zeros(rows.size, np.float32), np.zeros(rows.size, np.uint32)
        answered[visited] = scores[places[visited]]
        visits[visited] = _whole(self._totals.visits[places[visited]])
        known = np.maximum(rows, 0)
        degrees = np.where(rows >= 0, self._starts[known + 1] - self._starts[known], 0).astype(np.uint32)
        return Ranked(rows, answered, visits, degrees, places)


@dataclass(frozen=True, slots=True, eq=False)
class Visits:
    """What a walk found."""

    settings: WalkSettings
    pins: SideVisits
    boards: SideVisits
    """Of no rows unless boards were wanted."""
    counts: WalkCounts


def _whole(visits: NDArray[Any]) -> NDArray[np.uint32]:
    whole: NDArray[np.uint32] = np.maximum(np.rint(visits), 1).astype(np.uint32)
    return whole
