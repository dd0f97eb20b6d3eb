"""Every metric of Pixie.

| metric | type | labels | meaning |
|---|---|---|---|
| feedmesh_pixie_walks_total | counter | preset | walks, by the preset that they began from |
| feedmesh_pixie_walk_seconds | histogram | | time of a walk, its ranking not counted |
| feedmesh_pixie_steps_total | counter | | steps of all walks |
| feedmesh_pixie_query_pins_total | counter | known | query pins, by whether the graph has them |
| feedmesh_pixie_early_stops_total | counter | | query pins whose walks ended early |
| feedmesh_pixie_visits_dropped_total | counter | | visits that found no room |
| feedmesh_pixie_graphs_open | gauge | | graphs that are mapped: 2 while one follows another |
| feedmesh_pixie_graph_mapped_bytes | gauge | | bytes of all of them |
| feedmesh_pixie_graph_pins | gauge | | pins of the graph that answers |
| feedmesh_pixie_graph_boards | gauge | | its boards |
| feedmesh_pixie_graph_edges | gauge | | its edges |
| feedmesh_pixie_graph_built_timestamp_seconds | gauge | | when it was built, since 1970 |
| feedmesh_pixie_graph_swaps_total | counter | | changes of the graph that answers |
| feedmesh_pixie_graph_refusals_total | counter | | versions that failed their checks, at each reading |
| feedmesh_pixie_graph_refused | gauge | | 1 while the newest version is not the one that answers |
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.metrics import LATENCY_BUCKETS_S
from services.pixie.walk import WalkCounts


class PixieMetrics:
    """One instance per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"feedmesh_pixie_{name}_total", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"feedmesh_pixie_{name}", text, registry=registry)

        self.walks = counter("walks", "Walks, by the preset that they began from.", "preset")
        self.walk_seconds = Histogram(
            "feedmesh_pixie_walk_seconds",
            "Time of a walk, its ranking not counted.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.steps = counter("steps", "Steps of all walks.")
        self.query_pins = counter("query_pins", "Query pins, by whether the graph has them.", "known")
        self.early_stops = counter("early_stops", "Query pins whose walks ended early.")
        self.visits_dropped = counter("visits_dropped", "Visits that found no room.")
        self.graphs_open = gauge("graphs_open", "Graphs that are mapped: 2 while one follows another.")
        self.graph_mapped_bytes = gauge("graph_mapped_bytes", "Bytes of all graphs that are mapped.")
        self.graph_pins = gauge("graph_pins", "Pins of the graph that answers.")
        self.graph_boards = gauge("graph_boards", "Boards of the graph that answers.")
        self.graph_edges = gauge("graph_edges", "Edges of the graph that answers.")
        self.graph_built = gauge(
            "graph_built_timestamp_seconds", "When the graph that answers was built, since 1970."
        )
        self.graph_swaps = counter("graph_swaps", "Changes of the graph that answers.")
        self.graph_refusals = counter("graph_refusals", "Versions that failed their checks, at each reading.")
        self.graph_refused = gauge("graph_refused", "1 while the newest version is not the one that answers.")

    def walked(self, counts: WalkCounts, *, preset: str, known_count: int, seconds: float) -> None:
        """Count one walk."""
        self.walks.labels(preset).inc()
        self.walk_seconds.observe(seconds)
        self.steps.inc(counts.step_count)
        self.query_pins.labels("yes").inc(known_count)
        self.query_pins.labels("no").inc(counts.unknown_query_count)
        self.early_stops.inc(counts.early_stop_count)
        self.visits_dropped.inc(counts.dropped_visit_count)
