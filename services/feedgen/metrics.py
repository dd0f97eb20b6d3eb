"""Every metric of the FeedGenerator.

| metric | type | labels | meaning |
|---|---|---|---|
| feedmesh_feedgen_stage_seconds | histogram | stage | time of a stage, missed ones included |
| feedmesh_feedgen_stage_total | counter | stage, status | stages by how complete they were |
| feedmesh_feedgen_pages_total | counter | source, complete | pages answered; full quality: complete="true" |
| feedmesh_feedgen_feed_pages_total | counter | feed | pages answered by recipe |
| feedmesh_feedgen_arm_pages_total | counter | experiment, arm | pages answered under an arm |
| feedmesh_feedgen_experiments_reloads_total | counter | result | changes of the file: swapped, refused |
| feedmesh_feedgen_experiments_valid | gauge | | 1 while the file holds the experiments in use, else 0 |
| feedmesh_feedgen_experiments_running_count | gauge | | experiments that anybody can be in |
| feedmesh_feedgen_items_total | counter | | items answered |
| feedmesh_feedgen_impressions_published_total | counter | | pages whose impressions are durable |
| feedmesh_feedgen_impressions_dropped_total | counter | | pages whose impressions were given up |
| feedmesh_feedgen_impressions_retries_total | counter | | publishes that failed and were tried again |
| feedmesh_feedgen_impressions_queued_count | gauge | | pages that wait to be published |
| feedmesh_feedgen_feature_log_rows_total | counter | outcome | sampled pins by what became of them |
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.chassis.metrics import LATENCY_BUCKETS_S


class FeedgenMetrics:
    """The table above, registered in the registry that is handed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stage_seconds = Histogram(
            "feedmesh_feedgen_stage_seconds",
            "Time of a stage of a feed, missed ones included.",
            ["stage"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.stages = Counter(
            "feedmesh_feedgen_stage",
            "Stages by how complete they were.",
            ["stage", "status"],
            registry=registry,
        )
        self.pages = Counter(
            "feedmesh_feedgen_pages", "Pages answered.", ["source", "complete"], registry=registry
        )
        self.feed_pages = Counter(
            "feedmesh_feedgen_feed_pages", "Pages answered by recipe.", ["feed"], registry=registry
        )
        self.arm_pages = Counter(
            "feedmesh_feedgen_arm_pages",
            "Pages answered under an arm of an experiment.",
            ["experiment", "arm"],
            registry=registry,
        )
        self.experiments_reloads = Counter(
            "feedmesh_feedgen_experiments_reloads",
            "Times the experiments' file changed, by result: swapped, or refused (the old ones stay).",
            ["result"],
            registry=registry,
        )
        self.experiments_valid = Gauge(
            "feedmesh_feedgen_experiments_valid",
            "1 while the file holds the experiments in use, also when there is no file; else 0.",
            registry=registry,
        )
        self.experiments_running = Gauge(
            "feedmesh_feedgen_experiments_running_count",
            "Experiments that anybody can be in: a dial over 0, or somebody forced.",
            registry=registry,
        )
        self.items = Counter("feedmesh_feedgen_items", "Items answered.", registry=registry)
        self.impressions_published = Counter(
            "feedmesh_feedgen_impressions_published",
            "Pages whose impressions are durable.",
            registry=registry,
        )
        self.impressions_dropped = Counter(
            "feedmesh_feedgen_impressions_dropped",
            "Pages whose impressions were given up.",
            registry=registry,
        )
        self.impressions_retries = Counter(
            "feedmesh_feedgen_impressions_retries", "Publishes that were tried again.", registry=registry
        )
        self.impressions_queued = Gauge(
            "feedmesh_feedgen_impressions_queued_count", "Pages that wait to be published.", registry=registry
        )
        self.feature_log_rows = Counter(
            "feedmesh_feedgen_feature_log_rows",
            "Served pins of sampled pages by what became of them: logged; absent, as Scorpion had not kept "
            "them; failed, as it did not answer; dropped, as too many waited.",
            ["outcome"],
            registry=registry,
        )
