"""The calls to Scorpion: split by hosts, joined again, with what did not come said."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.columns.packed import pack_f32, pack_i64, pack_u8, unpack_u64
from services.chassis.errors import FeedmeshError, Unavailable
from services.chassis.rpc.method import Method
from services.chassis.shards.aio import AioRouter
from services.chassis.shards.map import Host
from services.chassis.shards.routing import HostAnswer
from services.feedgen.answers import ScoreAsk, ServedPage
from services.feedgen.candidates import Candidates, popular
from services.feedgen.clients import MeshClients


class TwoScorpions:
    """A router over two hosts, one with the even pins and one with the odd; each can be away."""

    def __init__(self) -> None:
        self.away: set[int] = set()
        self.methods: list[Method[Any, Any]] = []
        self.asked: list[tuple[int, Any]] = []

    async def call(
        self,
        segment: str,
        ids: NDArray[np.uint64],
        method: Method[Any, Any],
        make_request: Any,
        timeout_s: float | None = None,
    ) -> list[HostAnswer[Any]]:
        assert segment == "scorpion"
        self.methods.append(method)
        answers = []
        for host in (0, 1):
            rows = np.flatnonzero(ids % 2 == host)
            if not rows.size:
                continue
            request = make_request(rows)
            self.asked.append((host, request))
            fault: FeedmeshError | None = Unavailable("away") if host in self.away else None
            response = None if fault else _answer(request)
            answers.append(HostAnswer(Host(f"127.0.0.1:{host + 1}", "", ()), rows, response, fault))
        return answers


def _answer(request: Any) -> Any:
    """Each pin's score is its number."""
    if isinstance(request, scorpion_pb2.ScoreRequest):
        return scorpion_pb2.ScoreResponse(
            scores_f32=pack_f32(unpack_u64(request.pins_u64).astype(np.float32)), model="m"
        )
    if isinstance(request, scorpion_pb2.LogServedRequest):
        return scorpion_pb2.LogServedResponse(logged_count=len(request.pins_u64) // 8)
    pins = unpack_u64(request.request.pins_u64).astype(np.float32)
    return scorpion_pb2.ExplainResponse(
        model=request.request.model,
        scores_f32=pack_f32(pins),
        features=[scorpion_pb2.ExplainedFeature(name="number", origin="pin.number", source=0)],
        values_f32=pack_f32(pins),
        defaulted_u8=pack_u8(np.zeros(len(pins), np.uint8)),
        contributions_f64=np.stack([pins + 1, np.full(len(pins), -1)], axis=1).astype("<f8").tobytes(),
        sources=["Rockstore"],
        ages_ms_i64=pack_i64(np.full(len(pins), 10)),
    )


@pytest.fixture
def scorpions() -> TwoScorpions:
    return TwoScorpions()


@pytest.fixture
def mesh(scorpions: TwoScorpions) -> MeshClients:
    return MeshClients(cast(AioRouter, scorpions))


def candidates(count: int) -> Candidates:
    return popular(np.arange(1, count + 1, dtype=np.uint64), np.ones(count, np.float32))


ASK = ScoreAsk(user=7, model="m", now_ms=1_000, log_id=99)


def test_scores_of_both_hosts_are_joined_and_kept_under_one_number(
    mesh: MeshClients, scorpions: TwoScorpions
) -> None:
    scored = asyncio.run(mesh.score(candidates(5), ASK, timeout_s=1))
    assert scored.scores.tolist() == [1, 2, 3, 4, 5]
    assert [request.log_id for _, request in scorpions.asked] == [99, 99]


def test_explanations_of_both_hosts_are_joined(mesh: MeshClients) -> None:
    explained = asyncio.run(mesh.explain(candidates(5), ASK, timeout_s=1))
    scores = {at: score for part in explained.parts for at, score in zip(part.rows, part.scores, strict=True)}
    assert scores == {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}
    assert not explained.missing


def test_explanations_of_one_host_are_given_when_the_other_is_away(
    mesh: MeshClients, scorpions: TwoScorpions
) -> None:
    scorpions.away = {1}
    explained = asyncio.run(mesh.explain(candidates(5), ASK, timeout_s=1))
    assert [part.rows.tolist() for part in explained.parts] == [[1, 3]]
    assert "1 of 2 hosts" in explained.missing


PAGE = ServedPage(
    log_id=99,
    user=7,
    pins=np.array([4, 5, 6], np.uint64),
    positions=np.array([0, 1, 2], np.uint16),
    feed="following",
    request_id="abc",
    served_ms=1_000,
)


def test_each_host_is_told_of_its_own_served_pins_and_never_twice(
    mesh: MeshClients, scorpions: TwoScorpions
) -> None:
    counts = asyncio.run(mesh.log_served(PAGE, timeout_s=1))
    assert (counts.logged, counts.absent, counts.failed) == (3, 0, 0)
    told = {host: unpack_u64(request.pins_u64).tolist() for host, request in scorpions.asked}
    assert told == {0: [4, 6], 1: [5]}
    assert [method.idempotent for method in scorpions.methods] == [False]


def test_served_pins_of_a_host_that_is_away_are_counted(mesh: MeshClients, scorpions: TwoScorpions) -> None:
    scorpions.away = {0}
    counts = asyncio.run(mesh.log_served(PAGE, timeout_s=1))
    assert (counts.logged, counts.failed) == (1, 2)
    scorpions.away = {0, 1}
    with pytest.raises(Unavailable):
        asyncio.run(mesh.log_served(PAGE, timeout_s=1))
