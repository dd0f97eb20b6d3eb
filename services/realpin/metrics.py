"""Every metric of RealPin.

| metric | type | labels | meaning |
|---|---|---|---|
| feedmesh_realpin_changes_total | counter | kind | changes applied: acted, shown, forgotten |
| feedmesh_realpin_states_written_total | counter | | states written; one per user and batch |
| feedmesh_realpin_state_bytes_total | counter | | bytes of the states written |
| feedmesh_realpin_state_cache_total | counter | result | users decoded already (hit) or read (miss) |
| feedmesh_realpin_states_corrupt_total | counter | | stored states that could not be decoded and began anew |
| feedmesh_realpin_reads_total | counter | found | GetSignals answered, by whether the user has a state |
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class RealPinMetrics:
    """The table above, registered in the registry that is handed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.changes = Counter("feedmesh_realpin_changes", "Changes applied.", ["kind"], registry=registry)
        self.states_written = Counter(
            "feedmesh_realpin_states_written", "States written; one per user and batch.", registry=registry
        )
        self.state_bytes = Counter(
            "feedmesh_realpin_state_bytes", "Bytes of the states written.", registry=registry
        )
        self.state_cache = Counter(
            "feedmesh_realpin_state_cache",
            "Users that the follower had decoded (hit) or had to read (miss).",
            ["result"],
            registry=registry,
        )
        self.states_corrupt = Counter(
            "feedmesh_realpin_states_corrupt",
            "Stored states that could not be decoded and began anew.",
            registry=registry,
        )
        self.reads = Counter(
            "feedmesh_realpin_reads",
            "GetSignals answered, by whether the user has a state.",
            ["found"],
            registry=registry,
        )
