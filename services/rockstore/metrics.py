"""Every metric of Rockstore. Calls, the follower and the process are counted by the chassis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

ID_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000)

CELLS = ("objects", "rows")
"""What an object has of its own version: the families of `store.py`."""


@dataclass(frozen=True, slots=True)
class _Reads:
    """One cell's metrics, looked up once: a request for rows is short."""

    asked: Histogram
    found: Counter
    absent: Counter
    unreadable: Counter

    @classmethod
    def of(cls, cell: str, *, asked: Histogram, reads: Counter) -> Self:
        outcomes = (reads.labels(cell, outcome) for outcome in ("found", "absent", "unreadable"))
        return cls(asked.labels(cell), *outcomes)


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

        self._reads_of = {cell: _Reads.of(cell, asked=self._asked, reads=self._reads) for cell in CELLS}
        self._cache_hits = Counter(
            "feedmesh_rockstore_row_cache_hits_total",
            "Rows asked for that the row cache knew, absent ones included.",
            registry=registry,
        )
        self._cache_misses = Counter(
            "feedmesh_rockstore_row_cache_misses_total",
            "Rows asked for that were looked up in the store.",
            registry=registry,
        )
        self._cache_evictions = Counter(
            "feedmesh_rockstore_row_cache_evictions_total",
            "Rows that went out of the row cache to make room.",
            registry=registry,
        )
        self.cache_rows = Gauge(
            "feedmesh_rockstore_row_cache_rows", "Rows in the row cache.", registry=registry
        )
        self.cache_bytes = Gauge(
            "feedmesh_rockstore_row_cache_bytes", "Bytes of the rows in the row cache.", registry=registry
        )
        self._live_generation = Gauge(
            "feedmesh_rockstore_live_generation",
            "Number of the generation of loaded rows that is answered; 0: none is.",
            ["kind"],
            registry=registry,
        )
        self._live_rows = Gauge(
            "feedmesh_rockstore_live_generation_rows",
            "Rows of the load that the live generation was made from, those of all hosts.",
            ["kind"],
            registry=registry,
        )
        self._loads = Counter(
            "feedmesh_rockstore_loads_total",
            "Loads of rows, by outcome: staged, activated, rolled_back, or failed while they were staged.",
            ["outcome"],
            registry=registry,
        )

    def cached(self, *, hits: int, misses: int) -> None:
        """Count one request's rows."""
        self._cache_hits.inc(hits)
        self._cache_misses.inc(misses)

    def evicted(self, count: int) -> None:
        """Count rows that went out of the cache."""
        if count:
            self._cache_evictions.inc(count)

    def live(self, kind: str, *, generation: int, row_count: int) -> None:
        """Tell which generation of a kind is answered."""
        self._live_generation.labels(kind).set(generation)
        self._live_rows.labels(kind).set(row_count)

    def loaded(self, outcome: str) -> None:
        """Count what became of a load."""
        self._loads.labels(outcome).inc()

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
        counted = self._reads_of[cell]
        counted.asked.observe(asked)
        counted.found.inc(found)
        counted.absent.inc(asked - found - unreadable)
        if unreadable:
            counted.unreadable.inc(unreadable)
