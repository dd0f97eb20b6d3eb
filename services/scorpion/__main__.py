"""Scorpion as a process: `python -m services.scorpion --config deploy/config/scorpion.toml`."""

from __future__ import annotations

from feedmesh.scorpion.v1 import scorpion_pb2_grpc
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.chassis.watched_folder import WatchedFolder
from services.scorpion.aside import aside_of
from services.scorpion.cache import caches_of
from services.scorpion.clients import StaticStores
from services.scorpion.config import ScorpionConfig
from services.scorpion.feature_file import load_feature_list
from services.scorpion.forest.warming import warm as warm_forest
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.models import ModelDirectory, Swap
from services.scorpion.scorer import FetchTime, Scorer
from services.scorpion.service import ScorpionServicer
from services.scorpion.slab import warm as warm_slab


def build(config: ScorpionConfig, host: Host) -> Leaf:
    """Scorpion in its surroundings. Raises ConfigFaults when the feature list is not in order."""
    features = load_feature_list(config.features_path, factors_dir=config.factors_dir)
    metrics = ScorpionMetrics(host.registry)
    threads = config.process.threads
    stores = StaticStores(features, host.router, threads=threads, metrics=metrics, log=host.log)
    caches = caches_of(features, config, clock=host.clock, metrics=metrics)
    time = FetchTime(share=config.fetch_share, most_s=config.fetch_ms_max / 1000)
    scorer = Scorer(features, caches, stores, fetch_time=time, clock=host.clock, metrics=metrics)
    models = ModelDirectory(
        config.models_dir,
        features,
        models_max=config.models_max,
        metrics=metrics,
        log=host.log,
        swap=Swap(prepare=scorer.prepare, retire=scorer.retire),
    )
    watch = WatchedFolder("models", models, scan_ms=config.models_scan_ms, within=True, log=host.log)
    aside = aside_of(config, models, metrics, clock=host.clock, log=host.log)
    servicer = ScorpionServicer(features, scorer, models.current, aside, config=config, clock=host.clock)

    def warm() -> None:
        features.warm()
        warm_slab()
        warm_forest()
        watch.start()
        aside.start()
        stores.start()

    def close() -> None:
        watch.stop()
        aside.stop()
        stores.close()

    add = scorpion_pb2_grpc.add_ScorpionServiceServicer_to_server
    return Leaf([(add, servicer, "feedmesh.scorpion.v1.ScorpionService")], warm=warm, close=close)


if __name__ == "__main__":
    raise SystemExit(serve_leaf("scorpion", ScorpionConfig, build))
