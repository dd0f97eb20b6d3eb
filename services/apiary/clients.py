"""Calls to the other Apiary hosts: the boards of followed owners that live there.

One call per host, all in parallel, within the caller's deadline. A host that does not answer in time makes
the answer partial, never an error; so does one whose columns do not fit the question, as its boards cannot
be told apart.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from feedmesh.apiary.v1 import apiary_pb2
from services.chassis.columns.packed import pack_u64, unpack_u32, unpack_u64
from services.chassis.errors import InvalidColumns
from services.chassis.rpc.method import Method
from services.chassis.shards.router import Router

SEGMENT: Final = "apiary"
GET_OWNED_BOARDS: Final = Method(
    "/feedmesh.apiary.v1.ApiaryService/GetOwnedBoards",
    apiary_pb2.GetOwnedBoardsRequest,
    apiary_pb2.GetOwnedBoardsResponse,
)


class OwnersElsewhere(Protocol):
    """Where boards of owners of other hosts come from."""

    def boards(self, owners: NDArray[np.uint64], *, timeout_s: float) -> list[NDArray[np.uint64] | None]:
        """The boards of each owner, None where the host did not answer. Blocks up to `timeout_s`."""
        ...


class OtherHosts:
    """`OwnersElsewhere` over gRPC."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def boards(self, owners: NDArray[np.uint64], *, timeout_s: float) -> list[NDArray[np.uint64] | None]:
        """See OwnersElsewhere."""

        def request(rows: NDArray[np.intp]) -> apiary_pb2.GetOwnedBoardsRequest:
            return apiary_pb2.GetOwnedBoardsRequest(owners_u64=pack_u64(owners[rows]))

        found: list[NDArray[np.uint64] | None] = [None] * owners.size
        for answer in self._router.call(SEGMENT, owners, GET_OWNED_BOARDS, request, timeout_s):
            if answer.response is None:
                continue
            for row, boards in zip(
                answer.rows.tolist(), _by_owner(answer.response, answer.rows.size), strict=True
            ):
                found[row] = boards
        return found


def _by_owner(
    response: apiary_pb2.GetOwnedBoardsResponse, owner_count: int
) -> list[NDArray[np.uint64] | None]:
    try:
        starts = unpack_u32(response.starts_u32, "starts_u32").astype(np.int64)
        boards = unpack_u64(response.boards_u64, "boards_u64")
    except InvalidColumns:
        return [None] * owner_count
    whole = starts.size == owner_count + 1 and starts[0] == 0 and starts[-1] == boards.size
    if not whole or (np.diff(starts) < 0).any():
        return [None] * owner_count
    return [boards[starts[row] : starts[row + 1]] for row in range(owner_count)]
