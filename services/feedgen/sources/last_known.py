"""Users' graphs as they were last known to this process, for the moments when Apiary cannot be asked.

Owns a cache bounded by bytes, least recently used out first. It is a fallback only: a request that reaches
Apiary never reads it, so it cannot make a feed stale. What a user hides is kept with it: it stays hidden
while Apiary is away.
"""

from __future__ import annotations

from collections import OrderedDict

from services.feedgen.answers import Lists, UserGraph

_ENTRY_BYTES = 1024
"""What an entry costs beside its columns: dict slot, objects, array headers."""


class LastKnownGraphs:
    """Used on one event loop; no locks."""

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._by_user: OrderedDict[int, UserGraph] = OrderedDict()

    def keep(self, user: int, graph: UserGraph) -> None:
        """Remember an answer of Apiary. Partial answers and empty ones are not worth remembering, but an
        empty one forgets what was known."""
        if graph.missing:
            return
        old = self._by_user.pop(user, None)
        if old is not None:
            self._bytes -= _size(old)
        if _is_empty(graph):
            return
        self._bytes += _size(graph)
        self._by_user[user] = graph
        while self._bytes > self._bytes_max and self._by_user:
            _, dropped = self._by_user.popitem(last=False)
            self._bytes -= _size(dropped)

    def get(self, user: int) -> UserGraph | None:
        """What was last known; None when nothing is."""
        return self._by_user.get(user)


def _is_empty(graph: UserGraph) -> bool:
    return not (len(graph.boards) or len(graph.interests) or len(graph.own_boards))


def _size(graph: UserGraph) -> int:
    hidden = graph.hidden
    columns = graph.own_boards.nbytes + hidden.pins.nbytes + hidden.boards.nbytes + hidden.owners.nbytes
    return _ENTRY_BYTES + columns + _lists_size(graph.boards) + _lists_size(graph.interests)


def _lists_size(lists: Lists) -> int:
    return lists.ids.nbytes + lists.affinities.nbytes + lists.owners.nbytes
