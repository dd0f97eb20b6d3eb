"""Reads of every service, straight from the hosts that hold the shards: what a test compares with.

Owns no opinion: each method is one RPC (or its pages) as plain Python values. A read that must see a write
is made `after` its token, and is asked again while a replica is not that far: `UNAVAILABLE` says just that.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from feedmesh.aperture.v1 import aperture_pb2
from feedmesh.apiary.v1 import apiary_pb2
from feedmesh.counter.v1 import counter_pb2
from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.pixie.v1 import pixie_pb2
from feedmesh.polaris.v1 import polaris_pb2
from feedmesh.realpin.v1 import realpin_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.scorpion.v1 import scorpion_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import pack_u64, unpack_f32, unpack_u8, unpack_u16, unpack_u64
from services.chassis.errors import Unavailable
from services.chassis.log.token import Token
from services.chassis.rpc.method import Method
from services.chassis.shards.routing import raise_first_error
from services.cli.connection import Connection, reading_after

T = TypeVar("T")
Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

TIMEOUT_S: Final = 5.0
_KINDS: Final = {
    "user": apiary_pb2.FOLLOW_KIND_USER,
    "board": apiary_pb2.FOLLOW_KIND_BOARD,
    "interest": apiary_pb2.FOLLOW_KIND_INTEREST,
}


def method(
    service: str, name: str, request: type[Request], response: type[Response]
) -> Method[Request, Response]:
    """An RPC by its full service name."""
    return Method(f"/{service}/{name}", request, response)


_APIARY: Final = "feedmesh.apiary.v1.ApiaryService"
_APERTURE: Final = "feedmesh.aperture.v1.ApertureService"
FOLLOWED_BOARDS: Final = method(
    _APIARY, "GetFollowedBoards", apiary_pb2.GetFollowedBoardsRequest, apiary_pb2.GetFollowedBoardsResponse
)
CHECK_FOLLOWS: Final = method(
    _APIARY, "CheckFollows", apiary_pb2.CheckFollowsRequest, apiary_pb2.CheckFollowsResponse
)
FOLLOWERS: Final = method(
    _APIARY, "ListFollowers", apiary_pb2.ListFollowersRequest, apiary_pb2.ListFollowersResponse
)
FOLLOWING: Final = method(
    _APIARY, "ListFollowing", apiary_pb2.ListFollowingRequest, apiary_pb2.ListFollowingResponse
)
LIST_PINS: Final = method(
    "feedmesh.polaris.v1.PolarisService",
    "ListPins",
    polaris_pb2.ListPinsRequest,
    polaris_pb2.ListPinsResponse,
)
RETRIEVE: Final = method(
    "feedmesh.polaris.v1.PolarisService",
    "Retrieve",
    polaris_pb2.RetrieveRequest,
    polaris_pb2.RetrieveResponse,
)
SEEN: Final = method(_APERTURE, "GetSeen", aperture_pb2.GetSeenRequest, aperture_pb2.GetSeenResponse)
HISTORY: Final = method(
    _APERTURE, "GetHistory", aperture_pb2.GetHistoryRequest, aperture_pb2.GetHistoryResponse
)
COUNT_ACTIONS: Final = method(
    _APERTURE, "CountActions", aperture_pb2.CountActionsRequest, aperture_pb2.CountActionsResponse
)
SIGNALS: Final = method(
    "feedmesh.realpin.v1.RealPinService",
    "GetSignals",
    realpin_pb2.GetSignalsRequest,
    realpin_pb2.GetSignalsResponse,
)
COUNTS: Final = method(
    "feedmesh.counter.v1.CounterService",
    "GetCounts",
    counter_pb2.GetCountsRequest,
    counter_pb2.GetCountsResponse,
)
TOP: Final = method(
    "feedmesh.counter.v1.CounterService", "GetTop", counter_pb2.GetTopRequest, counter_pb2.GetTopResponse
)
OBJECTS: Final = method(
    "feedmesh.rockstore.v1.RockstoreService",
    "GetObjects",
    rockstore_pb2.GetObjectsRequest,
    rockstore_pb2.GetObjectsResponse,
)
SCORE: Final = method(
    "feedmesh.scorpion.v1.ScorpionService",
    "Score",
    scorpion_pb2.ScoreRequest,
    scorpion_pb2.ScoreResponse,
)
MODELS: Final = method(
    "feedmesh.scorpion.v1.ScorpionService",
    "ListModels",
    scorpion_pb2.ListModelsRequest,
    scorpion_pb2.ListModelsResponse,
)

RECOMMEND_PINS: Final = method(
    "feedmesh.pixie.v1.PixieService",
    "RecommendPins",
    pixie_pb2.RecommendPinsRequest,
    pixie_pb2.RecommendPinsResponse,
)

SERVICE_METHODS: Final = {
    "ingest": "/feedmesh.ingest.v1.IngestService/Publish",
    "apiary": FOLLOWED_BOARDS.path,
    "polaris": RETRIEVE.path,
    "aperture": SEEN.path,
    "realpin": SIGNALS.path,
    "counter": COUNTS.path,
    "rockstore": OBJECTS.path,
    "scorpion": SCORE.path,
    "pixie": RECOMMEND_PINS.path,
    "feedgen": "/feedmesh.feedgen.v1.FeedGeneratorService/GetFeed",
}
"""One method of each service, by the service's name."""


def merged(*tokens: bytes) -> bytes:
    """One token that waits for all."""
    whole, *others = [Token.decode(token) for token in tokens]
    for other in others:
        whole = whole.merge(other)
    return whole.encode()


def eventually(call: Callable[[], T], *, timeout_s: float = 20.0) -> T:
    """`call` until it does not raise Unavailable."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def wait_until(claim: Callable[[], bool], what: str, *, timeout_s: float = 20.0) -> None:
    """Wait until `claim` holds."""
    until = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < until, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.05)


@dataclass
class Views:
    """The stores of a mesh, read over one connection from one thread."""

    connection: Connection
    after: bytes = b""
    """Every read sees what this token's events wrote."""

    def ask(self, segment: str, id: int, method: Method[Request, Response], request: Request) -> Response:
        """One RPC to the host of `id`."""

        def call() -> Response:
            with reading_after(self.after):
                return self.connection.router.call_one(segment, id, method, request, TIMEOUT_S)

        return eventually(call)

    def followed_boards(self, user: int) -> list[int]:
        """Boards whose pins the user gets."""
        request = apiary_pb2.GetFollowedBoardsRequest(user=user)
        return _ids(self.ask("apiary", user, FOLLOWED_BOARDS, request).boards_u64)

    def followers(self, kind: str, target: int) -> tuple[set[int], int]:
        """Who follows the target, and Apiary's own count of them."""
        users: list[int] = []
        page_token = ""
        while True:
            request = apiary_pb2.ListFollowersRequest(
                kind=_KINDS[kind], target=target, page_size=1_000, page_token=page_token
            )
            page = self.ask("apiary", target, FOLLOWERS, request)
            users += _ids(page.users_u64)
            page_token = page.next_page_token
            if not page_token:
                break
        assert len(users) == len(set(users)), "a follower is listed twice"
        return set(users), page.total_count

    def following(self, kind: str, user: int) -> tuple[set[int], int]:
        """What the user follows, and Apiary's own count of it."""
        request = apiary_pb2.ListFollowingRequest(user=user, kind=_KINDS[kind], page_size=1_000)
        page = self.ask("apiary", user, FOLLOWING, request)
        targets = _ids(page.targets_u64)
        assert not page.next_page_token, "more than a page; the test must read on"
        assert len(targets) == len(set(targets)), "a target is listed twice"
        return set(targets), page.total_count

    def pins(self, board: int, *, of_interest: bool = False) -> tuple[set[int], int]:
        """Pins of a board, or of an interest, and Polaris's own count of them."""
        kind = polaris_pb2.LIST_KIND_INTEREST if of_interest else polaris_pb2.LIST_KIND_BOARD
        request = polaris_pb2.ListPinsRequest(board=board, limit=10_000, kind=kind)
        answer = self.ask("polaris", board, LIST_PINS, request)
        pins = _ids(answer.pins_u64)
        assert len(pins) == len(set(pins)), "a pin is listed twice"
        return set(pins), answer.total_count

    def seen(self, user: int) -> set[int]:
        """The user's seen set."""
        request = aperture_pb2.GetSeenRequest(user=user, format=aperture_pb2.SEEN_FORMAT_IDS)
        return set(_ids(self.ask("aperture", user, SEEN, request).pins_u64))

    def history(self, user: int) -> Counter[tuple[int, int]]:
        """How often each (pin, action) stands in the user's history."""
        request = aperture_pb2.GetHistoryRequest(user=user, limit=10_000)
        answer = self.ask("aperture", user, HISTORY, request)
        pins = _ids(answer.pins_u64)
        assert len(pins) < 10_000, "more than the limit; the test must use more users"
        return Counter(zip(pins, unpack_u8(answer.types_u8).tolist(), strict=True))

    def action_counts(
        self, user: int, entities: Sequence[int], types: Sequence[type_pb2.ActionType.ValueType]
    ) -> NDArray[np.uint16]:
        """Of the last day: uint16 of shape (entity, action)."""
        request = aperture_pb2.CountActionsRequest(
            user=user, entities_u64=_packed(entities), types=types, window_days=[1]
        )
        answer = self.ask("aperture", user, COUNT_ACTIONS, request)
        return unpack_u16(answer.counts_u16).reshape(len(entities), len(types))

    def signal(self, user: int, name: str) -> dict[int, float]:
        """One signal of a user: value by id."""
        request = realpin_pb2.GetSignalsRequest(user=user, names=[name])
        (signal,) = self.ask("realpin", user, SIGNALS, request).signals
        return dict(zip(_ids(signal.ids_u64), unpack_f32(signal.values_f32).tolist(), strict=True))

    def counts(self, pins: Sequence[int], counters: Sequence[str]) -> NDArray[np.float16]:
        """float16 of shape (pin, counter)."""
        wanted = np.array(pins, np.uint64)

        def call() -> NDArray[np.float16]:
            with reading_after(self.after):
                answers = self.connection.router.call(
                    "counter",
                    wanted,
                    COUNTS,
                    lambda rows: counter_pb2.GetCountsRequest(
                        entities_u64=pack_u64(wanted[rows]), counters=counters
                    ),
                    TIMEOUT_S,
                )
            raise_first_error(answers)
            matrix = np.zeros((len(wanted), len(counters)), np.float16)
            for answer in answers:
                matrix[answer.rows] = np.frombuffer(answer.get().counts_f16, "<f2").reshape(-1, len(counters))
            return matrix

        return eventually(call)

    def objects(self, kind: type_pb2.ObjectKind.ValueType, ids: Sequence[int]) -> dict[int, Any]:
        """Objects that are there, by id."""

        def call() -> dict[int, Any]:
            with reading_after(self.after):
                return dict(self.connection.objects(kind, ids))

        return eventually(call)

    def feed(self, user: int, **asked: Any) -> feedgen_pb2.GetFeedResponse:
        """One page; newest first unless asked for otherwise."""
        asked.setdefault("ranking", feedgen_pb2.RANKING_NEWEST)
        with reading_after(self.after):
            return self.connection.feed(feedgen_pb2.GetFeedRequest(user=user, **asked))


def pins_of(page: feedgen_pb2.GetFeedResponse) -> list[int]:
    """The page's pins in order."""
    return [item.pin for item in page.items]


def stages_of(page: feedgen_pb2.GetFeedResponse) -> dict[str, str]:
    """How complete each stage was, in lower case."""
    return {
        stage.stage: feedgen_pb2.StageStatus.Name(stage.status).removeprefix("STAGE_STATUS_").lower()
        for stage in page.stages
    }


def _ids(data: bytes) -> list[int]:
    return [int(value) for value in unpack_u64(data)]


def _packed(ids: Sequence[int]) -> bytes:
    return pack_u64(np.array(ids, np.uint64))
