"""Owns the keys and bytes of Apiary, in sort order:

    batch     "batch"                                                      number of the last batch <Q
    counts    shard >H | source >Q | mapping >B                            edges <Q
    deleted   shard of owner >H | board >Q                                 owner <Q
    edges     shard >H | source >Q | mapping >B | id >Q                    time_ms <Q, affinity <f
    order     shard >H | source >Q | mapping >B | inverted time_ms >Q | id >Q     affinity <f
    system    the follower's offsets and recent ids

`edges` answers whether an edge is there, `order` answers lists, latest first, and hot columns: everything
of a user that one answer needs lies in one stretch, so one scan (one moment) reads it. Only a user with more
edges than one scan may read is read list by list, so that many follows never push out what is hidden.
Refuses values of a wrong length (CorruptValue). Next: `draft.py`, which alone makes batches of it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.apiary.graph import FORGOTTEN, Edges, Follows, Mapping
from services.apiary.pages import Place
from services.apiary.user_graph import GraphLimits, Latest, UserGraph, latest
from services.chassis.errors import CorruptValue
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Batch, Family, Store, edge_family, small_family

BATCH: Final = "batch"
COUNTS: Final = "counts"
DELETED: Final = "deleted"
EDGES: Final = "edges"
ORDER: Final = "order"
SYSTEM: Final = "system"

_LIST: Final = struct.Struct(">HQB")
_EDGE: Final = struct.Struct(">HQBQ")
_ROW: Final = struct.Struct(">HQBQQ")
_DELETED: Final = struct.Struct(">HQ")
_COUNT: Final = struct.Struct("<Q")
_EDGE_VALUE: Final = struct.Struct("<Qf")
_ROW_VALUE: Final = struct.Struct("<f")
_TIME_MAX: Final = (1 << 64) - 1
_BATCH_KEY: Final = b"batch"

_MAPPINGS: Final = np.array(sorted(Mapping), dtype=np.uint8)
"""In the order of keys, which is the order that they are declared in."""
assert _MAPPINGS.tolist() == list(Mapping)

_ROWS: Final = np.dtype(
    [("shard", ">u2"), ("source", ">u8"), ("mapping", "u1"), ("inverted_ms", ">u8"), ("id", ">u8")]
)
assert _ROWS.itemsize == _ROW.size


class EdgeId(NamedTuple):
    """An edge of a mapping."""

    mapping: Mapping
    source: int
    id: int


class Edge(NamedTuple):
    """What an edge carries."""

    time_ms: int
    affinity: float


def families() -> dict[str, Family]:
    """What the store is opened with."""
    return {
        BATCH: small_family(),
        COUNTS: edge_family(_DELETED.size),
        DELETED: small_family(),
        EDGES: edge_family(_LIST.size),
        ORDER: edge_family(_LIST.size),
        SYSTEM: small_family(),
    }


class GraphStore:
    """Reads of the graph, from any thread; and the puts and deletes of a batch."""

    def __init__(self, database: Store, owned: OwnedShards) -> None:
        self._database = database
        self._shard_of = owned.shard_of

    def edges(self, ids: Sequence[EdgeId]) -> list[Edge | None]:
        """The edges, None where there is none. Raises CorruptValue, as all reads do."""
        keys = [self._edge_key(id) for id in ids]
        return [
            None if value is None else Edge(*_unpacked(_EDGE_VALUE, value, EDGES))
            for value in self._database.multi_get(EDGES, keys)
        ]

    def counts(self, lists: Sequence[tuple[Mapping, int]]) -> list[int]:
        """How many edges each list of (mapping, source) has."""
        keys = [self._list_key(mapping, source) for mapping, source in lists]
        return [
            0 if value is None else int(_unpacked(_COUNT, value, COUNTS)[0])
            for value in self._database.multi_get(COUNTS, keys)
        ]

    def page(self, mapping: Mapping, source: int, after: Place | None, size: int) -> list[Place]:
        """At most `size` rows after a place, latest first."""
        start = self._list_key(mapping, source)
        end = _after_prefix(start)
        if after is not None:
            start += struct.pack(">QQ", _TIME_MAX - after.time_ms, after.id) + b"\0"
        rows = islice(self._database.scan(ORDER, start=start, end=end), size)
        unpacked = (_unpacked(_ROW, key, ORDER) for key, _ in rows)
        return [Place(_TIME_MAX - inverted_ms, id) for _, _, _, inverted_ms, id in unpacked]

    def user_graph(self, user: int, *, limits: GraphLimits) -> UserGraph:
        """What a user follows, owns and hides, the latest of each; as of one moment, unless the user has more
        than `follows_max` edges. Then what is followed is of one moment, and every other part of its own.
        """
        start = self._list_key(Mapping.USER_UNFOLLOWS_BOARD, user)
        end = self._list_key(Mapping.USER_FOLLOWED_BY_USER, user)
        mappings, edges = self._columns(start, end, limits.follows_max + 1)
        if edges.ids.size > limits.follows_max:
            return self._long_user_graph(user, limits)
        parts = _by_mapping(mappings, edges)
        return UserGraph(
            _follows(parts),
            *(
                latest(part.head(most), total_count=part.ids.size)
                for part, most in ((parts[mapping], most) for mapping, most in _parts_max(limits))
            ),
        )

    def owned_boards(self, owner: int, *, edges_max: int) -> NDArray[np.uint64]:
        """The boards of an owner, latest first."""
        start = self._list_key(Mapping.USER_OWNS_BOARD, owner)
        return self._columns(start, _after_prefix(start), edges_max)[1].ids

    def deleted_boards(self) -> NDArray[np.uint64]:
        """Every deleted board whose owner is of this process, ascending. Scans the family."""
        boards = [_unpacked(_DELETED, key, DELETED)[1] for key, _ in self._database.scan(DELETED)]
        return np.unique(np.array(boards, dtype=np.uint64))

    def last_batch(self) -> int:
        """Number of the last batch that was written; 0 before the first."""
        value = self._database.get(BATCH, _BATCH_KEY)
        return 0 if value is None else int(_unpacked(_COUNT, value, BATCH)[0])

    def put_batch_number(self, batch: Batch, number: int) -> None:
        """Number the batch."""
        batch.put(BATCH, _BATCH_KEY, _COUNT.pack(number))

    def put_edge(self, batch: Batch, id: EdgeId, edge: Edge) -> None:
        """An edge and its place in the list. An edge of another time must be deleted first."""
        batch.put(EDGES, self._edge_key(id), _EDGE_VALUE.pack(edge.time_ms, edge.affinity))
        batch.put(ORDER, self._row_key(id, edge.time_ms), _ROW_VALUE.pack(edge.affinity))

    def delete_edge(self, batch: Batch, id: EdgeId, edge: Edge) -> None:
        """An edge, as it is stored."""
        batch.delete(EDGES, self._edge_key(id))
        batch.delete(ORDER, self._row_key(id, edge.time_ms))

    def put_count(self, batch: Batch, mapping: Mapping, source: int, count: int) -> None:
        """How many edges a list has; an empty list has no key."""
        key = self._list_key(mapping, source)
        if count:
            batch.put(COUNTS, key, _COUNT.pack(count))
        else:
            batch.delete(COUNTS, key)

    def delete_user(self, batch: Batch, user: int) -> None:
        """Every list whose source is this user, with counts."""
        start = self._list_key(FORGOTTEN[0], user)
        end = _after_prefix(self._list_key(FORGOTTEN[1], user))
        for family in (EDGES, ORDER, COUNTS):
            batch.delete_range(family, start, end)

    def put_deleted(self, batch: Batch, board: int, *, owner: int) -> None:
        """Note that a board is deleted."""
        batch.put(DELETED, _DELETED.pack(self._shard_of(owner), board), _COUNT.pack(owner))

    def delete_deleted(self, batch: Batch, board: int, *, owner: int) -> None:
        """Note that a board is there (again)."""
        batch.delete(DELETED, _DELETED.pack(self._shard_of(owner), board))

    def _long_user_graph(self, user: int, limits: GraphLimits) -> UserGraph:
        """Of a user with many edges; each list by its own limit."""
        start = self._list_key(Mapping.USER_UNFOLLOWS_BOARD, user)
        end = self._list_key(Mapping.USER_FOLLOWS_INTEREST, user)
        follows = _follows(_by_mapping(*self._columns(start, end, limits.follows_max)))
        parts = _parts_max(limits)
        totals = self.counts([(mapping, user) for mapping, _ in parts])
        return UserGraph(
            follows,
            *(
                self._latest(mapping, user, most, total_count=total)
                for (mapping, most), total in zip(parts, totals, strict=True)
            ),
        )

    def _latest(self, mapping: Mapping, source: int, most: int, *, total_count: int) -> Latest:
        start = self._list_key(mapping, source)
        edges = self._columns(start, _after_prefix(start), most)[1]
        # The count was read a moment earlier; an answer must not say that less than nothing was left out.
        return latest(edges, total_count=max(total_count, edges.ids.size))

    def _columns(self, start: bytes, end: bytes, rows_max: int) -> tuple[NDArray[np.uint8], Edges]:
        """Mapping of each row, and the rows."""
        keys, values = bytearray(), bytearray()
        row_count = 0
        for key, value in islice(self._database.scan(ORDER, start=start, end=end), rows_max):
            keys += key
            values += value
            row_count += 1
        if len(keys) != row_count * _ROW.size or len(values) != row_count * _ROW_VALUE.size:
            raise CorruptValue(f"family {ORDER} holds a row of another length: restore a checkpoint")
        rows: NDArray[Any] = np.frombuffer(keys, dtype=_ROWS)
        times_ms = np.uint64(_TIME_MAX) - rows["inverted_ms"].astype(np.uint64)
        edges = Edges(
            ids=rows["id"].astype(np.uint64),
            times=(times_ms // np.uint64(1000)).astype(np.uint32),
            affinities=np.frombuffer(values, dtype="<f4").astype(np.float32),
        )
        return rows["mapping"], edges

    def _list_key(self, mapping: Mapping, source: int) -> bytes:
        return _LIST.pack(self._shard_of(source), source, mapping)

    def _edge_key(self, id: EdgeId) -> bytes:
        return _EDGE.pack(self._shard_of(id.source), id.source, id.mapping, id.id)

    def _row_key(self, id: EdgeId, time_ms: int) -> bytes:
        return _ROW.pack(self._shard_of(id.source), id.source, id.mapping, _TIME_MAX - time_ms, id.id)


def _by_mapping(mappings: NDArray[np.uint8], edges: Edges) -> dict[Mapping, Edges]:
    """Rows of one stretch of keys by their mapping; a mapping without rows has empty columns."""
    ends = np.searchsorted(mappings, _MAPPINGS, side="right").tolist()
    starts = [0, *ends]
    return {mapping: _cut(edges, *span) for mapping, *span in zip(Mapping, starts, ends, strict=False)}


def _cut(edges: Edges, start: int, end: int) -> Edges:
    # Copies: a cached view would keep the columns of the whole stretch alive.
    return Edges(
        edges.ids[start:end].copy(), edges.times[start:end].copy(), edges.affinities[start:end].copy()
    )


def _follows(parts: dict[Mapping, Edges]) -> Follows:
    unfollowed = np.sort(parts[Mapping.USER_UNFOLLOWS_BOARD].ids)
    boards = parts[Mapping.USER_FOLLOWS_BOARD].ascending()
    return Follows(boards, parts[Mapping.USER_FOLLOWS_USER], unfollowed)


def _parts_max(limits: GraphLimits) -> tuple[tuple[Mapping, int], ...]:
    """The parts of a `UserGraph` after its follows, and how many rows of each are kept."""
    return (
        (Mapping.USER_FOLLOWS_INTEREST, limits.interests_max),
        (Mapping.USER_OWNS_BOARD, limits.own_boards_max),
        (Mapping.USER_HIDES_PIN, limits.hidden_max),
        (Mapping.USER_HIDES_BOARD, limits.hidden_max),
        (Mapping.USER_HIDES_USER, limits.hidden_max),
    )


def _after_prefix(list_key: bytes) -> bytes:
    """The first key after a list: mappings are far below 255."""
    return list_key[:-1] + bytes([list_key[-1] + 1])


def _unpacked(layout: struct.Struct, data: bytes, family: str) -> tuple[Any, ...]:
    if len(data) != layout.size:
        raise CorruptValue(f"family {family} holds {len(data)} bytes for {layout.size}: restore a checkpoint")
    return layout.unpack(data)
