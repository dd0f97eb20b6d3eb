"""From the log to the graph: the view of the topic `graph`.

`decode` turns a record into edges to put and to delete, by the side that it tells of, and refuses
(PoisonRecord) ids of 0, keys that are not the side's, affinities outside 0..1. `apply` runs them through a
`Draft`, so each is idempotent: a follow that is there changes neither time nor count.
- Following a board clears the memory of its unfollowing; unfollowing one always leaves that memory, because
  the user's shard cannot know who owns the board.
- A deleted board leaves its owner's list, and is noted in the owner's shard: hosts that hold that shard
  leave it out of direct follows too. Elsewhere a direct follow of it stays, and Polaris has no pins of it.
- `forget_user` takes away all that the user's shard holds of the user, and the other sides of these edges
  where they are of this process, at most `forget_edges_max` a batch. What is left: other sides on other
  hosts or past that limit; the user's boards in Polaris.
Next: `draft.py`, `cache.py` (why memory never shows an old value).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.apiary.cache import PendingBatch
from services.apiary.draft import Draft
from services.apiary.graph import REVERSE, Mapping, contained
from services.apiary.metrics import ApiaryMetrics
from services.apiary.store import Edge, EdgeId, GraphStore
from services.chassis.errors import PoisonRecord
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Batch

_FOLLOWS = {
    "user": (Mapping.USER_FOLLOWS_USER, Mapping.USER_FOLLOWED_BY_USER),
    "board": (Mapping.USER_FOLLOWS_BOARD, Mapping.BOARD_FOLLOWED_BY_USER),
    "interest": (Mapping.USER_FOLLOWS_INTEREST, Mapping.INTEREST_FOLLOWED_BY_USER),
}
_HIDES = {
    type_pb2.OBJECT_KIND_PIN: Mapping.USER_HIDES_PIN,
    type_pb2.OBJECT_KIND_BOARD: Mapping.USER_HIDES_BOARD,
    type_pb2.OBJECT_KIND_USER: Mapping.USER_HIDES_USER,
}


class GraphChange(NamedTuple):
    """One record, decoded: edges to put and delete, a board's life, or a user to forget."""

    time_ms: int
    put: tuple[EdgeId, ...] = ()
    delete: tuple[EdgeId, ...] = ()
    affinity: float = 1.0
    board: int = 0
    """A board that is put or deleted by this change; 0 for none."""
    owner: int = 0
    forget: int = 0
    """A user to forget; 0 for none."""


class GraphView:
    """The view that a Follower drives."""

    topics: Sequence[str] = ("graph",)

    def __init__(
        self,
        store: GraphStore,
        pending: PendingBatch,
        metrics: ApiaryMetrics,
        *,
        owned: OwnedShards,
        forget_edges_max: int,
    ) -> None:
        self.deleted = store.deleted_boards()
        """Deleted boards, uint64 ascending; replaced whole, so readers never see half of a change."""
        self._store = store
        self._pending = pending
        self._metrics = metrics
        self._owned = owned
        self._forget_edges_max = forget_edges_max

    def decode(self, record: record_pb2.Record) -> GraphChange | None:
        """The change that a record makes; None for events that Apiary does not follow.

        Raises PoisonRecord.
        """
        body = record.event.WhichOneof("body") if record.HasField("event") else None
        decode = _DECODERS.get(body or "")
        if decode is None:
            return None
        if record.time_ms <= 0:
            raise PoisonRecord(f"{body} has time_ms {record.time_ms}")
        change, source = decode(record)
        if source != record.key:
            raise PoisonRecord(f"{body} of {source} lies under key {record.key}")
        ids = [source, *(each for edge in (*change.put, *change.delete) for each in edge[1:])]
        if not all(ids):
            raise PoisonRecord(f"{body} has an id of 0")
        return change

    def apply(self, changes: Sequence[GraphChange], batch: Batch) -> None:
        """Put what the changes come to into `batch`; readers load what it touches anew."""
        draft = Draft(self._store, batch)
        draft.read(id for change in changes for id in (*change.put, *change.delete))
        outcomes: Counter[tuple[Mapping, str]] = Counter()
        boards: dict[int, bool] = {}
        forget_room = self._forget_edges_max
        for change in changes:
            for id in change.delete:
                was_there = draft.delete(id)
                outcomes[id.mapping, "removed" if was_there else "absent"] += 1
                if change.board and was_there:
                    # Only its owner can delete a board: a wrong owner has no such edge.
                    boards[change.board] = True
                    self._store.put_deleted(batch, change.board, owner=change.owner)
            for id in change.put:
                is_new = draft.put(id, Edge(change.time_ms, change.affinity))
                outcomes[id.mapping, "made" if is_new else "known"] += 1
                if change.board and is_new:
                    boards[change.board] = False
                    self._store.delete_deleted(batch, change.board, owner=change.owner)
            if change.forget:
                forget_room -= self._forget(draft, change.forget, room=forget_room)
        draft.finish()
        self._store.put_batch_number(batch, self._pending.begin(draft.sources))
        self._note_deleted(boards)
        for (mapping, outcome), count in outcomes.items():
            self._metrics.edges(mapping.name.lower(), outcome, count)

    def _forget(self, draft: Draft, user: int, *, room: int) -> int:
        """Forget a user; returns how many other sides were taken away."""
        removed_count = left_count = 0
        for mapping, reverse in REVERSE.items():
            others = draft.list(mapping, user, most=room + 1)
            here = [other for other in others if self._owned.owns_one(other)]
            reversed_ids = [EdgeId(reverse, other, user) for other in here[: room - removed_count]]
            draft.read(reversed_ids)
            removed_count += sum(draft.delete(id) for id in reversed_ids)
            left_count += len(here) - len(reversed_ids)
        draft.forget(user)
        self._metrics.forgotten(removed_count=removed_count, left_count=left_count)
        return removed_count

    def _note_deleted(self, boards: dict[int, bool]) -> None:
        """Boards that were deleted, or made (again)."""
        gone = np.array([board for board, is_deleted in boards.items() if is_deleted], dtype=np.uint64)
        made = np.array([board for board, is_deleted in boards.items() if not is_deleted], dtype=np.uint64)
        if gone.size or contained(made, self.deleted).any():
            self.deleted = np.setdiff1d(np.union1d(self.deleted, gone), made)


def _target(target: event_pb2.FollowTarget) -> tuple[Mapping, Mapping, int]:
    kind = target.WhichOneof("target")
    if kind is None:
        raise PoisonRecord("follow without a target")
    forward, reverse = _FOLLOWS[kind]
    return forward, reverse, getattr(target, kind)


def _follow(record: record_pb2.Record) -> tuple[GraphChange, int]:
    follow = record.event.follow
    affinity = follow.affinity or 1.0
    if not (math.isfinite(affinity) and 0.0 < affinity <= 1.0):
        raise PoisonRecord(f"follow has affinity {follow.affinity}, must be over 0, at most 1")
    forward, reverse, target = _target(follow.target)
    if record.role == record_pb2.ROLE_TARGET:
        put = (EdgeId(reverse, target, follow.user),)
        return GraphChange(record.time_ms, put=put), target
    _check_role(record, record_pb2.ROLE_SOURCE)
    unfollowed = _unfollowed(forward, follow.user, target)
    put = (EdgeId(forward, follow.user, target),)
    return GraphChange(record.time_ms, put=put, delete=unfollowed, affinity=affinity), follow.user


def _unfollow(record: record_pb2.Record) -> tuple[GraphChange, int]:
    unfollow = record.event.unfollow
    forward, reverse, target = _target(unfollow.target)
    if record.role == record_pb2.ROLE_TARGET:
        return GraphChange(record.time_ms, delete=(EdgeId(reverse, target, unfollow.user),)), target
    _check_role(record, record_pb2.ROLE_SOURCE)
    edge = EdgeId(forward, unfollow.user, target)
    remembered = _unfollowed(forward, unfollow.user, target)
    return GraphChange(record.time_ms, put=remembered, delete=(edge,)), unfollow.user


def _unfollowed(forward: Mapping, user: int, target: int) -> tuple[EdgeId, ...]:
    """The memory of an unfollowed board; users and interests have none."""
    if forward is not Mapping.USER_FOLLOWS_BOARD:
        return ()
    return (EdgeId(Mapping.USER_UNFOLLOWS_BOARD, user, target),)


def _put_board(record: record_pb2.Record) -> tuple[GraphChange, int]:
    put = record.event.put_board
    owner = put.board_data.owner
    _check_role(record, record_pb2.ROLE_OWNER)
    edge = EdgeId(Mapping.USER_OWNS_BOARD, owner, put.board)
    return GraphChange(record.time_ms, put=(edge,), board=put.board, owner=owner), owner


def _delete_board(record: record_pb2.Record) -> tuple[GraphChange, int]:
    delete = record.event.delete_board
    _check_role(record, record_pb2.ROLE_OWNER)
    edge = EdgeId(Mapping.USER_OWNS_BOARD, delete.owner, delete.board)
    change = GraphChange(record.time_ms, delete=(edge,), board=delete.board, owner=delete.owner)
    return change, delete.owner


def _hide(record: record_pb2.Record) -> tuple[GraphChange, int]:
    hide = record.event.hide
    _check_role(record, record_pb2.ROLE_SOURCE)
    mapping = _HIDES.get(hide.kind)
    if mapping is None:
        raise PoisonRecord(f"hide of kind {hide.kind}: only pins, boards and users are hidden")
    edges = (EdgeId(mapping, hide.user, hide.id),)
    if hide.undo:
        return GraphChange(record.time_ms, delete=edges), hide.user
    return GraphChange(record.time_ms, put=edges), hide.user


def _forget_user(record: record_pb2.Record) -> tuple[GraphChange, int]:
    user = record.event.forget_user.user
    return GraphChange(record.time_ms, forget=user), user


def _check_role(record: record_pb2.Record, role: record_pb2.Role.ValueType) -> None:
    if record.role != role:
        raise PoisonRecord(f"role {record.role} makes no sense here, must be {role}")


_DECODERS: dict[str, Callable[[record_pb2.Record], tuple[GraphChange, int]]] = {
    "follow": _follow,
    "unfollow": _unfollow,
    "put_board": _put_board,
    "delete_board": _delete_board,
    "hide": _hide,
    "forget_user": _forget_user,
}
