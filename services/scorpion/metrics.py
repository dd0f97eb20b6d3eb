"""Every metric of Scorpion.

| metric | type | labels | meaning |
|---|---|---|---|
| feedmesh_scorpion_candidates_total | counter | model | candidates scored |
| feedmesh_scorpion_stage_seconds | histogram | stage | time of a request's stages: rows, features, forest |
| feedmesh_scorpion_cache_hits_total | counter | kind | candidates whose row was in the cache |
| feedmesh_scorpion_cache_misses_total | counter | kind | candidates whose row was not, or was too old |
| feedmesh_scorpion_cache_waits_total | counter | kind | misses that waited for another request's fetch |
| feedmesh_scorpion_cache_evictions_total | counter | kind | rows that made room for others |
| feedmesh_scorpion_cache_defaulted_total | counter | kind | candidates of which a store did not answer |
| feedmesh_scorpion_cache_rows | gauge | kind | rows held |
| feedmesh_scorpion_cache_rows_max | gauge | kind | rows that fit |
| feedmesh_scorpion_fetch_failures_total | counter | store, reason | calls to a store that gave no rows |
| feedmesh_scorpion_columns_missing | gauge | store | columns of the list that the store's schema lacks |
| feedmesh_scorpion_feature_defaults_total | counter | feature | unknown values, of a row when fetched |
| feedmesh_scorpion_models | gauge | | models that are loaded |
| feedmesh_scorpion_models_refused | gauge | | models in the directory that failed their checks |
| feedmesh_scorpion_model_refusals_total | counter | | models that failed their checks, at each reading |
| feedmesh_scorpion_model_swaps_total | counter | | changes of the serving model |
| feedmesh_scorpion_feature_stash_bytes | gauge | | features that wait for a LogServed |
| feedmesh_scorpion_feature_stash_dropped_total | counter | reason | requests that left unasked: room, age |
| feedmesh_scorpion_feature_log_rows_total | counter | | rows of the feature log on disk |
| feedmesh_scorpion_feature_log_dropped_total | counter | reason | rows that were lost: queue, disk |
| feedmesh_scorpion_feature_log_absent_total | counter | | rows that were served and not in the stash |
| feedmesh_scorpion_feature_log_files_removed_total | counter | | oldest files, removed for the bound |
| feedmesh_scorpion_feature_log_bytes | gauge | | size of the feature log |
| feedmesh_scorpion_shadow_requests_total | counter | model | requests that the shadow model scored, too |
| feedmesh_scorpion_shadow_dropped_total | counter | | requests of the share that there was no time for |
| feedmesh_scorpion_shadow_failures_total | counter | model | requests that the shadow model did not score |
| feedmesh_scorpion_shadow_seconds | histogram | model | its time for a request |
| feedmesh_scorpion_shadow_difference | histogram | model | mean absolute difference of raw scores |
| feedmesh_scorpion_shadow_rank_correlation | histogram | model | Spearman's, of a request's candidates |
| feedmesh_scorpion_shadow_top_overlap | histogram | model | share of the best 50 that both models have |
"""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.metrics import LATENCY_BUCKETS_S

_DIFFERENCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_SHARES = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class CacheMetrics:
    """Of the cache of one kind."""

    hits: Counter
    misses: Counter
    waits: Counter
    evictions: Counter
    defaulted: Counter
    rows: Gauge
    rows_max: Gauge


class ScorpionMetrics:
    """One instance per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"feedmesh_scorpion_{name}_total", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"feedmesh_scorpion_{name}", text, labels, registry=registry)

        self.candidates = counter("candidates", "Candidates scored.", "model")
        self.stage_seconds = Histogram(
            "feedmesh_scorpion_stage_seconds",
            "Time of a request's stages.",
            ["stage"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._cache_hits = counter("cache_hits", "Candidates whose row was in the cache.", "kind")
        self._cache_misses = counter("cache_misses", "Candidates whose row was not, or was too old.", "kind")
        self._cache_waits = counter("cache_waits", "Misses that waited for another request's fetch.", "kind")
        self._cache_evictions = counter("cache_evictions", "Rows that made room for others.", "kind")
        self._cache_defaulted = counter(
            "cache_defaulted", "Candidates of which a store did not answer.", "kind"
        )
        self._cache_rows = gauge("cache_rows", "Rows held.", "kind")
        self._cache_rows_max = gauge("cache_rows_max", "Rows that fit.", "kind")
        self.fetch_failures = counter(
            "fetch_failures", "Calls to a store that gave no rows.", "store", "reason"
        )
        self.columns_missing = gauge(
            "columns_missing", "Columns of the feature list that the store's schema lacks.", "store"
        )
        self.feature_defaults = counter(
            "feature_defaults", "Values that were missing, NaN or infinite.", "feature"
        )
        self.models = gauge("models", "Models that are loaded.")
        self.models_refused = gauge("models_refused", "Models in the directory that failed their checks.")
        self.model_refusals = counter("model_refusals", "Models that failed their checks, at each reading.")
        self.model_swaps = counter("model_swaps", "Changes of the serving model.")
        self._loop(registry)

    def _loop(self, registry: CollectorRegistry) -> None:
        """What `feature_stash.py`, `feature_log.py` and `shadow.py` count."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"feedmesh_scorpion_{name}_total", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"feedmesh_scorpion_{name}", text, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"feedmesh_scorpion_{name}", text, ["model"], buckets=buckets, registry=registry)

        self.feature_stash_bytes = gauge("feature_stash_bytes", "Features that wait for a LogServed.")
        self.feature_stash_dropped = counter(
            "feature_stash_dropped", "Requests that left the stash unasked.", "reason"
        )
        self.feature_log_rows = counter("feature_log_rows", "Rows of the feature log on disk.")
        self.feature_log_dropped = counter("feature_log_dropped", "Rows that were lost.", "reason")
        self.feature_log_absent = counter("feature_log_absent", "Rows that were served and not in the stash.")
        self.feature_log_files_removed = counter(
            "feature_log_files_removed", "Oldest files of the feature log, removed for its bound."
        )
        self.feature_log_bytes = gauge("feature_log_bytes", "Size of the feature log.")
        self.shadow_requests = counter(
            "shadow_requests", "Requests that the shadow model scored, too.", "model"
        )
        self.shadow_dropped = counter("shadow_dropped", "Requests of the share that there was no time for.")
        self.shadow_failures = counter(
            "shadow_failures", "Requests that the shadow model did not score.", "model"
        )
        self.shadow_seconds = histogram(
            "shadow_seconds", "The shadow model's time for a request.", LATENCY_BUCKETS_S
        )
        self.shadow_difference = histogram(
            "shadow_difference", "Mean absolute difference of raw scores.", _DIFFERENCES
        )
        self.shadow_rank_correlation = histogram(
            "shadow_rank_correlation", "Spearman's rank correlation of a request's candidates.", _SHARES
        )
        self.shadow_top_overlap = histogram(
            "shadow_top_overlap", "Share of the best 50 that both models have.", _SHARES
        )

    def cache(self, kind: str) -> CacheMetrics:
        """Those of one cache; found once, because finding them costs more than counting."""
        return CacheMetrics(
            hits=self._cache_hits.labels(kind),
            misses=self._cache_misses.labels(kind),
            waits=self._cache_waits.labels(kind),
            evictions=self._cache_evictions.labels(kind),
            defaulted=self._cache_defaulted.labels(kind),
            rows=self._cache_rows.labels(kind),
            rows_max=self._cache_rows_max.labels(kind),
        )
