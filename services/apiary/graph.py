"""Owns what the graph is: its mappings, an edge, and which boards a user follows.

    followed boards = directly followed ∪ boards of followed owners − unfollowed − deleted

A direct follow wins over an owner's: it has its own time and affinity. Unfollowing a board is remembered
and takes it out of what owners bring, also when the owner is followed later; only following the board
itself brings it back. All columns are numpy; nothing here reads or writes.
Next: `ingest.py` (who changes edges), `service.py` (who asks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Mapping(IntEnum):
    """Edges by what they say of the source. The numbers are stored, and their order is used by scans."""

    # All of a user up to USER_HIDES_USER is read in one scan, so that an answer never mixes two moments. Of
    # a user with too many edges the first three are: first the one that must not be cut off by the limit.
    USER_UNFOLLOWS_BOARD = 1
    USER_FOLLOWS_USER = 2
    USER_FOLLOWS_BOARD = 3
    USER_FOLLOWS_INTEREST = 4
    USER_OWNS_BOARD = 5
    USER_HIDES_PIN = 6
    USER_HIDES_BOARD = 7
    USER_HIDES_USER = 8
    USER_FOLLOWED_BY_USER = 9
    # From here on the source is no user: forgetting a user must not touch a board of the same number.
    BOARD_FOLLOWED_BY_USER = 10
    INTEREST_FOLLOWED_BY_USER = 11


CACHED = frozenset(mapping for mapping in Mapping if mapping < Mapping.USER_FOLLOWED_BY_USER)
"""Mappings that hot columns are made of, one stretch of a user's keys: what the user follows, owns and hides.
A new follower must not drop what a popular user follows."""

FORGOTTEN = (Mapping.USER_UNFOLLOWS_BOARD, Mapping.USER_FOLLOWED_BY_USER)
"""First and last mapping whose source is a user."""

REVERSE = {
    Mapping.USER_FOLLOWS_USER: Mapping.USER_FOLLOWED_BY_USER,
    Mapping.USER_FOLLOWS_BOARD: Mapping.BOARD_FOLLOWED_BY_USER,
    Mapping.USER_FOLLOWS_INTEREST: Mapping.INTEREST_FOLLOWED_BY_USER,
    Mapping.USER_FOLLOWED_BY_USER: Mapping.USER_FOLLOWS_USER,
}
"""The same edge as its other end has it. The follows come first: they are forgotten first."""


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Aligned columns, latest first unless it is said: the other ends, seconds since 1970, affinities."""

    ids: NDArray[np.uint64]
    times: NDArray[np.uint32]
    affinities: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of the columns."""
        return self.ids.nbytes + self.times.nbytes + self.affinities.nbytes

    def head(self, count: int) -> Edges:
        """The first `count`."""
        return Edges(self.ids[:count], self.times[:count], self.affinities[:count])

    def ascending(self) -> Edges:
        """The same edges by id."""
        order = np.argsort(self.ids)
        return Edges(self.ids[order], self.times[order], self.affinities[order])


@dataclass(frozen=True, slots=True, eq=False)
class Follows:
    """What one user follows, as of one moment; immutable. `boards` and `unfollowed` are ascending by id: no
    request sorts what a user follows directly. `owners` are the latest first."""

    boards: Edges
    owners: Edges
    unfollowed: NDArray[np.uint64]

    @property
    def nbytes(self) -> int:
        """Bytes of the columns."""
        return self.boards.nbytes + self.owners.nbytes + self.unfollowed.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class FollowedBoards:
    """Aligned columns, boards ascending; `owners` is 0 where the board is followed directly."""

    boards: NDArray[np.uint64]
    affinities: NDArray[np.float32]
    times: NDArray[np.uint32]
    owners: NDArray[np.uint64]
    total_count: int
    """Boards there were before the limit."""

    def take(self, rows: NDArray[np.intp]) -> FollowedBoards:
        """Some of the rows."""
        return FollowedBoards(
            self.boards[rows],
            self.affinities[rows],
            self.times[rows],
            self.owners[rows],
            self.total_count,
        )


def followed_boards(
    follows: Follows,
    boards_by_owner: Sequence[NDArray[np.uint64]],
    *,
    deleted: NDArray[np.uint64],
    limit: int,
) -> FollowedBoards:
    """What the user follows, at most `limit`: those of the latest follow, of equal times the lower board.

    Args:
        boards_by_owner: uint64 boards of each of `follows.owners`; of the first of them when two owners
            claim a board. Fewer than there are owners: the boards of the others are left out.
        deleted: uint64, ascending.
    """
    found = _with_owned(follows, boards_by_owner) if boards_by_owner else _direct(follows.boards)
    if deleted.size:
        found = found.take(np.flatnonzero(~contained(found.boards, deleted)))
    total_count = found.boards.size
    if total_count > limit:
        latest = np.lexsort((found.boards, -found.times.astype(np.int64)))[:limit]
        found = found.take(np.sort(latest))
    return FollowedBoards(found.boards, found.affinities, found.times, found.owners, total_count)


def _direct(boards: Edges) -> FollowedBoards:
    nobody = np.zeros(boards.ids.size, dtype=np.uint64)
    return FollowedBoards(boards.ids, boards.affinities, boards.times, nobody, boards.ids.size)


def _with_owned(follows: Follows, boards_by_owner: Sequence[NDArray[np.uint64]]) -> FollowedBoards:
    direct, owners = follows.boards, follows.owners
    counts = np.fromiter(map(len, boards_by_owner), dtype=np.int64, count=len(boards_by_owner))
    owned = np.concatenate(boards_by_owner)
    rows = np.repeat(np.arange(len(boards_by_owner)), counts)
    if follows.unfollowed.size:
        kept = ~contained(owned, follows.unfollowed)
        owned, rows = owned[kept], rows[kept]
    if not owned.size:
        return _direct(direct)
    boards = np.concatenate((direct.ids, owned))
    # Stable: the first of equal boards is a direct one, then that of the owner followed last.
    order = np.argsort(boards, kind="stable")
    boards = boards[order]
    is_first = np.empty(boards.size, dtype=np.bool_)
    is_first[0] = True
    np.not_equal(boards[1:], boards[:-1], out=is_first[1:])
    if not is_first.all():
        boards, order = boards[is_first], order[is_first]
    nobody = np.zeros(direct.ids.size, dtype=np.uint64)
    return FollowedBoards(
        boards,
        np.concatenate((direct.affinities, owners.affinities[rows]))[order],
        np.concatenate((direct.times, owners.times[rows]))[order],
        np.concatenate((nobody, owners.ids[rows]))[order],
        boards.size,
    )


def contained(ids: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each id is in `ascending`, which is sorted; cost by the number of ids, not of the set."""
    if not ascending.size:
        return np.zeros(ids.size, dtype=np.bool_)
    at = np.minimum(np.searchsorted(ascending, ids), ascending.size - 1)
    found: NDArray[np.bool_] = ascending[at] == ids
    return found
