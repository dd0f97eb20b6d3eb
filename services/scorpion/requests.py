"""What a request says, checked: messages to queries.

Refuses at the door what would come out as nonsense: ragged columns, id 0, NaN and infinity, more than the
limits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.clock import Clock
from services.chassis.columns.packed import (
    check_equal_lengths,
    unpack_f32,
    unpack_u16,
    unpack_u32,
    unpack_u64,
)
from services.chassis.errors import BadRequest, InvalidColumns, InvalidId, LimitExceeded
from services.scorpion.config import ScorpionConfig
from services.scorpion.feature_log import Served
from services.scorpion.features import CANDIDATE_COLUMNS, Candidates, Signal
from services.scorpion.scorer import Query

EXPLAINED_MAX = 250
"""Candidates of one Explain: the largest page."""

ARMS_MAX = 64
"""Arms of one page: they stand in every row of the feature log."""

_TEXT_MAX = 128
_COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_INT64_MAX_MS = 1 << 53
"""Times beyond are of no calendar, and would lose milliseconds as floats."""


def score_query(
    request: scorpion_pb2.ScoreRequest, limits: ScorpionConfig, *, token: bytes | None, clock: Clock
) -> Query:
    """What to score. Raises BadRequest and its kin with what is wrong, and where."""
    if request.user == 0:
        raise InvalidId("user is 0, which is nobody's id")
    if not 0 <= request.now_ms <= _INT64_MAX_MS:
        raise BadRequest(f"now_ms is {request.now_ms}: send milliseconds since 1970, or 0 for now")
    return Query(
        user=request.user,
        model=request.model,
        candidates=_candidates(request, limits),
        signals=_signals(request, limits),
        now_ms=request.now_ms or clock.now_ms(),
        token=token,
    )


def served_rows(request: scorpion_pb2.LogServedRequest, limits: ScorpionConfig) -> Served:
    """What was served."""
    if request.user == 0 or request.log_id == 0:
        raise InvalidId("user and log_id must not be 0: nobody has that id, and 0 means that nothing is kept")
    if not 0 < request.served_ms <= _INT64_MAX_MS:
        raise BadRequest(f"served_ms is {request.served_ms}: send milliseconds since 1970")
    pins = unpack_u64(request.pins_u64, "pins_u64")
    positions = unpack_u16(request.positions_u16, "positions_u16")
    check_equal_lengths(pins_u64=pins, positions_u16=positions)
    if pins.size > limits.candidates_max:
        raise LimitExceeded(
            f"{pins.size} pins in one request: send {limits.candidates_max} at most",
            limit=limits.candidates_max,
        )
    for name, text in (("feed", request.feed), ("request_id", request.request_id)):
        if len(text) > _TEXT_MAX:
            raise LimitExceeded(
                f"{name} has {len(text)} characters: send {_TEXT_MAX} at most", limit=_TEXT_MAX
            )
    _check_arms(request.arms)
    return Served(
        log_id=request.log_id,
        user=request.user,
        pins=pins,
        positions=positions,
        feed=request.feed,
        request_id=request.request_id,
        served_ms=request.served_ms,
        arms=tuple(request.arms),
    )


def _check_arms(arms: Sequence[str]) -> None:
    if len(arms) > ARMS_MAX:
        raise LimitExceeded(f"{len(arms)} arms: send {ARMS_MAX} at most", limit=ARMS_MAX)
    for arm in arms:
        if len(arm) > _TEXT_MAX:
            raise LimitExceeded(
                f"arm {arm[:20]!r}… has {len(arm)} characters: send {_TEXT_MAX} at most", limit=_TEXT_MAX
            )


def _candidates(request: scorpion_pb2.ScoreRequest, limits: ScorpionConfig) -> Candidates:
    pins = unpack_u64(request.pins_u64, "pins_u64")
    if pins.size > limits.candidates_max:
        raise LimitExceeded(
            f"{pins.size} candidates in one request: send {limits.candidates_max} at most",
            limit=limits.candidates_max,
        )
    if not pins.all():
        raise InvalidId("pins_u64 holds the id 0, which is nobody's", row=int(np.argmin(pins)))
    candidates = Candidates(
        pins=pins,
        light_scores=_finite(unpack_f32(request.light_scores_f32, "light_scores_f32"), "light_scores_f32"),
        saved_at=unpack_u32(request.saved_at_u32, "saved_at_u32"),
        boards=unpack_u64(request.boards_u64, "boards_u64"),
        owners=unpack_u64(request.owners_u64, "owners_u64"),
        affinities=_finite(unpack_f32(request.affinities_f32, "affinities_f32"), "affinities_f32"),
        columns=_further(request, pins.size, limits),
    )
    if candidates.affinities.size and candidates.affinities.min() < 0:
        raise InvalidColumns("affinities_f32 holds a negative affinity", field="affinities_f32")
    columns: dict[str, NDArray[Any]] = {
        "light_scores_f32": candidates.light_scores,
        "saved_at_u32": candidates.saved_at,
        "boards_u64": candidates.boards,
        "owners_u64": candidates.owners,
        "affinities_f32": candidates.affinities,
    }
    check_equal_lengths(pins_u64=pins, **{name: c for name, c in columns.items() if c.size})
    return candidates


def _further(
    request: scorpion_pb2.ScoreRequest, candidate_count: int, limits: ScorpionConfig
) -> dict[str, NDArray[np.float32]]:
    """Further columns by name. NaN is unknown there, as these have no other way to say so."""
    if len(request.columns) > limits.columns_max:
        raise LimitExceeded(
            f"{len(request.columns)} columns: send {limits.columns_max} at most", limit=limits.columns_max
        )
    columns: dict[str, NDArray[np.float32]] = {}
    for sent in request.columns:
        name = f"column {sent.name!r}"
        if not _COLUMN_NAME.fullmatch(sent.name):
            raise BadRequest(f"{name}: a name is lower-case letters, digits and _, at most 64")
        if sent.name in CANDIDATE_COLUMNS:
            raise BadRequest(f"{name} has a field of its own in the request: send it there")
        if sent.name in columns:
            raise BadRequest(f"{name} is there twice: send each column once")
        values = unpack_f32(sent.values_f32, f"{name}: values_f32")
        if values.size != candidate_count:
            raise InvalidColumns(
                f"{name} has {values.size} values for {candidate_count} candidates", field=sent.name
            )
        if np.isinf(values).any():
            row = int(np.argmax(np.isinf(values)))
            raise InvalidColumns(
                f"{name} has {values[row]} in row {row}: send finite numbers, or NaN where unknown",
                field=sent.name,
            )
        columns[sent.name] = values
    return columns


def _signals(request: scorpion_pb2.ScoreRequest, limits: ScorpionConfig) -> dict[str, Signal]:
    if len(request.signals) > limits.signals_max:
        raise LimitExceeded(
            f"{len(request.signals)} signals: send {limits.signals_max} at most",
            limit=limits.signals_max,
        )
    signals: dict[str, Signal] = {}
    for sent in request.signals:
        name = f"signal {sent.name!r}"
        if sent.name in signals:
            raise BadRequest(f"{name} is there twice: send each signal once")
        ids = unpack_u64(sent.ids_u64, f"{name}: ids_u64")
        values = _finite(unpack_f32(sent.values_f32, f"{name}: values_f32"), f"{name}: values_f32")
        aligned: dict[str, NDArray[Any]] = {f"{name}: ids": ids, f"{name}: values": values}
        check_equal_lengths(**aligned)
        if ids.size > limits.signal_ids_max:
            raise LimitExceeded(
                f"{name} has {ids.size} ids: send {limits.signal_ids_max} at most",
                limit=limits.signal_ids_max,
            )
        signals[sent.name] = Signal(ids, values)
    return signals


def _finite(column: NDArray[np.float32], field: str) -> NDArray[np.float32]:
    if not np.isfinite(column).all():
        row = int(np.argmin(np.isfinite(column)))
        raise InvalidColumns(f"{field} has {column[row]} in row {row}: send finite numbers", field=field)
    return column
