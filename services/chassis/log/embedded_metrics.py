"""Every metric of the embedded log beyond those of every log (`group_metrics.py`), one table."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.log.group_metrics import GroupMetrics
from services.chassis.metrics import LATENCY_BUCKETS_S


class LogMetrics(GroupMetrics):
    """Counters of one log; one instance per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
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
