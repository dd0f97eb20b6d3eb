"""Every metric of Aperture.

| metric | type | labels | meaning |
|---|---|---|---|
| feedmesh_aperture_rows_total | counter | | rows taken in |
| feedmesh_aperture_rows_expired_total | counter | | rows refused, because they are older than retention |
| feedmesh_aperture_users_forgotten_total | counter | | users forgotten |
| feedmesh_aperture_mutable_bytes | gauge | | rows in memory, and what holds them |
| feedmesh_aperture_spilled_lanes_total | counter | | lanes spilled from memory to tails |
| feedmesh_aperture_spilled_tails_total | counter | | tails written |
| feedmesh_aperture_buckets_frozen_total | counter | | buckets frozen, again when late rows came |
| feedmesh_aperture_rows_frozen_total | counter | | rows in them |
| feedmesh_aperture_buckets_dropped_total | counter | | buckets dropped by retention |
| feedmesh_aperture_buckets_not_frozen_total | counter | reason | left: corrupt_value, limit_exceeded |
| feedmesh_aperture_corrupt_total | counter | | reads that met a stored part which could not be decoded |
| feedmesh_aperture_cache_total | counter | result | settled rows that were cached (hit) or read (miss) |
| feedmesh_aperture_cache_bytes | gauge | | memory of the settled rows |
| feedmesh_aperture_seen_truncated_total | counter | | seen sets that left the oldest out |
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ApertureMetrics:
    """The table above, registered in the registry that is handed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"feedmesh_aperture_{name}", text, registry=registry)

        self.rows = counter("rows", "Rows taken in.")
        self.rows_expired = counter("rows_expired", "Rows refused, because they are older than retention.")
        self.forgotten = counter("users_forgotten", "Users forgotten.")
        self.mutable_bytes = Gauge(
            "feedmesh_aperture_mutable_bytes", "Rows in memory, and what holds them.", registry=registry
        )
        self.spilled_lanes = counter("spilled_lanes", "Lanes spilled from memory to tails.")
        self.spilled_tails = counter("spilled_tails", "Tails written.")
        self.frozen = counter("buckets_frozen", "Buckets frozen, again when late rows came.")
        self.frozen_rows = counter("rows_frozen", "Rows in the buckets frozen.")
        self.dropped = counter("buckets_dropped", "Buckets dropped by retention.")
        self.not_frozen = Counter(
            "feedmesh_aperture_buckets_not_frozen",
            "Buckets left as tails, because they are damaged or too large.",
            ["reason"],
            registry=registry,
        )
        self.corrupt = counter("corrupt", "Reads that met a stored part which could not be decoded.")
        self.cache = Counter(
            "feedmesh_aperture_cache",
            "Settled rows that were cached (hit) or read (miss).",
            ["result"],
            registry=registry,
        )
        self.cache_bytes = Gauge(
            "feedmesh_aperture_cache_bytes", "Memory of the settled rows.", registry=registry
        )
        self.seen_truncated = counter("seen_truncated", "Seen sets that left the oldest out.")
