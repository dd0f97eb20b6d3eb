"""Pixie's messages: what is asked of a walk, and what it found, as columns by id.

Refuses columns that do not belong together (DataLoss). Calls nothing: `clients.py` does.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from feedmesh.pixie.v1 import pixie_pb2
from services.chassis.columns.packed import (
    pack_f32,
    pack_u64,
    unpack_f32,
    unpack_u16,
    unpack_u32,
    unpack_u64,
)
from services.chassis.errors import DataLoss
from services.feedgen.answers import WalkAsk, Walked


def walk_request(ask: WalkAsk) -> pixie_pb2.RecommendBoardsRequest:
    """Asks for the boards that a walk visits, and for the pins of the same walk."""
    settings = pixie_pb2.WalkSettings(step_count=ask.step_count) if ask.step_count else None
    return pixie_pb2.RecommendBoardsRequest(
        walk=pixie_pb2.Walk(
            query_pins_u64=pack_u64(ask.pins),
            weights_f32=pack_f32(ask.weights),
            preset=ask.preset,
            settings=settings,
            seed=ask.seed,
            preferred=ask.preferred,
        ),
        limit=ask.boards_max,
        excluded_boards_u64=pack_u64(ask.excluded_boards),
        reasons_max=ask.reasons_max,
        pins_limit=ask.pins_max,
    )


def walked(response: pixie_pb2.RecommendBoardsResponse, ask: WalkAsk) -> Walked:
    """What the walk found. Raises DataLoss."""
    boards, scores = unpack_u64(response.boards_u64), unpack_f32(response.scores_f32)
    visits = unpack_u32(response.visits_u32)
    pins, pin_visits = unpack_u64(response.pins_u64), unpack_u32(response.pin_visits_u32)
    if not len(boards) == len(scores) == len(visits) or len(pins) != len(pin_visits):
        raise DataLoss("Pixie answered columns that are not aligned")
    order, pin_order = np.argsort(boards), np.argsort(pins)
    return Walked(
        boards=boards[order],
        scores=scores[order],
        visits=visits[order],
        pins=pins[pin_order],
        pin_visits=pin_visits[pin_order].astype(np.float32),
        led_from=_led_from(response.reasons, ask, boards.tolist()),
        graph_version=response.report.graph_version,
    )


def _led_from(
    reasons: pixie_pb2.Reasons, ask: WalkAsk, boards: list[int]
) -> dict[int, list[tuple[int, int]]]:
    """By board: (query pin, visits)."""
    starts = unpack_u32(reasons.starts_u32).tolist()
    rows, visits = unpack_u16(reasons.query_rows_u16), unpack_u32(reasons.visits_u32)
    if not starts:
        return {}
    if len(starts) != len(boards) + 1 or starts[-1] > len(rows) or len(rows) != len(visits):
        raise DataLoss("Pixie answered reasons that do not fit its boards")
    if len(rows) and int(rows.max()) >= len(ask.pins):
        raise DataLoss("Pixie answered reasons that were not asked for")
    pairs = list(zip(ask.pins[rows].tolist(), visits.tolist(), strict=True))
    return {board: pairs[at:end] for board, (at, end) in zip(boards, pairwise(starts), strict=True)}
