"""The gRPC adapter of Polaris: requests to a query, columns back.

Refuses at the door: id 0, ragged or overlong columns, affinities that are not positive and finite, unknown
orders and kinds, boards of other hosts. A board that is not known is no error: it counts in the funnel.
Times travel in milliseconds and are kept in whole seconds, so windows are cut to seconds.
Next: `retrieval.py`.
"""

from __future__ import annotations

from typing import Final

import grpc
import numpy as np
from numpy.typing import NDArray

from feedmesh.polaris.v1 import polaris_pb2, polaris_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.columns.bloom import BloomFilter
from services.chassis.columns.packed import (
    check_equal_lengths,
    pack_f32,
    pack_u16,
    pack_u32,
    pack_u64,
    unpack_f32,
    unpack_u64,
)
from services.chassis.errors import BadRequest, InvalidId, LimitExceeded, UnknownEnum
from services.chassis.shards.owned import OwnedShards
from services.polaris.config import PolarisConfig
from services.polaris.light_score import SAVED_AT_MAX
from services.polaris.lists import Lists, PinLists
from services.polaris.metrics import PolarisMetrics
from services.polaris.retrieval import Query, Retrieved, no_filters, retrieve
from services.polaris.retrieval_kernels import (
    DUPLICATE,
    FLAGS,
    KNOWN_BOARDS,
    OUTSIDE_WINDOW,
    PINS,
    SEEN,
    TOUCHED,
    Filters,
)

_ORDERS: Final = frozenset(
    (polaris_pb2.ORDER_UNSPECIFIED, polaris_pb2.ORDER_LIGHT_SCORE, polaris_pb2.ORDER_NEWEST)
)


class PolarisServicer(polaris_pb2_grpc.PolarisServiceServicer):
    """Answers reads from the arenas; keeps no state of its own."""

    def __init__(
        self,
        lists: Lists,
        metrics: PolarisMetrics,
        *,
        config: PolarisConfig,
        owned: OwnedShards,
        clock: Clock,
    ) -> None:
        self._lists: dict[int, PinLists] = {
            polaris_pb2.LIST_KIND_UNSPECIFIED: lists.boards,
            polaris_pb2.LIST_KIND_BOARD: lists.boards,
            polaris_pb2.LIST_KIND_INTEREST: lists.interests,
        }
        self._metrics = metrics
        self._config = config
        self._owned = owned
        self._clock = clock

    def Retrieve(
        self, request: polaris_pb2.RetrieveRequest, context: grpc.ServicerContext
    ) -> polaris_pb2.RetrieveResponse:
        """The best pins of many boards, or interests."""
        lists = self._of_kind(request.kind)
        boards = self._boards(request.boards_u64)
        if request.order not in _ORDERS:
            raise UnknownEnum(f"order is {request.order}: ask for one that this version knows")
        query = Query(
            boards=boards,
            log2_affinities=_log2_affinities(request.affinities_f32, boards),
            filters=self._filters(request),
            limit=_limit(request.limit, default=self._config.limit_default, most=self._config.limit_max),
            now_ms=_time(request.now_ms, "now_ms") or self._clock.now_ms(),
            newest_first=request.order == polaris_pb2.ORDER_NEWEST,
        )
        found = retrieve(lists.arena, query, lists.scale)
        self._count(lists.kind, found, board_count=boards.size)
        return _response(found, board_count=boards.size)

    def ListPins(
        self, request: polaris_pb2.ListPinsRequest, context: grpc.ServicerContext
    ) -> polaris_pb2.ListPinsResponse:
        """Pins of one board or interest, best key first; one that is not known has none."""
        lists = self._of_kind(request.kind)
        if not request.board:
            raise InvalidId("board is 0, which is nobody's id")
        self._owned.check_one(request.board)
        limit = _limit(request.limit, default=self._config.list_default, most=self._config.list_max)
        found = lists.arena.board_pins(request.board, limit=limit)
        if found is None:
            return polaris_pb2.ListPinsResponse()
        return polaris_pb2.ListPinsResponse(
            pins_u64=pack_u64(found.ids),
            saved_at_u32=pack_u32(found.saved_at),
            qualities_f32=pack_f32(lists.scale.qualities(keys=found.keys, saved_at=found.saved_at)),
            owner=found.owner,
            total_count=found.total_count,
        )

    def _of_kind(self, kind: int) -> PinLists:
        lists = self._lists.get(kind)
        if lists is None:
            raise UnknownEnum(f"kind is {kind}: ask for one that this version knows")
        return lists

    def _boards(self, packed: bytes) -> NDArray[np.uint64]:
        boards = unpack_u64(packed, "boards_u64")
        if boards.size > self._config.boards_max:
            raise LimitExceeded(
                f"{boards.size} boards in one request: ask for {self._config.boards_max} at most",
                limit=self._config.boards_max,
            )
        if not boards.all():
            raise InvalidId("boards_u64 holds the id 0, which is nobody's", row=int(np.argmin(boards)))
        self._owned.check(boards)
        return boards

    def _filters(self, request: polaris_pb2.RetrieveRequest) -> Filters:
        filters = no_filters()._replace(
            after=np.uint32(_seconds(request.saved_after_ms, "saved_after_ms")),
            required=np.uint32(request.required_flags),
            forbidden=np.uint32(request.forbidden_flags),
        )
        if request.saved_before_ms:
            filters = filters._replace(before=np.uint32(_seconds(request.saved_before_ms, "saved_before_ms")))
        if request.excluded_pins_u64:
            filters = filters._replace(excluded=self._excluded(request.excluded_pins_u64))
        if request.HasField("seen"):
            seen = request.seen
            bloom = BloomFilter.from_parts(
                bits=seen.bits,
                hash_count=seen.hash_count,
                seed=seen.seed,
                item_count=seen.item_count,
                bytes_max=self._config.bloom_bytes_max,
            )
            filters = filters._replace(
                bits=bloom.bits, hash_count=bloom.hash_count, seed=np.uint64(bloom.seed)
            )
        return filters

    def _excluded(self, packed: bytes) -> NDArray[np.uint64]:
        excluded = unpack_u64(packed, "excluded_pins_u64")
        if excluded.size > self._config.excluded_max:
            raise LimitExceeded(
                f"{excluded.size} excluded pins: name {self._config.excluded_max} at most, or send a filter",
                limit=self._config.excluded_max,
            )
        return np.sort(excluded)

    def _count(self, kind: str, found: Retrieved, *, board_count: int) -> None:
        funnel = found.funnel.tolist()
        self._metrics.retrieved(
            kind,
            board_count=board_count,
            known_count=funnel[KNOWN_BOARDS],
            touched_count=funnel[TOUCHED],
            answered_count=found.pins.size,
            window_count=funnel[OUTSIDE_WINDOW],
            flags_count=funnel[FLAGS],
            seen_count=funnel[SEEN],
            duplicate_count=funnel[DUPLICATE],
        )


def _response(found: Retrieved, *, board_count: int) -> polaris_pb2.RetrieveResponse:
    funnel = found.funnel.tolist()
    return polaris_pb2.RetrieveResponse(
        pins_u64=pack_u64(found.pins),
        scores_f32=pack_f32(found.scores),
        saved_at_u32=pack_u32(found.saved_at),
        board_rows_u16=pack_u16(found.board_rows),
        hit_boards_u64=pack_u64(found.hit_boards),
        hit_owners_u64=pack_u64(found.hit_owners),
        funnel=polaris_pb2.RetrieveFunnel(
            board_count=board_count,
            known_board_count=funnel[KNOWN_BOARDS],
            pin_count=funnel[PINS],
            touched_count=funnel[TOUCHED],
            outside_window_count=funnel[OUTSIDE_WINDOW],
            flags_count=funnel[FLAGS],
            seen_count=funnel[SEEN],
            duplicate_count=funnel[DUPLICATE],
        ),
    )


def _log2_affinities(packed: bytes, boards: NDArray[np.uint64]) -> NDArray[np.float64]:
    if not packed:
        return np.zeros(boards.size, dtype=np.float64)
    affinities = unpack_f32(packed, "affinities_f32")
    check_equal_lengths(boards_u64=boards, affinities_f32=affinities)
    valid = (affinities > 0) & np.isfinite(affinities)
    if not valid.all():
        row = int(np.argmin(valid))
        raise BadRequest(
            f"affinities_f32 holds {affinities[row]} in row {row}: must be over 0 and finite", row=row
        )
    return np.log2(affinities.astype(np.float64))


def _limit(asked: int, *, default: int, most: int) -> int:
    if asked > most:
        raise LimitExceeded(f"limit is {asked}: ask for {most} at most", limit=most)
    return asked or default


def _time(time_ms: int, field: str) -> int:
    if time_ms < 0:
        raise BadRequest(f"{field} is {time_ms}: must be 0 or milliseconds since 1970")
    return time_ms


def _seconds(time_ms: int, field: str) -> int:
    return min(_time(time_ms, field) // 1000, SAVED_AT_MAX)
