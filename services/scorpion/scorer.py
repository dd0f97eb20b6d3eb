"""The path of one request: rows from the caches, features of the request, the forest.

    caches      the model's bytes of each candidate's rows, from the slabs straight into blocks
    features    what only the request knows, binned
    forest      the blocks, scored

Knows time only as shares of what is left: the stores get theirs, the rest is kept to compute. Nothing of
it fails because a store is down: rows are defaulted, and the answer says how many. It does fail without a
model, so that the caller can rank by light score instead.
Next: `cache.py`, `features.py`, `forest/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.chassis.clock import Clock
from services.scorpion.cache import Ask, Fetch, Found, RowCache
from services.scorpion.covers import Covers
from services.scorpion.features import Candidates, Computed, FeatureList, FetchedRows, RowKind, Signal
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.models import Model


class RowStores(Protocol):
    """Where rows come from that are not cached (`clients.py`)."""

    def fetch(self, kind: RowKind, ids: NDArray[np.uint64], *, timeout_s: float) -> FetchedRows:
        """Rows of distinct objects of a kind, within the time."""
        ...


@dataclass(frozen=True, slots=True)
class Query:
    """What to score, checked."""

    user: int
    model: str
    candidates: Candidates
    signals: Mapping[str, Signal]
    now_ms: int
    token: bytes | None = None
    """The consistency token that came with the request: rows must be from after it."""


@dataclass(frozen=True, slots=True)
class Features:
    """All features of the candidates, in the list's order, and where they are from."""

    values: NDArray[np.float32]
    """(candidate, feature)."""
    missing: NDArray[np.uint8]
    """(candidate, feature): 1 where the default was taken."""
    fetched_s: Mapping[RowKind, NDArray[np.float64]]
    """Of each kind, (candidate,): when its row was read, on the monotonic clock; NaN: it is not known."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Raw scores, float32 (candidate,), finite, and how they came about."""

    scores: NDArray[np.float32]
    model: Model
    hit_count: int
    """Pins whose row was cached."""
    defaulted_count: int
    """Candidates of which a store did not answer."""
    features: Features | None
    """When they were asked for."""


@dataclass(frozen=True, slots=True)
class FetchTime:
    """How long the stores may take: a share of what is left, and never more than the most."""

    share: float
    most_s: float

    def of(self, left_s: float | None) -> float:
        """Seconds for the stores; `left_s` None: no deadline."""
        return self.most_s if left_s is None else min(self.most_s, left_s * self.share)


class Scorer:
    """Scores candidates. Safe from any thread. `caches` has one for each of the list's kinds."""

    def __init__(
        self,
        features: FeatureList,
        caches: Mapping[RowKind, RowCache],
        stores: RowStores,
        *,
        fetch_time: FetchTime,
        clock: Clock,
        metrics: ScorpionMetrics,
    ) -> None:
        self._features = features
        self._caches = caches
        self._stores = stores
        self._fetch_time = fetch_time
        self._clock = clock
        self._metrics = metrics
        self._covers = Covers()
        self._seconds = {
            stage: metrics.stage_seconds.labels(stage) for stage in ("rows", "features", "forest")
        }
        self._defaults = [
            metrics.feature_defaults.labels(features.names[place]) for place in features.request_columns
        ]

    def score(
        self, query: Query, model: Model, *, left_s: float | None, want_features: bool = False
    ) -> Scored:
        """Score with a model. Blocks for the stores. Raises InvalidToken."""
        began_s = self._clock.monotonic()
        count = query.candidates.pins.size
        blocks = model.forest.blocks(count)
        found = self._rows(query, model, blocks, self._fetch_time.of(left_s), want_features)
        now_s = self._took("rows", began_s)
        pin_rows, part = found[RowKind.PIN], model.request_part
        request: Computed | None = None
        if part.width or want_features:
            request = self._features.request_features(
                pin_rows.id_columns, query.candidates, query.signals, now_ms=query.now_ms
            )
            part.scatter(part.bin(request.matrix), np.arange(count, dtype=np.int32), blocks)
        now_s = self._took("features", now_s)
        scores = model.forest.score_blocks(blocks, count)[:, 0].astype(np.float32)
        self._took("forest", now_s)
        self._count(model, request, count)
        return Scored(
            scores=scores,
            model=model,
            hit_count=pin_rows.hit_count,
            defaulted_count=max(rows.defaulted_count for rows in found.values()),
            features=None if request is None or not want_features else self._whole(found, request),
        )

    def prepare(self, model: Model) -> None:
        """Make a model's bytes of everything that is cached, before it serves."""
        for kind, cache in self._caches.items():
            cache.prepare(model.row_parts[kind])

    def retire(self, model: Model) -> None:
        """Free the bytes of a model that serves no more."""
        for kind, cache in self._caches.items():
            cache.retire(model.row_parts[kind])

    def _rows(
        self, query: Query, model: Model, blocks: NDArray[np.int8], fetch_s: float, want_features: bool
    ) -> dict[RowKind, Found]:
        """Rows of every kind that the model reads, their bytes in the blocks; pins first, whose id columns
        name the others."""
        accepted = self._covers.accepted(query.token)
        until_s = self._clock.monotonic() + fetch_s
        found: dict[RowKind, Found] = {}
        for kind, cache in self._caches.items():
            part = model.row_parts[kind]
            if not part.width and not want_features and kind is not RowKind.PIN:
                continue
            pin_ids = found[RowKind.PIN].id_columns if found else _NO_IDS
            left_s = max(0.0, until_s - self._clock.monotonic())
            ask = Ask(
                ids=self._features.row_ids(kind, query.user, query.candidates, pin_ids),
                fetch=self._fetch(kind, left_s),
                wait_s=left_s,
                accepted=accepted,
                part=part if part.width else None,
                blocks=blocks,
                values=want_features,
            )
            found[kind] = cache.get(ask)
        return found

    def _fetch(self, kind: RowKind, timeout_s: float) -> Fetch:
        return lambda ids: self._stores.fetch(kind, ids, timeout_s=timeout_s)

    def _whole(self, found: Mapping[RowKind, Found], request: Computed) -> Features:
        values = {kind: rows.values for kind, rows in found.items()}
        missing = {kind: rows.missing for kind, rows in found.items()}
        return Features(
            values=self._features.whole(values, request.matrix),
            missing=self._features.whole(missing, request.missing),
            fetched_s={kind: rows.fetched_s for kind, rows in found.items()},
        )

    def _count(self, model: Model, request: Computed | None, count: int) -> None:
        self._metrics.candidates.labels(model.name).inc(count)
        if request is not None and request.missing.any():
            for place, defaulted in enumerate(request.defaulted.tolist()):
                if defaulted:
                    self._defaults[place].inc(defaulted)

    def _took(self, stage: str, began_s: float) -> float:
        now_s = self._clock.monotonic()
        self._seconds[stage].observe(now_s - began_s)
        return now_s


_NO_IDS = np.empty((0, 0), np.uint64)
