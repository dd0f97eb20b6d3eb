"""Every metric of the embedded log, one table."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.metrics import LATENCY_BUCKETS_S

_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)


class LogMetrics:
    """Counters of one log; one instance per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.group_records = Histogram(
            "feedmesh_log_group_records", "Records of one group commit.", registry=registry, buckets=_SIZES
        )
        self.group_requests = Histogram(
            "feedmesh_log_group_requests", "Publishes of one group commit.", registry=registry, buckets=_SIZES
        )
        self.write = Histogram(
            "feedmesh_log_write_seconds",
            "Time to put one group into the write-ahead log.",
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.sync = Histogram(
            "feedmesh_log_sync_seconds",
            "Time of one fsync.",
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.records = Counter(
            "feedmesh_log_records_total", "Records that became durable.", ["topic"], registry=registry
        )
        self.bytes = Counter("feedmesh_log_bytes_total", "Bytes of durable records.", registry=registry)
        self.failed_groups = Counter(
            "feedmesh_log_failed_groups_total", "Groups that could not be written.", registry=registry
        )
        self.refused = Counter(
            "feedmesh_log_refused_total",
            "Publishes refused, by reason.",
            ["reason"],
            registry=registry,
        )
        self.queue_records = Gauge(
            "feedmesh_log_queue_records", "Records that wait for the committer.", registry=registry
        )
        self.queue_bytes = Gauge(
            "feedmesh_log_queue_bytes", "Bytes that wait for the committer.", registry=registry
        )
        self.recent_bytes = Gauge(
            "feedmesh_log_recent_bytes", "Bytes of committed groups kept for tails.", registry=registry
        )
        self.overruns = Counter(
            "feedmesh_log_tail_overruns_total",
            "Tails that fell behind the groups in memory and went back to the disk.",
            registry=registry,
        )
        self.end_offset = Gauge(
            "feedmesh_log_end_offset", "End offsets, summed.", ["topic"], registry=registry
        )
        self.begin_offset = Gauge(
            "feedmesh_log_begin_offset",
            "Begin offsets, summed.",
            ["topic"],
            registry=registry,
        )
