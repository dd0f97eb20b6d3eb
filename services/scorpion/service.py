"""The gRPC adapter: ScoreRequest to query, scores to ScoreResponse.

Refuses at the door what would come out as nonsense: ragged columns, id 0, NaN and infinity, more than the
limits. Pins of other shards are scored too: sharding by pin only keeps caches warm, and a map that is a
moment old is no reason to leave a feed unranked.
Next: `scorer.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from feedmesh.scorpion.v1 import scorpion_pb2, scorpion_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.columns.packed import check_equal_lengths, pack_f32, unpack_f32, unpack_u32, unpack_u64
from services.chassis.errors import BadRequest, InvalidColumns, InvalidId, LimitExceeded
from services.chassis.rpc.context import current
from services.scorpion.config import ScorpionConfig
from services.scorpion.features import Candidates, Signal
from services.scorpion.models import ModelSet
from services.scorpion.scorer import Query, Scorer

_INT64_MAX_MS = 1 << 53
"""Times beyond are of no calendar, and would lose milliseconds as floats."""


class ScorpionServicer(scorpion_pb2_grpc.ScorpionServiceServicer):
    """Answers Score and ListModels. Keeps no state of its own."""

    def __init__(
        self, scorer: Scorer, models: Callable[[], ModelSet], *, config: ScorpionConfig, clock: Clock
    ) -> None:
        self._scorer = scorer
        self._models = models
        self._config = config
        self._clock = clock

    def Score(
        self, request: scorpion_pb2.ScoreRequest, context: grpc.ServicerContext
    ) -> scorpion_pb2.ScoreResponse:
        """One raw score for each candidate."""
        query = self._query(request)
        call = current()
        left_s = None if call is None else call.seconds_left()
        scored = self._scorer.score(query, self._models(), left_s=left_s)
        return scorpion_pb2.ScoreResponse(
            scores_f32=pack_f32(scored.scores),
            model=scored.model,
            cache_hit_count=scored.hit_count,
            defaulted_count=scored.defaulted_count,
        )

    def ListModels(
        self, request: scorpion_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> scorpion_pb2.ListModelsResponse:
        """The loaded models by name."""
        models = self._models()
        listed = dict(models.models)
        if models.serving is not None:
            # Its folder may be gone, or hold something that was refused: it serves all the same.
            listed[models.serving.name] = models.serving
        return scorpion_pb2.ListModelsResponse(
            models=[
                scorpion_pb2.Model(
                    name=name,
                    tree_count=model.forest.tree_count,
                    features=model.forest.features,
                    serving=model is models.serving,
                )
                for name, model in sorted(listed.items())
            ]
        )

    def _query(self, request: scorpion_pb2.ScoreRequest) -> Query:
        if request.user == 0:
            raise InvalidId("user is 0, which is nobody's id")
        if not 0 <= request.now_ms <= _INT64_MAX_MS:
            raise BadRequest(f"now_ms is {request.now_ms}: send milliseconds since 1970, or 0 for now")
        return Query(
            model=request.model,
            candidates=self._candidates(request),
            signals=self._signals(request),
            now_ms=request.now_ms or self._clock.now_ms(),
        )

    def _candidates(self, request: scorpion_pb2.ScoreRequest) -> Candidates:
        pins = unpack_u64(request.pins_u64, "pins_u64")
        if pins.size > self._config.candidates_max:
            raise LimitExceeded(
                f"{pins.size} candidates in one request: send {self._config.candidates_max} at most",
                limit=self._config.candidates_max,
            )
        if not pins.all():
            raise InvalidId("pins_u64 holds the id 0, which is nobody's", row=int(np.argmin(pins)))
        candidates = Candidates(
            pins=pins,
            light_scores=_finite(
                unpack_f32(request.light_scores_f32, "light_scores_f32"), "light_scores_f32"
            ),
            saved_at=unpack_u32(request.saved_at_u32, "saved_at_u32"),
            boards=unpack_u64(request.boards_u64, "boards_u64"),
            owners=unpack_u64(request.owners_u64, "owners_u64"),
            affinities=_finite(unpack_f32(request.affinities_f32, "affinities_f32"), "affinities_f32"),
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

    def _signals(self, request: scorpion_pb2.ScoreRequest) -> dict[str, Signal]:
        if len(request.signals) > self._config.signals_max:
            raise LimitExceeded(
                f"{len(request.signals)} signals: send {self._config.signals_max} at most",
                limit=self._config.signals_max,
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
            if ids.size > self._config.signal_ids_max:
                raise LimitExceeded(
                    f"{name} has {ids.size} ids: send {self._config.signal_ids_max} at most",
                    limit=self._config.signal_ids_max,
                )
            signals[sent.name] = Signal(ids, values)
        return signals


def _finite(column: NDArray[np.float32], field: str) -> NDArray[np.float32]:
    if not np.isfinite(column).all():
        row = int(np.argmin(np.isfinite(column)))
        raise InvalidColumns(f"{field} has {column[row]} in row {row}: send finite numbers", field=field)
    return column
