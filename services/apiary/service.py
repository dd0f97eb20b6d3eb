"""The gRPC adapter of Apiary: requests to graph, cache and store, columns back.

Refuses at the door: id 0, ragged or overlong columns, unknown kinds, page tokens of another list, users
and targets of other hosts. Nothing followed is an answer, not an error. Keeps no state: hot columns are
the cache's, and every other read goes to the store.
Next: `graph.py`, `cache.py`, `clients.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import grpc
import numpy as np
from numpy.typing import NDArray

from feedmesh.apiary.v1 import apiary_pb2, apiary_pb2_grpc
from services.apiary.cache import ColumnCache
from services.apiary.clients import OwnersElsewhere
from services.apiary.config import ApiaryConfig
from services.apiary.graph import Follows, Mapping, followed_boards
from services.apiary.metrics import ApiaryMetrics
from services.apiary.pages import Place, decode_token, encode_token
from services.apiary.store import EdgeId, GraphStore
from services.apiary.user_graph import UserGraph
from services.chassis.columns.packed import pack_f32, pack_u8, pack_u32, pack_u64, unpack_u64
from services.chassis.errors import InvalidId, LimitExceeded, UnknownEnum
from services.chassis.rpc.context import current
from services.chassis.shards.owned import OwnedShards

_FOLLOWS: Final = {
    apiary_pb2.FOLLOW_KIND_USER: Mapping.USER_FOLLOWS_USER,
    apiary_pb2.FOLLOW_KIND_BOARD: Mapping.USER_FOLLOWS_BOARD,
    apiary_pb2.FOLLOW_KIND_INTEREST: Mapping.USER_FOLLOWS_INTEREST,
}
_FOLLOWED: Final = {
    apiary_pb2.FOLLOW_KIND_USER: Mapping.USER_FOLLOWED_BY_USER,
    apiary_pb2.FOLLOW_KIND_BOARD: Mapping.BOARD_FOLLOWED_BY_USER,
    apiary_pb2.FOLLOW_KIND_INTEREST: Mapping.INTEREST_FOLLOWED_BY_USER,
}
_NOT_FOLLOWED, _FOLLOWS_IT, _UNFOLLOWED = 0, 1, 2
"""States of CheckFollows."""


class ApiaryServicer(apiary_pb2_grpc.ApiaryServiceServicer):
    """Answers reads of the graph."""

    def __init__(
        self,
        store: GraphStore,
        graphs: ColumnCache[UserGraph],
        boards: ColumnCache[NDArray[np.uint64]],
        elsewhere: OwnersElsewhere,
        metrics: ApiaryMetrics,
        *,
        deleted: Callable[[], NDArray[np.uint64]],
        config: ApiaryConfig,
        owned: OwnedShards,
    ) -> None:
        self._store = store
        self._graphs = graphs
        self._boards = boards
        self._elsewhere = elsewhere
        self._metrics = metrics
        self._deleted = deleted
        self._config = config
        self._owned = owned

    def GetFollowedBoards(
        self, request: apiary_pb2.GetFollowedBoardsRequest, context: grpc.ServicerContext
    ) -> apiary_pb2.GetFollowedBoardsResponse:
        """Directly followed boards and those of followed owners."""
        self._check_one(request.user, "user")
        config = self._config
        limit = _limit(request.limit, "limit", default=config.boards_default, most=config.boards_max)
        return self._followed(self._graphs.get(request.user).follows, limit)

    def GetUserGraph(
        self, request: apiary_pb2.GetUserGraphRequest, context: grpc.ServicerContext
    ) -> apiary_pb2.GetUserGraphResponse:
        """What the user follows, owns and hides: as much of each as is asked for."""
        self._check_one(request.user, "user")
        config = self._config
        _limit(request.boards_max, "boards_max", default=0, most=config.boards_max)
        _limit(request.interests_max, "interests_max", default=0, most=config.interests_max)
        _limit(request.own_boards_max, "own_boards_max", default=0, most=config.own_boards_max)
        _limit(request.hidden_max, "hidden_max", default=0, most=config.hidden_max)
        graph = self._graphs.get(request.user)
        response = apiary_pb2.GetUserGraphResponse()
        if request.boards_max:
            response.followed.MergeFrom(self._followed(graph.follows, request.boards_max))
        if request.interests_max and graph.interests.ids.size:
            interests = graph.interests.head(request.interests_max)
            response.interests_u64 = pack_u64(interests.ids)
            response.interest_affinities_f32 = pack_f32(interests.affinities)
        if request.own_boards_max and graph.own_boards.ids.size:
            response.own_boards_u64 = pack_u64(graph.own_boards.head(request.own_boards_max).ids)
        if request.hidden_max:
            self._add_hidden(response, graph, request.hidden_max)
        return response

    def GetOwnedBoards(
        self, request: apiary_pb2.GetOwnedBoardsRequest, context: grpc.ServicerContext
    ) -> apiary_pb2.GetOwnedBoardsResponse:
        """Boards of owners of this host."""
        owners = self._ids(request.owners_u64, "owners_u64", most=self._config.owners_max)
        self._owned.check(owners)
        boards = self._boards.get_many(owners.tolist())
        counts = np.fromiter(map(len, boards), dtype=np.int64, count=len(boards))
        starts = np.concatenate(([0], np.cumsum(counts))).astype(np.uint32)
        return apiary_pb2.GetOwnedBoardsResponse(
            starts_u32=pack_u32(starts), boards_u64=b"".join(pack_u64(each) for each in boards)
        )

    def CheckFollows(
        self, request: apiary_pb2.CheckFollowsRequest, context: grpc.ServicerContext
    ) -> apiary_pb2.CheckFollowsResponse:
        """Whether there is an edge from the user to each target: a board of a followed owner has none."""
        mapping = _mapping(_FOLLOWS, request.kind)
        self._check_one(request.user, "user")
        targets = self._ids(request.targets_u64, "targets_u64", most=self._config.targets_max)
        ids = [EdgeId(mapping, request.user, target) for target in targets.tolist()]
        if mapping is Mapping.USER_FOLLOWS_BOARD:
            # One read for both, so that a board that is unfollowed now is in one state or the other.
            ids += [EdgeId(Mapping.USER_UNFOLLOWS_BOARD, id.source, id.id) for id in ids]
        there = np.array([edge is not None for edge in self._store.edges(ids)], dtype=np.bool_)
        states = np.where(there[: targets.size], _FOLLOWS_IT, _NOT_FOLLOWED)
        if mapping is Mapping.USER_FOLLOWS_BOARD:
            states[there[targets.size :]] = _UNFOLLOWED
        return apiary_pb2.CheckFollowsResponse(states_u8=pack_u8(states.astype(np.uint8)))

    def ListFollowers(
        self, request: apiary_pb2.ListFollowersRequest, context: grpc.ServicerContext
    ) -> apiary_pb2.ListFollowersResponse:
        """Who follows a target, latest first."""
        mapping = _mapping(_FOLLOWED, request.kind)
        self._check_one(request.target, "target")
        rows, token, total = self._page(mapping, request.target, request.page_size, request.page_token)
        return apiary_pb2.ListFollowersResponse(
            users_u64=pack_u64([row.id for row in rows]),
            followed_at_ms_u64=pack_u64([row.time_ms for row in rows]),
            next_page_token=token,
            total_count=total,
        )

    def ListFollowing(
        self, request: apiary_pb2.ListFollowingRequest, context: grpc.ServicerContext
    ) -> apiary_pb2.ListFollowingResponse:
        """What a user follows directly, latest first."""
        mapping = _mapping(_FOLLOWS, request.kind)
        self._check_one(request.user, "user")
        rows, token, total = self._page(mapping, request.user, request.page_size, request.page_token)
        return apiary_pb2.ListFollowingResponse(
            targets_u64=pack_u64([row.id for row in rows]),
            followed_at_ms_u64=pack_u64([row.time_ms for row in rows]),
            next_page_token=token,
            total_count=total,
        )

    def _followed(self, follows: Follows, limit: int) -> apiary_pb2.GetFollowedBoardsResponse:
        config = self._config
        surplus_count = max(0, follows.owners.ids.size - config.owners_max)
        if surplus_count:
            follows = Follows(follows.boards, follows.owners.head(config.owners_max), follows.unfollowed)
        by_owner, silent_count, remote_count = self._boards_of(follows.owners.ids)
        found = followed_boards(follows, by_owner, deleted=self._deleted(), limit=limit)
        self._metrics.followed(
            board_count=found.total_count,
            remote_owner_count=remote_count,
            silent_owner_count=silent_count,
            surplus_owner_count=surplus_count,
        )
        return apiary_pb2.GetFollowedBoardsResponse(
            boards_u64=pack_u64(found.boards),
            affinities_f32=pack_f32(found.affinities),
            followed_at_u32=pack_u32(found.times),
            owners_u64=pack_u64(found.owners),
            total_count=found.total_count,
            missing_owner_count=silent_count + surplus_count,
        )

    def _add_hidden(self, response: apiary_pb2.GetUserGraphResponse, graph: UserGraph, most: int) -> None:
        total_count = graph.hidden_count
        left_out_count = 0
        if total_count:
            pins, boards, users = (part.head(most) for part in graph.hidden)
            response.hidden_pins_u64 = pack_u64(pins.ids)
            response.hidden_boards_u64 = pack_u64(boards.ids)
            response.hidden_owners_u64 = pack_u64(users.ids)
            left_out_count = total_count - pins.ids.size - boards.ids.size - users.ids.size
            response.hidden_left_out_count = left_out_count
        self._metrics.hidden(total_count=total_count, left_out_count=left_out_count)

    def _boards_of(self, owners: NDArray[np.uint64]) -> tuple[list[NDArray[np.uint64]], int, int]:
        """Boards of each owner, how many owners' hosts were silent, how many owners live elsewhere."""
        here = self._owned.serves(owners)
        if here.all():
            return self._boards.get_many(owners.tolist()), 0, 0
        by_owner: list[NDArray[np.uint64]] = [_NO_BOARDS] * owners.size
        away = np.flatnonzero(~here)
        silent_count = 0
        if away.size:
            answers = self._elsewhere.boards(owners[away], timeout_s=self._timeout_s())
            for row, boards in zip(away.tolist(), answers, strict=True):
                if boards is None:
                    silent_count += 1
                else:
                    by_owner[row] = boards
        near = np.flatnonzero(here)
        for row, boards in zip(near.tolist(), self._boards.get_many(owners[near].tolist()), strict=True):
            by_owner[row] = boards
        return by_owner, silent_count, int(away.size)

    def _timeout_s(self) -> float:
        most = self._config.owned_boards_timeout_ms / 1000
        call = current()
        left = None if call is None else call.seconds_left()
        return most if left is None else min(most, max(0.0, left) * self._config.deadline_share)

    def _page(self, mapping: Mapping, source: int, size: int, token: str) -> tuple[list[Place], str, int]:
        most = self._config.page_max
        size = _limit(size, "page_size", default=self._config.page_default, most=most)
        after = decode_token(token, mapping, source)
        # One more than asked for, to know whether this is the last page.
        rows = self._store.page(mapping, source, after, size + 1)
        more = len(rows) > size
        rows = rows[:size]
        next_token = encode_token(mapping, source, rows[-1]) if more else ""
        return rows, next_token, self._store.counts([(mapping, source)])[0]

    def _check_one(self, id: int, field: str) -> None:
        if not id:
            raise InvalidId(f"{field} is 0, which is nobody's id")
        self._owned.check_one(id)

    def _ids(self, packed: bytes, field: str, *, most: int) -> NDArray[np.uint64]:
        ids = unpack_u64(packed, field)
        if ids.size > most:
            raise LimitExceeded(f"{field} holds {ids.size} ids: send {most} at most", limit=most)
        if not ids.all():
            raise InvalidId(f"{field} holds the id 0, which is nobody's", row=int(np.argmin(ids)))
        return ids


def _mapping(
    mappings: dict[apiary_pb2.FollowKind.ValueType, Mapping], kind: apiary_pb2.FollowKind.ValueType
) -> Mapping:
    mapping = mappings.get(kind)
    if mapping is None:
        raise UnknownEnum(f"kind is {kind}: ask for users, boards or interests", kind=kind)
    return mapping


def _limit(asked: int, field: str, *, default: int, most: int) -> int:
    if asked > most:
        raise LimitExceeded(f"{field} is {asked}: ask for {most} at most", limit=most)
    return asked or default


_NO_BOARDS: Final = np.empty(0, dtype=np.uint64)
