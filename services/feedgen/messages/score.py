"""Scorpion's messages: made of columns, a request for each host, and all hosts' answers joined to columns.

Owns what is special to scores: raw scores of two models do not mix, so while hosts swap models the answers
of the fewer candidates are left out. Refuses answers whose columns do not belong together (DataLoss).
Calls nothing: `clients.py` does. Next: `answers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.columns.packed import (
    pack_f32,
    pack_u16,
    pack_u32,
    pack_u64,
    unpack_f32,
    unpack_i64,
    unpack_u8,
)
from services.chassis.errors import DataLoss
from services.chassis.shards.routing import HostAnswer
from services.feedgen.answers import Explained, ExplainedRows, LoggedCounts, ScoreAsk, Scored, ServedPage
from services.feedgen.candidates import Candidates


def score_request(candidates: Candidates, rows: NDArray[np.intp], ask: ScoreAsk) -> scorpion_pb2.ScoreRequest:
    """Asks one host for the scores of some of the candidates."""
    part = candidates if len(rows) == len(candidates) else candidates.take(rows)
    return scorpion_pb2.ScoreRequest(
        user=ask.user,
        model=ask.model,
        pins_u64=pack_u64(part.pins),
        light_scores_f32=pack_f32(part.light),
        saved_at_u32=pack_u32(part.saved_at),
        boards_u64=pack_u64(part.boards),
        owners_u64=pack_u64(part.owners),
        affinities_f32=pack_f32(part.affinities),
        signals=ask.signals,
        now_ms=ask.now_ms,
        log_id=ask.log_id,
        columns=_walk_columns(part),
    )


def _walk_columns(part: Candidates) -> list[scorpion_pb2.CandidateColumn]:
    """What a walk knows of the candidates; nothing where none walked."""
    if np.isnan(part.board_visits).all():
        return []
    return [
        scorpion_pb2.CandidateColumn(name="pixie_board_visits", values_f32=pack_f32(part.board_visits)),
        scorpion_pb2.CandidateColumn(name="pixie_visits", values_f32=pack_f32(part.pin_visits)),
    ]


def scored(
    answers: Sequence[HostAnswer[scorpion_pb2.ScoreResponse]], candidate_count: int, missing: str
) -> Scored:
    """The scores of all hosts, at least one of which answered; `missing` says what is known to lack."""
    responses = [answer.response for answer in answers if answer.response is not None]
    scores = np.zeros(candidate_count, np.float32)
    present = np.zeros(candidate_count, np.bool_)
    defaulted = 0
    model = max(responses, key=lambda response: len(response.scores_f32)).model
    for answer in answers:
        if answer.response is None:
            continue
        if answer.response.model != model:
            missing = missing or "hosts were swapping models; the others' candidates have light scores"
            continue
        scores[answer.rows] = unpack_f32(answer.response.scores_f32)
        present[answer.rows] = True
        defaulted += answer.response.defaulted_count
    if defaulted and not missing:
        missing = f"{defaulted} candidates were scored without stored features"
    return Scored(scores, present, model, missing)


def explained(answers: Sequence[HostAnswer[scorpion_pb2.ExplainResponse]], missing: str) -> Explained:
    """What all hosts say of the scores. Raises DataLoss when columns do not belong together."""
    parts = [
        _explained_rows(answer.rows, answer.response) for answer in answers if answer.response is not None
    ]
    return Explained(parts, missing)


def log_served_request(page: ServedPage, rows: NDArray[np.intp]) -> scorpion_pb2.LogServedRequest:
    """Tells one host which of its candidates were served."""
    return scorpion_pb2.LogServedRequest(
        log_id=page.log_id,
        user=page.user,
        pins_u64=pack_u64(page.pins[rows]),
        positions_u16=pack_u16(page.positions[rows]),
        feed=page.feed,
        request_id=page.request_id,
        served_ms=page.served_ms,
        arms=page.arms,
    )


def logged_counts(answers: Sequence[HostAnswer[scorpion_pb2.LogServedResponse]]) -> LoggedCounts:
    """What became of the rows, over all hosts."""
    responses = [answer.response for answer in answers if answer.response is not None]
    return LoggedCounts(
        logged=sum(response.logged_count for response in responses),
        absent=sum(response.absent_count for response in responses),
        failed=sum(len(answer.rows) for answer in answers if answer.response is None),
    )


def _explained_rows(rows: NDArray[np.intp], response: scorpion_pb2.ExplainResponse) -> ExplainedRows:
    candidates, features, sources = len(rows), len(response.features), len(response.sources)
    source_of = np.array([feature.source for feature in response.features], np.intp)
    contributions = np.frombuffer(response.contributions_f64, np.uint8)
    # Sizes first: a host of another version must cost the explanation, not the page.
    if contributions.size != 8 * candidates * (features + 1) or (
        features and not 0 <= int(source_of.max()) < sources
    ):
        raise DataLoss("Scorpion answered contributions or sources that do not fit its features")
    try:
        ages = unpack_i64(response.ages_ms_i64).reshape(candidates, sources)
        return ExplainedRows(
            rows=rows,
            model=response.model,
            scores=unpack_f32(response.scores_f32).reshape(candidates),
            names=[feature.name for feature in response.features],
            origins=[feature.origin for feature in response.features],
            values=unpack_f32(response.values_f32).reshape(candidates, features),
            defaulted=unpack_u8(response.defaulted_u8).reshape(candidates, features) != 0,
            contributions=contributions.view("<f8").reshape(candidates, features + 1),
            ages_ms=ages[:, source_of],
        )
    except ValueError as fault:
        raise DataLoss(f"Scorpion answered columns that do not fit its features: {fault}") from fault
