"""Scorpion's messages: what is asked of each host, and answers of several hosts as columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.columns.packed import (
    pack_f32,
    pack_i64,
    pack_u8,
    unpack_f32,
    unpack_u16,
    unpack_u64,
)
from services.chassis.errors import DataLoss, Unavailable
from services.chassis.shards.map import Host
from services.chassis.shards.routing import HostAnswer
from services.feedgen.answers import ScoreAsk, ServedPage
from services.feedgen.candidates import popular
from services.feedgen.messages.score import (
    explained,
    log_served_request,
    logged_counts,
    score_request,
    scored,
)

HOST = Host("127.0.0.1:1", "", ())
AWAY = Unavailable("away")


def score_answer(
    rows: list[int], model: str, *, defaulted: int = 0
) -> HostAnswer[scorpion_pb2.ScoreResponse]:
    response = scorpion_pb2.ScoreResponse(
        scores_f32=pack_f32(np.array(rows, np.float32) / 2), model=model, defaulted_count=defaulted
    )
    return HostAnswer(HOST, np.array(rows, np.intp), response, None)


def explain_response(count: int, *, first: int = 0) -> scorpion_pb2.ExplainResponse:
    """Features `saves` (from `Counter`) and `light_score` (from the request), which say who is who."""
    values = np.arange(first, first + count, dtype=np.float32)
    contributions = np.stack([values + 0.5, values - 0.5, np.full(count, -1.0)], axis=1)
    return scorpion_pb2.ExplainResponse(
        model="fake",
        scores_f32=pack_f32(values * 2 - 1),
        features=[
            scorpion_pb2.ExplainedFeature(name="saves", origin="count.saves", source=1),
            scorpion_pb2.ExplainedFeature(name="light_score", origin="candidate.light_score", source=0),
        ],
        values_f32=pack_f32(np.stack([values, values * 10], axis=1)),
        defaulted_u8=pack_u8(np.tile(np.array([[1, 0]], np.uint8), (count, 1))),
        contributions_f64=contributions.astype("<f8").tobytes(),
        sources=["request", "Counter"],
        ages_ms_i64=pack_i64(np.stack([np.zeros(count, np.int64), np.arange(count)], axis=1)),
    )


@settings(deadline=None)
@given(st.permutations(range(7)), st.integers(1, 6))
def test_scores_of_several_hosts_stand_at_their_candidates(order: list[int], cut: int) -> None:
    result = scored([score_answer(order[:cut], "a"), score_answer(order[cut:], "a")], 7, "")
    assert result.scores.tolist() == [row / 2 for row in range(7)]
    assert result.present.all()
    assert (result.model, result.missing) == ("a", "")


def test_scores_of_two_models_do_not_mix() -> None:
    result = scored([score_answer([0, 3], "old"), score_answer([1, 2, 4], "new")], 5, "")
    assert result.model == "new"
    assert result.present.tolist() == [False, True, True, False, True]
    assert "swapping" in result.missing


def test_candidates_without_stored_features_make_the_scores_partial() -> None:
    assert "2 candidates" in scored([score_answer([0, 1], "a", defaulted=2)], 2, "").missing


def test_a_host_is_asked_for_its_rows_with_what_is_known_of_them() -> None:
    candidates = popular(np.arange(1, 6, dtype=np.uint64), np.arange(5, dtype=np.float32))
    request = score_request(candidates, np.array([1, 4]), ScoreAsk(7, "m", 1_000, log_id=5))
    assert unpack_u64(request.pins_u64).tolist() == [2, 5]
    assert unpack_f32(request.light_scores_f32).tolist() == [1, 4]
    assert (request.user, request.model, request.now_ms, request.log_id) == (7, "m", 1_000, 5)


def test_explanations_keep_their_rows_and_each_feature_has_the_age_of_its_source() -> None:
    answers = [
        HostAnswer(HOST, np.array([0, 2]), explain_response(2), None),
        HostAnswer(HOST, np.array([1]), None, AWAY),
        HostAnswer(HOST, np.array([3]), explain_response(1, first=9), None),
    ]
    result = explained(answers, "1 of 3 hosts did not answer")
    first, second = result.parts
    assert (first.rows.tolist(), second.rows.tolist()) == ([0, 2], [3])
    assert first.names == ["saves", "light_score"]
    assert first.values.tolist() == [[0, 0], [1, 10]]
    assert first.defaulted.tolist() == [[True, False], [True, False]]
    assert first.ages_ms.tolist() == [[0, 0], [1, 0]]
    np.testing.assert_allclose(second.contributions.sum(axis=1), second.scores)
    assert result.missing == "1 of 3 hosts did not answer"


@pytest.mark.parametrize(
    "damage",
    [
        {"contributions_f64": b"\0" * 8},
        {"contributions_f64": b"\0" * 47},
        {"values_f32": b"\0" * 4},
        {"defaulted_u8": b""},
        {"ages_ms_i64": b"\0" * 8},
        {"scores_f32": b""},
        {"sources": ["request"]},
    ],
    ids=lambda damage: f"{next(iter(damage))} of {len(next(iter(damage.values())))}",
)
def test_columns_that_do_not_belong_together_are_refused(damage: dict[str, object]) -> None:
    response = explain_response(2)
    for field, value in damage.items():
        response.ClearField(field)  # type: ignore[arg-type]
        response.MergeFrom(scorpion_pb2.ExplainResponse(**{field: value}))  # type: ignore[arg-type]
    with pytest.raises(DataLoss):
        explained([HostAnswer(HOST, np.array([0, 1]), response, None)], "")


def test_each_host_is_told_of_its_own_pins() -> None:
    page = ServedPage(
        log_id=5,
        user=7,
        pins=np.array([10, 20, 30], np.uint64),
        positions=np.array([0, 1, 4], np.uint16),
        feed="following",
        request_id="abc",
        served_ms=1_000,
    )
    request = log_served_request(page, np.array([0, 2]))
    assert unpack_u64(request.pins_u64).tolist() == [10, 30]
    assert unpack_u16(request.positions_u16).tolist() == [0, 4]
    assert (request.log_id, request.user, request.feed) == (5, 7, "following")
    assert (request.request_id, request.served_ms) == ("abc", 1_000)


def test_what_became_of_served_rows_is_added_up_over_the_hosts() -> None:
    answers = [
        HostAnswer(HOST, np.arange(5), scorpion_pb2.LogServedResponse(logged_count=4, absent_count=1), None),
        HostAnswer(HOST, np.arange(3), None, AWAY),
        HostAnswer(HOST, np.arange(2), scorpion_pb2.LogServedResponse(logged_count=2), None),
    ]
    counts = logged_counts(answers)
    assert (counts.logged, counts.absent, counts.failed) == (6, 1, 3)
