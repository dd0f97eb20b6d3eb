"""Every metric of Ingest. Calls, the log and the process are counted by the chassis."""

from __future__ import annotations

from prometheus_client import Counter, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.metrics import LATENCY_BUCKETS_S


class IngestMetrics:
    """One instance per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "feedmesh_ingest_events_total", "Events made durable and acknowledged.", registry=registry
        )
        self.refused = Counter(
            "feedmesh_ingest_refused_requests_total", "Publishes with faulty events.", registry=registry
        )
        self.abandoned = Counter(
            "feedmesh_ingest_abandoned_total",
            "Publishes whose deadline passed before they were durable.",
            registry=registry,
        )
        self.durable = Histogram(
            "feedmesh_ingest_durable_seconds",
            "From the queue of the log to durable, per publish.",
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.dead_letters = Counter(
            "feedmesh_ingest_dead_letters_total", "Dead letters appended for followers.", registry=registry
        )
        self.replays = Counter(
            "feedmesh_ingest_replays_total", "Dead letters written once more.", registry=registry
        )
        self.tail_records = Counter(
            "feedmesh_ingest_tail_records_total", "Records streamed to followers.", registry=registry
        )
