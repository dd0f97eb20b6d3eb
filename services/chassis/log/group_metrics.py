"""What every log counts of its group commits, one table."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)


class GroupMetrics:
    """Groups, what was refused, what waits; one instance per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.group_records = Histogram(
            "feedmesh_log_group_records", "Records of one group commit.", registry=registry, buckets=_SIZES
        )
        self.group_requests = Histogram(
            "feedmesh_log_group_requests", "Publishes of one group commit.", registry=registry, buckets=_SIZES
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

    def committed(self, records_by_topic: Mapping[str, int], *, requests: int, size_bytes: int) -> None:
        """Count one group that is durable."""
        for topic, count in records_by_topic.items():
            self.records.labels(topic).inc(count)
        self.group_records.observe(sum(records_by_topic.values()))
        self.group_requests.observe(requests)
        self.bytes.inc(size_bytes)
