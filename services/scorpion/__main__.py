"""Scorpion as a process: `python -m services.scorpion --config deploy/config/scorpion.toml`."""

from __future__ import annotations

from feedmesh.scorpion.v1 import scorpion_pb2_grpc
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.scorpion.cache import RowCache
from services.scorpion.clients import StaticStores
from services.scorpion.config import ScorpionConfig
from services.scorpion.feature_file import load_feature_list
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.model_watch import ModelWatch
from services.scorpion.models import ModelDirectory
from services.scorpion.scorer import FetchTime, Scorer
from services.scorpion.service import ScorpionServicer


def build(config: ScorpionConfig, host: Host) -> Leaf:
    """Scorpion in its surroundings. Raises ConfigFaults when the feature list is not in order."""
    features = load_feature_list(config.features_path)
    metrics = ScorpionMetrics(host.registry)
    models = ModelDirectory(
        config.models_dir,
        features,
        threads=config.forest_threads,
        models_max=config.models_max,
        metrics=metrics,
        log=host.log,
    )
    watch = ModelWatch(models, scan_ms=config.models_scan_ms, log=host.log)
    stores = StaticStores(
        features, host.router, threads=config.process.threads, metrics=metrics, log=host.log
    )
    cache = RowCache(
        features,
        cache_bytes=config.cache_bytes,
        ttl_ms=config.cache_ttl_ms,
        clock=host.clock,
        metrics=metrics,
    )
    fetch_time = FetchTime(share=config.fetch_share, most_s=config.fetch_ms_max / 1000)
    scorer = Scorer(features, cache, stores, fetch_time=fetch_time, clock=host.clock, metrics=metrics)
    servicer = ScorpionServicer(scorer, models.current, config=config, clock=host.clock)

    def warm() -> None:
        features.warm()
        watch.start()

    def close() -> None:
        watch.stop()
        stores.close()

    add = scorpion_pb2_grpc.add_ScorpionServiceServicer_to_server
    return Leaf([(add, servicer, "feedmesh.scorpion.v1.ScorpionService")], warm=warm, close=close)


if __name__ == "__main__":
    raise SystemExit(serve_leaf("scorpion", ScorpionConfig, build))
