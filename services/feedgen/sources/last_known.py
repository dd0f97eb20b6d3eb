"""Followed boards as they were last known to this process, for the moments when Apiary cannot be asked.

Owns a cache bounded by bytes, least recently used out first. It is a fallback only: a request that reaches
Apiary never reads it, so it cannot make a feed stale.
"""

from __future__ import annotations

from collections import OrderedDict

from services.feedgen.answers import FollowedBoards

_ENTRY_BYTES = 512
"""What an entry costs beside its columns: dict slot, objects, array headers."""


class LastKnownBoards:
    """Used on one event loop; no locks."""

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._by_user: OrderedDict[int, FollowedBoards] = OrderedDict()

    def keep(self, user: int, followed: FollowedBoards) -> None:
        """Remember an answer of Apiary. Partial answers and empty ones are not worth remembering."""
        if followed.missing or not len(followed.boards):
            return
        old = self._by_user.pop(user, None)
        self._bytes += _size(followed) - (_size(old) if old else 0)
        self._by_user[user] = followed
        while self._bytes > self._bytes_max and self._by_user:
            _, dropped = self._by_user.popitem(last=False)
            self._bytes -= _size(dropped)

    def get(self, user: int) -> FollowedBoards | None:
        """What was last known; None when nothing is."""
        return self._by_user.get(user)


def _size(followed: FollowedBoards) -> int:
    return _ENTRY_BYTES + followed.boards.nbytes + followed.affinities.nbytes + followed.owners.nbytes
