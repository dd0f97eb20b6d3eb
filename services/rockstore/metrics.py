"""Every metric of Rockstore. Calls, the follower and the process are counted by the chassis."""

from __future__ import annotations

from prometheus_client import Counter, Histogram
from prometheus_client.registry import CollectorRegistry

ID_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000)


class RockstoreMetrics:
    """Made once per process, with its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._writes = Counter(
            "feedmesh_rockstore_writes_total",
            "Writes to a cell (objects, rows), by outcome: stored, or outdated by a higher version.",
            ["cell", "outcome"],
            registry=registry,
        )
        self._purged = Counter(
            "feedmesh_rockstore_purged_total",
            "Tombstones and expired cells deleted for good.",
            registry=registry,
        )
        self._asked = Histogram(
            "feedmesh_rockstore_ids",
            "Ids in one request.",
            ["cell"],
            buckets=ID_BUCKETS,
            registry=registry,
        )
        self._reads = Counter(
            "feedmesh_rockstore_reads_total",
            "Ids read from a cell, by outcome: found; absent (never there, deleted or expired); unreadable "
            "(a row whose schema version is not declared any more, answered as absent).",
            ["cell", "outcome"],
            registry=registry,
        )

    def written(self, cell: str, count: int) -> None:
        """Count writes that stay, until a later one."""
        self._writes.labels(cell, "stored").inc(count)

    def outdated(self, cell: str, count: int) -> None:
        """Count writes that came after a higher version."""
        self._writes.labels(cell, "outdated").inc(count)

    def purged(self, count: int) -> None:
        """Count cells deleted for good."""
        self._purged.inc(count)

    def read(self, cell: str, *, asked: int, found: int, unreadable: int = 0) -> None:
        """Count one request's ids."""
        self._asked.labels(cell).observe(asked)
        self._reads.labels(cell, "found").inc(found)
        self._reads.labels(cell, "absent").inc(asked - found - unreadable)
        self._reads.labels(cell, "unreadable").inc(unreadable)
