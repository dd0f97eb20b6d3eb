"""Owns what one user's graph is, as reads keep it: follows, interests, own boards, what is hidden.

An answer lists each part ascending, and cuts it at its latest. A part therefore lies ascending, with the
age of each row beside it: cutting is one comparison, and no request sorts. What is beyond the process's own
limits is not kept, only counted. All values are immutable and as of one moment, but for users with more
edges than one scan reads (`store.py`).
Next: `cache.py`, which keeps these by user; `service.py`, which answers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.apiary.graph import Edges, Follows

PART_BYTES: Final = 400
"""About what one part costs beside its data (three array headers and their holder), by tracemalloc."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphLimits:
    """How much of a user's graph is kept for answers, the latest of each part."""

    follows_max: int
    """Edges of one user that are read in one scan."""
    interests_max: int
    own_boards_max: int
    hidden_max: int
    """Of pins, of boards and of users each."""


@dataclass(frozen=True, slots=True, eq=False)
class Latest:
    """Rows of one part, ids ascending and unique; aligned columns."""

    ids: NDArray[np.uint64]
    ages: NDArray[np.uint32]
    """Places in the order of time: 0 is the latest."""
    affinities: NDArray[np.float32]
    total_count: int
    """Rows that there are, those that are not kept among them."""

    @property
    def nbytes(self) -> int:
        """Bytes of the columns."""
        return self.ids.nbytes + self.ages.nbytes + self.affinities.nbytes

    def head(self, count: int) -> Latest:
        """The latest `count`, ascending still."""
        if count >= self.ids.size:
            return self
        rows = self.ages < count
        return Latest(self.ids[rows], self.ages[rows], self.affinities[rows], self.total_count)


@dataclass(frozen=True, slots=True, eq=False)
class UserGraph:
    """One user's graph."""

    follows: Follows
    interests: Latest
    own_boards: Latest
    hidden_pins: Latest
    hidden_boards: Latest
    hidden_users: Latest

    @property
    def nbytes(self) -> int:
        """Bytes of the columns, and of the objects that hold them beyond the one that a cache counts."""
        parts = [part for part in (self.interests, self.own_boards, *self.hidden) if part is not NOTHING]
        return self.follows.nbytes + sum(part.nbytes for part in parts) + PART_BYTES * (1 + len(parts))

    @property
    def hidden(self) -> tuple[Latest, Latest, Latest]:
        """Pins, boards and users that the user hides."""
        return self.hidden_pins, self.hidden_boards, self.hidden_users

    @property
    def hidden_count(self) -> int:
        """All that the user hides, also what is not kept."""
        return sum(part.total_count for part in self.hidden)


def latest(edges: Edges, *, total_count: int) -> Latest:
    """Edges, which are the latest first, as rows that are ascending."""
    if not edges.ids.size:
        return NOTHING
    order = np.argsort(edges.ids)
    return Latest(edges.ids[order], order.astype(np.uint32), edges.affinities[order], total_count)


NOTHING: Final = Latest(np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.float32), 0)
"""A part without rows: one object for all users, as most hide nothing."""
