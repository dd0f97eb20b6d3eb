"""Every metric of Scorpion.

| metric | type | labels | meaning |
|---|---|---|---|
| feedmesh_scorpion_candidates_total | counter | model | candidates scored |
| feedmesh_scorpion_stage_seconds | histogram | stage | time of a request's stages: rows, features, forest |
| feedmesh_scorpion_cache_hits_total | counter | | candidates whose row was in the cache |
| feedmesh_scorpion_cache_misses_total | counter | | candidates whose row was not, or was too old |
| feedmesh_scorpion_cache_waits_total | counter | | misses that waited for another request's fetch |
| feedmesh_scorpion_cache_evictions_total | counter | | rows that made room for others |
| feedmesh_scorpion_cache_defaulted_total | counter | | candidates of which a store did not answer |
| feedmesh_scorpion_cache_rows | gauge | | rows held |
| feedmesh_scorpion_fetch_failures_total | counter | store, reason | calls to a store that gave no rows |
| feedmesh_scorpion_columns_missing | gauge | store | columns of the list that the store's schema lacks |
| feedmesh_scorpion_feature_defaults_total | counter | feature | values that were missing, NaN or infinite |
| feedmesh_scorpion_models | gauge | | models that are loaded |
| feedmesh_scorpion_models_refused | gauge | | models in the directory that failed their checks |
| feedmesh_scorpion_model_refusals_total | counter | | models that failed their checks, at each reading |
| feedmesh_scorpion_model_swaps_total | counter | | changes of the serving model |
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.metrics import LATENCY_BUCKETS_S


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
        self.cache_hits = counter("cache_hits", "Candidates whose row was in the cache.")
        self.cache_misses = counter("cache_misses", "Candidates whose row was not, or was too old.")
        self.cache_waits = counter("cache_waits", "Misses that waited for another request's fetch.")
        self.cache_evictions = counter("cache_evictions", "Rows that made room for others.")
        self.cache_defaulted = counter("cache_defaulted", "Candidates of which a store did not answer.")
        self.cache_rows = gauge("cache_rows", "Rows held.")
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
