"""An Apiary without a log: records go through the view into a real store, a restart reads it again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client.registry import CollectorRegistry

from feedmesh.apiary.v1 import apiary_pb2
from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.apiary.cache import ColumnCache, PendingBatch
from services.apiary.config import ApiaryConfig
from services.apiary.graph import Mapping
from services.apiary.ingest import GraphView
from services.apiary.metrics import ApiaryMetrics
from services.apiary.service import ApiaryServicer
from services.apiary.store import GraphStore, families
from services.chassis.columns.packed import unpack_u8, unpack_u64
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store

NOW_MS = 1_770_000_000_000

USER = apiary_pb2.FOLLOW_KIND_USER
BOARD = apiary_pb2.FOLLOW_KIND_BOARD
INTEREST = apiary_pb2.FOLLOW_KIND_INTEREST


def record(
    event: event_pb2.Event, *, key: int, role: record_pb2.Role.ValueType, time_ms: int = NOW_MS
) -> record_pb2.Record:
    """The event at one side."""
    return record_pb2.Record(record_id=1, key=key, role=role, time_ms=time_ms, version=1, event=event)


def _sides(event: event_pb2.Event, *, user: int, target: int, time_ms: int) -> list[record_pb2.Record]:
    return [
        record(event, key=user, role=record_pb2.ROLE_SOURCE, time_ms=time_ms),
        record(event, key=target, role=record_pb2.ROLE_TARGET, time_ms=time_ms),
    ]


def follow(
    user: int, kind: str, target: int, *, affinity: float = 0.0, time_ms: int = NOW_MS
) -> list[record_pb2.Record]:
    """Both records of a follow; kind is user, board or interest."""
    to = event_pb2.FollowTarget(**{kind: target})
    event = event_pb2.Event(follow=event_pb2.Follow(user=user, target=to, affinity=affinity))
    return _sides(event, user=user, target=target, time_ms=time_ms)


def unfollow(user: int, kind: str, target: int, *, time_ms: int = NOW_MS) -> list[record_pb2.Record]:
    """Both records of an unfollow."""
    to = event_pb2.FollowTarget(**{kind: target})
    event = event_pb2.Event(unfollow=event_pb2.Unfollow(user=user, target=to))
    return _sides(event, user=user, target=target, time_ms=time_ms)


def put_board(board: int, *, owner: int, time_ms: int = NOW_MS) -> list[record_pb2.Record]:
    """A board is made."""
    put = event_pb2.PutBoard(board=board, board_data=type_pb2.Board(owner=owner))
    event = event_pb2.Event(put_board=put)
    return [record(event, key=owner, role=record_pb2.ROLE_OWNER, time_ms=time_ms)]


def delete_board(board: int, *, owner: int) -> list[record_pb2.Record]:
    """A board is deleted."""
    event = event_pb2.Event(delete_board=event_pb2.DeleteBoard(board=board, owner=owner))
    return [record(event, key=owner, role=record_pb2.ROLE_OWNER)]


def hide(
    user: int,
    kind: type_pb2.ObjectKind.ValueType,
    id: int,
    *,
    undo: bool = False,
    time_ms: int = NOW_MS,
) -> list[record_pb2.Record]:
    """Something is hidden, or shown again."""
    event = event_pb2.Event(hide=event_pb2.Hide(user=user, kind=kind, id=id, undo=undo))
    return [record(event, key=user, role=record_pb2.ROLE_SOURCE, time_ms=time_ms)]


def forget(user: int) -> list[record_pb2.Record]:
    """A user is forgotten."""
    event = event_pb2.Event(forget_user=event_pb2.ForgetUser(user=user))
    return [record(event, key=user, role=record_pb2.ROLE_SOURCE)]


class Elsewhere:
    """Other hosts as a dictionary; owners that it does not know do not answer."""

    def __init__(self) -> None:
        self.boards_of: dict[int, list[int]] = {}
        self.calls: list[list[int]] = []

    def boards(self, owners: NDArray[np.uint64], *, timeout_s: float) -> list[NDArray[np.uint64] | None]:
        """What it knows."""
        self.calls.append(owners.tolist())
        found = [self.boards_of.get(owner) for owner in owners.tolist()]
        return [None if boards is None else np.array(boards, dtype=np.uint64) for boards in found]


class Apiary:
    """One process's parts, on a store that outlives it."""

    def __init__(
        self, path: Path, *, config: ApiaryConfig | None = None, owned: OwnedShards | None = None
    ) -> None:
        self.config = config or ApiaryConfig()
        self.owned = owned or OwnedShards.everything(64)
        self.elsewhere = Elsewhere()
        self._path = path
        self._open()

    def _open(self) -> None:
        config = self.config
        self.database = Store(self._path, families())
        self.store = GraphStore(self.database, self.owned)
        self.registry = CollectorRegistry()
        metrics = ApiaryMetrics(self.registry)
        pending = PendingBatch(self.store.last_batch)
        self.graphs = ColumnCache(
            pending,
            partial(self.store.user_graph, limits=config.graph_limits),
            bytes_max=config.memory.follows_cache_bytes,
        )
        boards = ColumnCache(
            pending,
            partial(self.store.owned_boards, edges_max=config.boards_per_owner_max),
            bytes_max=config.memory.boards_cache_bytes,
        )
        metrics.watch("follows", self.graphs)
        metrics.watch("boards", boards)
        self.view = GraphView(
            self.store, pending, metrics, owned=self.owned, forget_edges_max=config.forget_edges_max
        )
        self.servicer = ApiaryServicer(
            self.store,
            self.graphs,
            boards,
            self.elsewhere,
            metrics,
            deleted=lambda: self.view.deleted,
            config=config,
            owned=self.owned,
        )

    def apply(self, *events: list[record_pb2.Record]) -> None:
        """One batch, of the records whose key is of this process."""
        records = [each for event in events for each in event if self.owned.owns_one(each.key)]
        changes = [change for change in map(self.view.decode, records) if change is not None]
        batch = self.database.batch()
        self.view.apply(changes, batch)
        self.database.write(batch)

    def restart(self) -> None:
        """Memory is gone, the store stays."""
        self.database.close()
        self._open()

    def close(self) -> None:
        """Release the store."""
        self.database.close()

    def followed(self, user: int, *, limit: int = 0) -> apiary_pb2.GetFollowedBoardsResponse:
        """GetFollowedBoards."""
        request = apiary_pb2.GetFollowedBoardsRequest(user=user, limit=limit)
        return self.servicer.GetFollowedBoards(request, None)  # type: ignore[arg-type]

    def graph(
        self, user: int, *, boards: int = 0, interests: int = 0, own_boards: int = 0, hidden: int = 0
    ) -> apiary_pb2.GetUserGraphResponse:
        """GetUserGraph; what is not named is not asked for."""
        request = apiary_pb2.GetUserGraphRequest(
            user=user,
            boards_max=boards,
            interests_max=interests,
            own_boards_max=own_boards,
            hidden_max=hidden,
        )
        return self.servicer.GetUserGraph(request, None)  # type: ignore[arg-type]

    def hidden(self, user: int, *, most: int = 1_000) -> tuple[list[int], list[int], list[int]]:
        """Hidden pins, boards and owners."""
        answer = self.graph(user, hidden=most)
        columns = (answer.hidden_pins_u64, answer.hidden_boards_u64, answer.hidden_owners_u64)
        pins, boards, owners = (unpack_u64(column).tolist() for column in columns)
        return pins, boards, owners

    def boards(self, user: int) -> list[int]:
        """Ids of the followed boards, ascending."""
        listed: list[int] = unpack_u64(self.followed(user).boards_u64).tolist()
        return listed

    def states(self, user: int, kind: apiary_pb2.FollowKind.ValueType, *targets: int) -> list[int]:
        """CheckFollows."""
        packed = np.array(targets, dtype=np.uint64).tobytes()
        request = apiary_pb2.CheckFollowsRequest(user=user, kind=kind, targets_u64=packed)
        response = self.servicer.CheckFollows(request, None)  # type: ignore[arg-type]
        states: list[int] = unpack_u8(response.states_u8).tolist()
        return states

    def followers(
        self, kind: apiary_pb2.FollowKind.ValueType, target: int, *, size: int = 0, token: str = ""
    ) -> apiary_pb2.ListFollowersResponse:
        """ListFollowers."""
        request = apiary_pb2.ListFollowersRequest(kind=kind, target=target, page_size=size, page_token=token)
        return self.servicer.ListFollowers(request, None)  # type: ignore[arg-type]

    def following(
        self, user: int, kind: apiary_pb2.FollowKind.ValueType, *, size: int = 0, token: str = ""
    ) -> apiary_pb2.ListFollowingResponse:
        """ListFollowing."""
        request = apiary_pb2.ListFollowingRequest(user=user, kind=kind, page_size=size, page_token=token)
        return self.servicer.ListFollowing(request, None)  # type: ignore[arg-type]

    def listed(self, mapping: Mapping, source: int) -> set[int]:
        """The other ends of a list, which agree with its edges and its count."""
        ids = [place.id for place in self.store.page(mapping, source, None, 10_000)]
        assert self.store.counts([(mapping, source)]) == [len(ids)] == [len(set(ids))]
        return set(ids)

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value; 0 when it was never touched."""
        return self.registry.get_sample_value(f"feedmesh_apiary_{name}", labels) or 0.0
