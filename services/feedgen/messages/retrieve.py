"""Polaris' messages: a request for each host, and all hosts' answers joined to candidates.

Owns what a list's row becomes: of a board, the candidate's board, owner and follow; of an interest, the
candidate's interest alone, since the same pin is on many boards. Refuses answers about lists that were not
asked for (DataLoss). Calls nothing: `clients.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from feedmesh.polaris.v1 import polaris_pb2
from services.chassis.columns.packed import (
    pack_f32,
    pack_u64,
    unpack_f32,
    unpack_u16,
    unpack_u32,
    unpack_u64,
)
from services.chassis.errors import DataLoss
from services.feedgen.answers import Lists, RetrieveAsk, Retrieved
from services.feedgen.candidates import Candidates, candidates_of, merged


def retrieve_requests(
    lists: Lists, ask: RetrieveAsk
) -> Callable[[NDArray[np.intp]], polaris_pb2.RetrieveRequest]:
    """Makes the request for the host of some of the lists."""
    shared = polaris_pb2.RetrieveRequest(
        seen=ask.seen,
        excluded_pins_u64=pack_u64(ask.excluded_pins),
        limit=ask.limit,
        saved_after_ms=ask.saved_after_ms,
        saved_before_ms=ask.saved_before_ms,
        now_ms=ask.now_ms,
        order=polaris_pb2.ORDER_NEWEST if ask.newest_first else polaris_pb2.ORDER_LIGHT_SCORE,
        kind=polaris_pb2.LIST_KIND_INTEREST if lists.are_interests else polaris_pb2.LIST_KIND_BOARD,
    )

    def request_for(rows: NDArray[np.intp]) -> polaris_pb2.RetrieveRequest:
        request = polaris_pb2.RetrieveRequest()
        request.CopyFrom(shared)
        request.boards_u64 = pack_u64(lists.ids[rows])
        request.affinities_f32 = pack_f32(lists.affinities[rows])
        return request

    return request_for


def retrieved(
    responses: Sequence[polaris_pb2.RetrieveResponse], lists: Lists, ask: RetrieveAsk, missing: str
) -> Retrieved:
    """The candidates of all hosts that answered. Raises DataLoss."""
    funnel: dict[str, int] = {}
    for response in responses:
        for field, value in response.funnel.ListFields():
            name = field.name.removesuffix("_count")
            funnel[name] = funnel.get(name, 0) + value
    parts = [_candidates(response, lists) for response in responses]
    if ask.newest_first:
        candidates, duplicates = _newest(parts, ask.limit)
    else:
        candidates, duplicates = merged(parts, limit=ask.limit)
    funnel["duplicate"] = funnel.get("duplicate", 0) + duplicates
    known_count = sum(response.funnel.known_board_count for response in responses)
    return Retrieved(candidates, {**funnel, "kept": len(candidates)}, known_count, missing)


def _candidates(response: polaris_pb2.RetrieveResponse, lists: Lists) -> Candidates:
    """One host's columns, with what the user's graph knows of each list."""
    rows = unpack_u16(response.board_rows_u16)
    hits = unpack_u64(response.hit_boards_u64)
    place = np.searchsorted(lists.ids, hits)
    if len(rows) and (int(rows.max()) >= len(hits) or int(place.max()) >= len(lists)):
        raise DataLoss("Polaris answered boards that were not asked for")
    pins, light = unpack_u64(response.pins_u64), unpack_f32(response.scores_f32)
    saved_at, affinities = unpack_u32(response.saved_at_u32), lists.affinities[place][rows]
    if lists.are_interests:
        return candidates_of(pins, light, saved_at=saved_at, affinities=affinities, interests=hits[rows])
    return candidates_of(
        pins,
        light,
        saved_at=saved_at,
        boards=hits[rows],
        owners=unpack_u64(response.hit_owners_u64)[rows],
        affinities=affinities,
        via=lists.owners[place][rows],
    )


def _newest(parts: list[Candidates], limit: int) -> tuple[Candidates, int]:
    """Several hosts' candidates, newest first; ties by pin id."""
    together, duplicates = merged(parts, limit=sum(len(part) for part in parts))
    order = np.lexsort((together.pins, -together.saved_at.astype(np.int64)))
    return together.take(order[:limit]), duplicates
