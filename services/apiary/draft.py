"""Owns one batch of the follower in the making: edges as they will be once it is written.

A batch may follow, unfollow and follow again; the store shows nothing of it before it is written. So what
the batch touches is read once (two multi-gets), changed here in order, and put into the batch as edge,
place in the list and count together: they agree after every batch.
An edge that is there keeps its time when it is put again, and takes the new affinity.
Next: `ingest.py`, which says what to change; `store.py`, which says how it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.apiary.graph import CACHED, FORGOTTEN, Mapping
from services.apiary.store import Edge, EdgeId, GraphStore
from services.chassis.storage import Batch

ENTRIES_PER_PUT = 3
"""Most batch entries of one edge: edge, row, count."""


class Draft:
    """Edges over a store; used once, by the follower's thread."""

    def __init__(self, store: GraphStore, batch: Batch) -> None:
        self._store = store
        self._batch = batch
        self._edges: dict[EdgeId, Edge | None] = {}
        self._counts: dict[tuple[Mapping, int], int] = {}
        self._changed: set[tuple[Mapping, int]] = set()
        self._forgotten: set[int] = set()

    def read(self, ids: Iterable[EdgeId]) -> None:
        """Read edges and the counts of their lists, all at once; `edge` reads one by one what is not here."""
        wanted = [id for id in dict.fromkeys(ids) if id not in self._edges]
        lists = dict.fromkeys((id.mapping, id.source) for id in wanted)
        unread = [each for each in lists if each not in self._counts]
        self._edges.update(zip(wanted, self._store.edges(wanted), strict=True))
        self._counts.update(zip(unread, self._store.counts(unread), strict=True))
        for id in wanted:
            if self._is_forgotten(id.mapping, id.source):
                self._edges[id] = None
        for mapping, source in unread:
            if self._is_forgotten(mapping, source):
                self._counts[mapping, source] = 0

    def edge(self, id: EdgeId) -> Edge | None:
        """The edge as it stands in this draft."""
        if id not in self._edges:
            self.read([id])
        return self._edges[id]

    def put(self, id: EdgeId, edge: Edge) -> bool:
        """Make an edge; True when it is new."""
        known = self.edge(id)
        if known is None:
            self._set(id, edge)
            self._add(id, 1)
            return True
        if known.affinity != edge.affinity:
            self._set(id, Edge(known.time_ms, edge.affinity))
        return False

    def delete(self, id: EdgeId) -> bool:
        """Take an edge away; True when it was there."""
        known = self.edge(id)
        if known is None:
            return False
        self._edges[id] = None
        self._store.delete_edge(self._batch, id, known)
        self._add(id, -1)
        return True

    def list(self, mapping: Mapping, source: int, *, most: int) -> list[int]:
        """The other ends of at most `most` edges, those of this draft among them, in no order."""
        drafted = {
            id.id: edge for id, edge in self._edges.items() if id.mapping == mapping and id.source == source
        }
        found = [id for id, edge in drafted.items() if edge is not None]
        if not self._is_forgotten(mapping, source):
            stored = self._store.page(mapping, source, None, most + len(drafted))
            found += [place.id for place in stored if place.id not in drafted]
        return found[:most]

    def forget(self, user: int) -> None:
        """Take away every edge whose source is this user."""
        self._store.delete_user(self._batch, user)
        self._forgotten.add(user)
        for id in self._edges:
            if self._is_forgotten(id.mapping, id.source) and id.source == user:
                self._edges[id] = None
        for mapping, source in self._counts:
            if source == user and self._is_forgotten(mapping, source):
                self._counts[mapping, source] = 0

    def finish(self) -> None:
        """Put the counts of all lists that changed."""
        for mapping, source in self._changed:
            self._store.put_count(self._batch, mapping, source, self._counts[mapping, source])

    @property
    def sources(self) -> set[int]:
        """Sources of which hot columns changed."""
        return {source for mapping, source in self._changed if mapping in CACHED} | self._forgotten

    def _set(self, id: EdgeId, edge: Edge) -> None:
        self._edges[id] = edge
        self._store.put_edge(self._batch, id, edge)
        self._changed.add((id.mapping, id.source))

    def _add(self, id: EdgeId, more: int) -> None:
        self._counts[id.mapping, id.source] += more
        self._changed.add((id.mapping, id.source))

    def _is_forgotten(self, mapping: Mapping, source: int) -> bool:
        return source in self._forgotten and FORGOTTEN[0] <= mapping <= FORGOTTEN[1]
