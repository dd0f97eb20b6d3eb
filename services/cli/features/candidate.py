"""The request that a feed would make for one pin: what Polaris, Apiary and RealPin say of it now.

Asks what the FeedGenerator asks, so that Scorpion is given the same facts. A pin that the board has no more,
or that lies below its best `_LIMIT`, is refused rather than scored without its facts.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from feedmesh.apiary.v1 import apiary_pb2
from feedmesh.polaris.v1 import polaris_pb2
from feedmesh.realpin.v1 import realpin_pb2
from feedmesh.scorpion.v1 import scorpion_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import (
    pack_f32,
    pack_u32,
    pack_u64,
    unpack_f32,
    unpack_u32,
    unpack_u64,
)
from services.chassis.rpc.method import Method
from services.cli.connection import Connection
from services.cli.faults import UsageFault

_FOLLOWED: Final = Method(
    "/feedmesh.apiary.v1.ApiaryService/GetFollowedBoards",
    apiary_pb2.GetFollowedBoardsRequest,
    apiary_pb2.GetFollowedBoardsResponse,
)
_RETRIEVE: Final = Method(
    "/feedmesh.polaris.v1.PolarisService/Retrieve",
    polaris_pb2.RetrieveRequest,
    polaris_pb2.RetrieveResponse,
)
_SIGNALS: Final = Method(
    "/feedmesh.realpin.v1.RealPinService/GetSignals",
    realpin_pb2.GetSignalsRequest,
    realpin_pb2.GetSignalsResponse,
)
_TIMEOUT_S: Final = 10.0
_LIMIT: Final = 10_000
"""Pins of a board that are looked through, as many as Polaris answers at once by default."""
_BOARDS: Final = 10_000
_UNKNOWN_AFFINITY: Final = 1.0
"""As in a feed: of a board that the user does not follow."""


def score_request(
    connection: Connection, *, user: int, pin: int, board: int, signals: tuple[str, ...], model: str = ""
) -> scorpion_pb2.ScoreRequest:
    """One candidate as a feed of this moment would have it; `board` 0: the pin's own.

    Raises UsageFault when the board does not have the pin. Blocks for up to five calls.
    """
    now_ms = time.time_ns() // 1_000_000
    request = scorpion_pb2.ScoreRequest(user=user, model=model, pins_u64=pack_u64([pin]), now_ms=now_ms)
    asked = realpin_pb2.GetSignalsRequest(user=user, names=signals, now_ms=now_ms)
    if signals:
        answer = connection.router.call_one("realpin", user, _SIGNALS, asked, _TIMEOUT_S)
        request.signals.extend(
            scorpion_pb2.UserSignal(name=one.name, ids_u64=one.ids_u64, values_f32=one.values_f32)
            for one in answer.signals
        )
    board = board or _own_board(connection, pin)
    if board:
        _add_facts(connection, request, user=user, pin=pin, board=board)
    return request


def _own_board(connection: Connection, pin: int) -> int:
    found = connection.objects(type_pb2.OBJECT_KIND_PIN, [pin]).get(pin)
    return found.pin.board if found is not None else 0


def _add_facts(
    connection: Connection, request: scorpion_pb2.ScoreRequest, *, user: int, pin: int, board: int
) -> None:
    affinity = _affinity(connection, user=user, board=board)
    found = connection.router.call_one(
        "polaris",
        board,
        _RETRIEVE,
        polaris_pb2.RetrieveRequest(
            boards_u64=pack_u64([board]),
            affinities_f32=pack_f32([affinity]),
            limit=_LIMIT,
            now_ms=request.now_ms,
            order=polaris_pb2.ORDER_LIGHT_SCORE,
        ),
        _TIMEOUT_S,
    )
    rows = np.flatnonzero(unpack_u64(found.pins_u64) == np.uint64(pin))
    if not rows.size:
        raise UsageFault(
            f"board {board} does not have pin {pin}, or not among its best {_LIMIT:,}; name another --board"
        )
    row = int(rows[0])
    owners = unpack_u64(found.hit_owners_u64)
    request.boards_u64 = pack_u64([board])
    request.affinities_f32 = pack_f32([affinity])
    request.light_scores_f32 = pack_f32(unpack_f32(found.scores_f32)[row : row + 1])
    request.saved_at_u32 = pack_u32(unpack_u32(found.saved_at_u32)[row : row + 1])
    request.owners_u64 = pack_u64(owners[:1]) if owners.size else pack_u64([0])


def _affinity(connection: Connection, *, user: int, board: int) -> float:
    followed = connection.router.call_one(
        "apiary",
        user,
        _FOLLOWED,
        apiary_pb2.GetFollowedBoardsRequest(user=user, limit=_BOARDS),
        _TIMEOUT_S,
    )
    rows = np.flatnonzero(unpack_u64(followed.boards_u64) == np.uint64(board))
    affinity = float(unpack_f32(followed.affinities_f32)[rows[0]]) if rows.size else 0.0
    return affinity or _UNKNOWN_AFFINITY
