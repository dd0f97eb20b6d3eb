"""Every metric of followers, one table."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.metrics import LATENCY_BUCKETS_S


class FollowerMetrics:
    """Counters of one follower; one instance per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.applied = Counter(
            "feedmesh_follower_applied_total",
            "Records whose offset was committed, whether or not they changed the view.",
            ["topic"],
            registry=registry,
        )
        self.duplicates = Counter(
            "feedmesh_follower_duplicates_total",
            "Records dropped because their id is in the window of recent ids.",
            ["topic"],
            registry=registry,
        )
        self.not_owned = Counter(
            "feedmesh_follower_not_owned_total",
            "Records skipped because this host does not own their shard (partitions < shards).",
            ["topic"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "feedmesh_follower_dead_letters_total",
            "Records that could not be decoded, by topic they lay in.",
            ["topic"],
            registry=registry,
        )
        self.lag = Gauge(
            "feedmesh_follower_lag_records",
            "Offsets between what is applied and the end of the log as last told, summed over partitions.",
            ["topic"],
            registry=registry,
        )
        self.lost = Gauge(
            "feedmesh_follower_lost_partitions",
            "Partitions whose next record the log no longer has: reads of their shards are refused.",
            ["topic"],
            registry=registry,
        )
        self.log_silent = Gauge(
            "feedmesh_follower_log_silent_seconds",
            "Time since the follower last knew that it hears from the log.",
            registry=registry,
        )
        self.event_to_applied = Histogram(
            "feedmesh_follower_event_to_applied_seconds",
            "Event time to readable, of the oldest event of each applied batch.",
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.apply = Histogram(
            "feedmesh_follower_apply_seconds",
            "Time to decode, apply and write one batch.",
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.write_retries = Counter(
            "feedmesh_follower_write_retries_total",
            "Store writes that failed and were tried again.",
            registry=registry,
        )
        self.log_retries = Counter(
            "feedmesh_follower_log_retries_total",
            "Times that the log could not be reached.",
            registry=registry,
        )
        self.caught_up = Gauge(
            "feedmesh_follower_caught_up",
            "1 when the end offsets seen at the first contact are applied.",
            registry=registry,
        )
        self.stale_reads = Counter(
            "feedmesh_follower_stale_reads_total",
            "Reads whose token was not applied in time.",
            registry=registry,
        )
