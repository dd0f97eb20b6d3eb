"""Typed calls to the other services: the `Mesh` port over gRPC, through the shard router.

Owns the translation between columns and messages, and the joining of several hosts' answers. A caller's
fault that another service finds (a bad token) is raised as it is; hosts that failed otherwise make the
answer partial; it raises only when no host answered. Where next: `answers.py` says what is promised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from feedmesh.aperture.v1 import aperture_pb2
from feedmesh.apiary.v1 import apiary_pb2
from feedmesh.counter.v1 import counter_pb2
from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2
from feedmesh.pixie.v1 import pixie_pb2
from feedmesh.polaris.v1 import polaris_pb2
from feedmesh.realpin.v1 import realpin_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.scorpion.v1 import scorpion_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import (
    pack_u8,
    pack_u64,
    unpack_f32,
    unpack_u64,
)
from services.chassis.errors import BadRequest, TokenAhead
from services.chassis.rpc.method import Method
from services.chassis.shards.aio import AioRouter
from services.chassis.shards.routing import HostAnswer
from services.feedgen.answers import (
    Explained,
    GraphAsk,
    Lists,
    LoggedCounts,
    Objects,
    RetrieveAsk,
    Retrieved,
    ScoreAsk,
    Scored,
    ServedPage,
    Signals,
    UserGraph,
    WalkAsk,
    Walked,
)
from services.feedgen.candidates import Candidates, merged, popular
from services.feedgen.messages.graph import graph_request, signals, user_graph
from services.feedgen.messages.retrieve import retrieve_requests, retrieved
from services.feedgen.messages.score import (
    explained,
    log_served_request,
    logged_counts,
    score_request,
    scored,
)
from services.feedgen.messages.walk import walk_request, walked

Response = TypeVar("Response", bound=Message)

GET_USER_GRAPH: Final = Method(
    "/feedmesh.apiary.v1.ApiaryService/GetUserGraph",
    apiary_pb2.GetUserGraphRequest,
    apiary_pb2.GetUserGraphResponse,
)
GET_SEEN: Final = Method(
    "/feedmesh.aperture.v1.ApertureService/GetSeen", aperture_pb2.GetSeenRequest, aperture_pb2.GetSeenResponse
)
GET_SIGNALS: Final = Method(
    "/feedmesh.realpin.v1.RealPinService/GetSignals",
    realpin_pb2.GetSignalsRequest,
    realpin_pb2.GetSignalsResponse,
)
WALK: Final = Method(
    "/feedmesh.pixie.v1.PixieService/RecommendBoards",
    pixie_pb2.RecommendBoardsRequest,
    pixie_pb2.RecommendBoardsResponse,
)
RETRIEVE: Final = Method(
    "/feedmesh.polaris.v1.PolarisService/Retrieve", polaris_pb2.RetrieveRequest, polaris_pb2.RetrieveResponse
)
GET_TOP: Final = Method(
    "/feedmesh.counter.v1.CounterService/GetTop", counter_pb2.GetTopRequest, counter_pb2.GetTopResponse
)
SCORE: Final = Method(
    "/feedmesh.scorpion.v1.ScorpionService/Score", scorpion_pb2.ScoreRequest, scorpion_pb2.ScoreResponse
)
EXPLAIN: Final = Method(
    "/feedmesh.scorpion.v1.ScorpionService/Explain",
    scorpion_pb2.ExplainRequest,
    scorpion_pb2.ExplainResponse,
)
LOG_SERVED: Final = Method(
    "/feedmesh.scorpion.v1.ScorpionService/LogServed",
    scorpion_pb2.LogServedRequest,
    scorpion_pb2.LogServedResponse,
    idempotent=False,
)
GET_OBJECTS: Final = Method(
    "/feedmesh.rockstore.v1.RockstoreService/GetObjects",
    rockstore_pb2.GetObjectsRequest,
    rockstore_pb2.GetObjectsResponse,
)
PUBLISH: Final = Method(
    "/feedmesh.ingest.v1.IngestService/Publish", ingest_pb2.PublishRequest, ingest_pb2.PublishResponse
)
_ANY_ID: Final = 1
"""Ingest and Pixie have one shard; any id leads there."""


class MeshClients:
    """`answers.Mesh` over gRPC; used on one event loop."""

    def __init__(self, router: AioRouter) -> None:
        self._router = router

    async def user_graph(self, user: int, ask: GraphAsk, *, timeout_s: float) -> UserGraph:
        """Apiary: what the user follows, owns and hides."""
        request = graph_request(user, ask)
        return user_graph(await self._router.call_one("apiary", user, GET_USER_GRAPH, request, timeout_s))

    async def seen_filter(
        self, user: int, *, window_days: int, false_positive_rate: float, timeout_s: float
    ) -> type_pb2.BloomFilter | None:
        """Aperture: the seen set as a filter; None when it is empty."""
        request = aperture_pb2.GetSeenRequest(
            user=user,
            window_days=window_days,
            format=aperture_pb2.SEEN_FORMAT_BLOOM,
            false_positive_rate=false_positive_rate,
        )
        response = await self._router.call_one("aperture", user, GET_SEEN, request, timeout_s)
        return response.bloom if response.pin_count else None

    async def seen_pins(self, user: int, *, window_days: int, timeout_s: float) -> NDArray[np.uint64]:
        """Aperture: the seen set as ids."""
        request = aperture_pb2.GetSeenRequest(
            user=user, window_days=window_days, format=aperture_pb2.SEEN_FORMAT_IDS
        )
        response = await self._router.call_one("aperture", user, GET_SEEN, request, timeout_s)
        return unpack_u64(response.pins_u64)

    async def signals(self, user: int, *, timeout_s: float) -> Signals:
        """RealPin: the user's signals of now."""
        request = realpin_pb2.GetSignalsRequest(user=user)
        return signals(await self._router.call_one("realpin", user, GET_SIGNALS, request, timeout_s))

    async def walk(self, ask: WalkAsk, *, timeout_s: float) -> Walked:
        """Pixie: boards near the query pins. Its replicas are alike: any of them is asked."""
        request = walk_request(ask)
        return walked(await self._router.call_one("pixie", _ANY_ID, WALK, request, timeout_s), ask)

    async def retrieve(self, lists: Lists, ask: RetrieveAsk, *, timeout_s: float) -> Retrieved:
        """Polaris: the best pins of the boards or interests, from all hosts."""
        request_for = retrieve_requests(lists, ask)
        answers = await self._router.call("polaris", lists.ids, RETRIEVE, request_for, timeout_s)
        responses, missing = _came(answers)
        return retrieved(responses, lists, ask, missing)

    async def popular(self, *, counter: str, limit: int, timeout_s: float) -> Candidates:
        """Counter: the most popular pins, from all hosts."""
        request = counter_pb2.GetTopRequest(counter=counter, limit=limit)
        answers = await self._router.call_all("counter", GET_TOP, lambda _: request, timeout_s)
        responses, _ = _came(answers)
        parts = [
            popular(unpack_u64(response.entities_u64), unpack_f32(response.values_f32))
            for response in responses
        ]
        return merged(parts, limit=limit)[0]

    async def score(self, candidates: Candidates, ask: ScoreAsk, *, timeout_s: float) -> Scored:
        """Scorpion: full scores, from all hosts."""

        def request_for(rows: NDArray[np.intp]) -> scorpion_pb2.ScoreRequest:
            return score_request(candidates, rows, ask)

        answers = await self._router.call("scorpion", candidates.pins, SCORE, request_for, timeout_s)
        _, missing = _came(answers)
        return scored(answers, len(candidates), missing)

    async def explain(self, candidates: Candidates, ask: ScoreAsk, *, timeout_s: float) -> Explained:
        """Scorpion: what the scores are made of, from all hosts."""

        def request_for(rows: NDArray[np.intp]) -> scorpion_pb2.ExplainRequest:
            return scorpion_pb2.ExplainRequest(request=score_request(candidates, rows, ask))

        answers = await self._router.call("scorpion", candidates.pins, EXPLAIN, request_for, timeout_s)
        _, missing = _came(answers)
        return explained(answers, missing)

    async def log_served(self, page: ServedPage, *, timeout_s: float) -> LoggedCounts:
        """Scorpion: what was served, to the hosts of its pins.

        A shard with several replicas answers Score on one and may be asked here on another: what the other
        has not kept is counted as absent.
        """

        def request_for(rows: NDArray[np.intp]) -> scorpion_pb2.LogServedRequest:
            return log_served_request(page, rows)

        answers = await self._router.call("scorpion", page.pins, LOG_SERVED, request_for, timeout_s)
        _came(answers)
        return logged_counts(answers)

    async def objects(self, wanted: Mapping[int, Sequence[int]], *, timeout_s: float) -> Objects:
        """Rockstore: objects of several kinds in one batch."""
        ids = np.array([id for kind_ids in wanted.values() for id in kind_ids], np.uint64)
        kinds = np.array([kind for kind, kind_ids in wanted.items() for _ in kind_ids], np.uint8)

        def request_for(rows: NDArray[np.intp]) -> rockstore_pb2.GetObjectsRequest:
            return rockstore_pb2.GetObjectsRequest(ids_u64=pack_u64(ids[rows]), kinds_u8=pack_u8(kinds[rows]))

        answers = await self._router.call("rockstore", ids, GET_OBJECTS, request_for, timeout_s)
        _, missing = _came(answers)
        found = {}
        for answer in answers:
            if answer.response is None:
                continue
            for kind, item in zip(kinds[answer.rows].tolist(), answer.response.objects, strict=True):
                if item.version:
                    found[kind, item.id] = item
        return Objects(found, missing)

    async def publish(self, events: Sequence[event_pb2.Event], timeout_s: float) -> bytes:
        """Ingest: make events durable; their token. Retried on UNAVAILABLE, so every event needs an id."""
        request = ingest_pb2.PublishRequest(events=events)
        response = await self._router.call_one("ingest", _ANY_ID, PUBLISH, request, timeout_s)
        return response.token


def _came(answers: Sequence[HostAnswer[Response]]) -> tuple[list[Response], str]:
    """The responses that came, and for people what did not.

    Raises:
        BadRequest, TokenAhead: a host found the caller at fault.
        FeedmeshError: no host answered; the first one's error.
    """
    responses = [answer.response for answer in answers if answer.response is not None]
    errors = [answer.error for answer in answers if answer.error is not None]
    for error in errors:
        if isinstance(error, (BadRequest, TokenAhead)):
            raise error
    if errors and not responses:
        raise errors[0]
    if not errors:
        return responses, ""
    return responses, f"{len(errors)} of {len(answers)} hosts did not answer: {errors[0]}"
