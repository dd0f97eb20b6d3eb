"""Every metric of the log in Kafka beyond those of every log (`group_metrics.py`), one table."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.log.group_metrics import GroupMetrics
from services.chassis.metrics import LATENCY_BUCKETS_S


class KafkaMetrics(GroupMetrics):
    """Counters of one writer; one instance per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.transaction = Histogram(
            "feedmesh_log_transaction_seconds",
            "Time from the begin of a Kafka transaction until it is committed.",
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.renewals = Counter(
            "feedmesh_log_producer_renewals_total",
            "Producers made anew after a transaction broke; Kafka aborts what was open.",
            registry=registry,
        )
        self.connected = Gauge(
            "feedmesh_log_connected",
            "1 once the topics in Kafka were found as they must be.",
            registry=registry,
        )
        self.fenced = Gauge(
            "feedmesh_log_fenced",
            "1 when another Ingest took this one's transactional id; it writes nothing any more.",
            registry=registry,
        )
