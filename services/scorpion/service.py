"""The gRPC adapter: requests to queries, scores and their reasons to responses.

Pins of other shards are scored too: sharding by pin only keeps caches warm, and a map that is a moment old is
no reason to leave a feed unranked.
Next: `requests.py`, which checks; `scorer.py`, `explaining.py`, `feature_log.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

from feedmesh.scorpion.v1 import scorpion_pb2, scorpion_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.columns.packed import pack_f32, pack_f64, pack_i64, pack_u8
from services.chassis.errors import LimitExceeded
from services.chassis.rpc.context import current
from services.scorpion.aside import Aside
from services.scorpion.config import ScorpionConfig
from services.scorpion.explaining import explain
from services.scorpion.feature_stash import StashedRequest
from services.scorpion.features import FeatureList
from services.scorpion.models import ModelSet
from services.scorpion.requests import EXPLAINED_MAX, score_query, served_rows
from services.scorpion.scorer import Query, Scored, Scorer


class ScorpionServicer(scorpion_pb2_grpc.ScorpionServiceServicer):
    """Answers Score, Explain, LogServed and ListModels. Keeps no state of its own."""

    def __init__(
        self,
        features: FeatureList,
        scorer: Scorer,
        models: Callable[[], ModelSet],
        aside: Aside,
        *,
        config: ScorpionConfig,
        clock: Clock,
    ) -> None:
        self._features = features
        self._scorer = scorer
        self._models = models
        self._aside = aside
        self._config = config
        self._clock = clock

    def Score(
        self, request: scorpion_pb2.ScoreRequest, context: grpc.ServicerContext
    ) -> scorpion_pb2.ScoreResponse:
        """One raw score for each candidate."""
        query = self._query(request)
        call = current()
        request_id = "" if call is None else call.request_id
        # Compared is what serves: a request that names a model says nothing of that.
        shadowed = not request.model and self._aside.shadow.draws(request_id)
        scored = self._scorer.score(
            query,
            self._models().named(query.model),
            left_s=None if call is None else call.seconds_left(),
            want_features=shadowed or request.log_id != 0,
        )
        if scored.features is not None:
            self._keep(request.log_id, query, scored)
            if shadowed:
                self._aside.shadow.offer(request_id, scored.features.values, scored.scores)
        return scorpion_pb2.ScoreResponse(
            scores_f32=pack_f32(scored.scores),
            model=scored.model.name,
            cache_hit_count=scored.hit_count,
            defaulted_count=scored.defaulted_count,
        )

    def Explain(
        self, request: scorpion_pb2.ExplainRequest, context: grpc.ServicerContext
    ) -> scorpion_pb2.ExplainResponse:
        """Why candidates have their scores."""
        query = self._query(request.request)
        if query.candidates.pins.size > EXPLAINED_MAX:
            raise LimitExceeded(
                f"{query.candidates.pins.size} candidates to explain: send {EXPLAINED_MAX} at most",
                limit=EXPLAINED_MAX,
            )
        call = current()
        explained = explain(
            query,
            self._models().named(query.model),
            self._scorer,
            self._features,
            self._clock,
            left_s=None if call is None else call.seconds_left(),
        )
        return scorpion_pb2.ExplainResponse(
            model=explained.model,
            scores_f32=pack_f32(explained.scores),
            features=[
                scorpion_pb2.ExplainedFeature(name=feature.name, origin=feature.origin, source=source)
                for feature, source in zip(explained.features, explained.source_of.tolist(), strict=True)
            ],
            values_f32=pack_f32(explained.values),
            defaulted_u8=pack_u8(explained.missing),
            contributions_f64=pack_f64(explained.contributions),
            sources=explained.sources,
            ages_ms_i64=pack_i64(explained.ages_ms),
        )

    def LogServed(
        self, request: scorpion_pb2.LogServedRequest, context: grpc.ServicerContext
    ) -> scorpion_pb2.LogServedResponse:
        """Move the features of what was served from the stash to the log."""
        served = served_rows(request, self._config)
        logged = self._aside.log.log_served(
            served, self._aside.stash, names=self._features.names, digests=self._features.digests
        )
        return scorpion_pb2.LogServedResponse(logged_count=logged, absent_count=served.pins.size - logged)

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
                    shadow=name == self._config.shadow_model and self._config.shadow_share > 0,
                )
                for name, model in sorted(listed.items())
            ]
        )

    def _query(self, request: scorpion_pb2.ScoreRequest) -> Query:
        call = current()
        token = None if call is None else call.token
        return score_query(request, self._config, token=token, clock=self._clock)

    def _keep(self, log_id: int, query: Query, scored: Scored) -> None:
        if log_id == 0 or scored.features is None:
            return
        candidates = query.candidates
        stashed = StashedRequest(
            user=query.user,
            model=scored.model.name,
            now_ms=query.now_ms,
            pins=candidates.pins,
            boards=candidates.boards,
            owners=candidates.owners,
            saved_at=candidates.saved_at,
            light_scores=candidates.light_scores,
            scores=scored.scores,
            features=scored.features.values,
        )
        self._aside.stash.put(log_id, stashed)
