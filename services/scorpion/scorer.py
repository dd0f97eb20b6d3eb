"""The path of one request: rows from the cache, features, the forest.

Knows time only as shares of what is left: the stores get theirs, the rest is kept to compute. Nothing of
it fails because a store is down: rows are defaulted, and the answer says how many. It does fail without a
model, so that the caller can rank by light score instead.
Next: `cache.py`, `features.py`, `models.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.chassis.clock import Clock
from services.scorpion.cache import FetchedRows, RowCache
from services.scorpion.features import Candidates, FeatureList, Signal
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.models import ModelSet


class RowStores(Protocol):
    """Where rows come from that are not cached (`clients.py`)."""

    def fetch(self, pins: NDArray[np.uint64], *, timeout_s: float) -> FetchedRows:
        """Rows of distinct pins, within the time."""
        ...


@dataclass(frozen=True, slots=True)
class Query:
    """What to score, checked."""

    model: str
    candidates: Candidates
    signals: Mapping[str, Signal]
    now_ms: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Raw scores, float32 (candidate,), finite, and how they came about."""

    scores: NDArray[np.float32]
    model: str
    hit_count: int
    defaulted_count: int


@dataclass(frozen=True, slots=True)
class FetchTime:
    """How long the stores may take: a share of what is left, and never more than the most."""

    share: float
    most_s: float

    def of(self, left_s: float | None) -> float:
        """Seconds for the stores; `left_s` None: no deadline."""
        return self.most_s if left_s is None else min(self.most_s, left_s * self.share)


class Scorer:
    """Scores candidates. Safe from any thread."""

    def __init__(
        self,
        features: FeatureList,
        cache: RowCache,
        stores: RowStores,
        *,
        fetch_time: FetchTime,
        clock: Clock,
        metrics: ScorpionMetrics,
    ) -> None:
        self._features = features
        self._cache = cache
        self._stores = stores
        self._fetch_time = fetch_time
        self._clock = clock
        self._metrics = metrics
        self._seconds = {
            stage: metrics.stage_seconds.labels(stage) for stage in ("rows", "features", "forest")
        }
        self._defaults = [metrics.feature_defaults.labels(name) for name in features.names]

    def score(self, query: Query, models: ModelSet, *, left_s: float | None) -> Scored:
        """Score with the named model of `models`. Raises NoModel, UnknownModel; blocks for the stores."""
        model = models.named(query.model)
        fetch_s = self._fetch_time.of(left_s)
        began = self._clock.monotonic()
        found = self._cache.get(
            query.candidates.pins, lambda pins: self._stores.fetch(pins, timeout_s=fetch_s), wait_s=fetch_s
        )
        began = self._took("rows", began)
        computed = self._features.compute(found.rows, query.candidates, query.signals, now_ms=query.now_ms)
        began = self._took("features", began)
        scores = model.score(computed.matrix)
        self._took("forest", began)
        for feature in np.flatnonzero(computed.defaulted).tolist():
            self._defaults[feature].inc(int(computed.defaulted[feature]))
        self._metrics.candidates.labels(model.name).inc(scores.size)
        return Scored(
            scores=scores,
            model=model.name,
            hit_count=found.hit_count,
            defaulted_count=found.defaulted_count,
        )

    def _took(self, stage: str, began: float) -> float:
        now = self._clock.monotonic()
        self._seconds[stage].observe(now - began)
        return now
