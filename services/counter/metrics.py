"""Every metric of Counter. Calls, the follower and the process are counted by the chassis."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

ENTITY_BUCKETS = (1, 10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000)


class CounterMetrics:
    """Made once per process, with its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._increments = Counter(
            "feedmesh_counter_increments_total",
            "Entities counted, by action.",
            ["action"],
            registry=registry,
        )
        self._refused = Counter(
            "feedmesh_counter_refused_total",
            "Increments and stored rows that found the table full (`entities_max`).",
            registry=registry,
        )
        self._rows = Counter(
            "feedmesh_counter_rows_written_total",
            "Rows written to the store; below the increments by what one batch counts together.",
            registry=registry,
        )
        self._entities = Gauge("feedmesh_counter_entities", "Entities in the table.", registry=registry)
        self._bytes = Gauge("feedmesh_counter_table_bytes", "Memory of the table.", registry=registry)
        self._asked = Histogram(
            "feedmesh_counter_asked",
            "Entities in one GetCounts.",
            buckets=ENTITY_BUCKETS,
            registry=registry,
        )
        self._reads = Counter(
            "feedmesh_counter_reads_total",
            "Entities asked for, by outcome: found, or absent (answered with zeros).",
            ["outcome"],
            registry=registry,
        )
        self._tops = Counter(
            "feedmesh_counter_tops_total",
            "GetTop answers, by source: cache, or scan.",
            ["source"],
            registry=registry,
        )

    def counted(self, action: str, count: int) -> None:
        """Count increments of one action."""
        self._increments.labels(action).inc(count)

    def refused(self, count: int) -> None:
        """Count what found the table full."""
        self._refused.inc(count)

    def wrote(self, count: int) -> None:
        """Count rows put into a batch."""
        self._rows.inc(count)

    def sized(self, *, entity_count: int, size_bytes: int) -> None:
        """Tell the table's size."""
        self._entities.set(entity_count)
        self._bytes.set(size_bytes)

    def read(self, *, asked: int, found: int) -> None:
        """Count one GetCounts."""
        self._asked.observe(asked)
        self._reads.labels("found").inc(found)
        self._reads.labels("absent").inc(asked - found)

    def top(self, *, cached: bool) -> None:
        """Count one GetTop."""
        self._tops.labels("cache" if cached else "scan").inc()
