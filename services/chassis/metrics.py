"""Prometheus: the registry that is handed in, latency buckets, the endpoint.

There is no global registry: a process makes one and hands it to everything that counts, so that tests
run many services in one process, and no module counts behind another's back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.registry import CollectorRegistry

LATENCY_BUCKETS_S: Final[tuple[float, ...]] = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.006, 0.008),
    *(0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5),
)
"""Seconds. From 1 to 100 ms, where deadlines are spent, no bucket is wider than half of its lower bound,
so a quantile read from them is off by at most that."""


class MetricFamily(NamedTuple):
    """One metric as the documentation lists it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def new_registry() -> CollectorRegistry:
    """A registry that already tells of the process: CPU, memory, file descriptors, garbage collection."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def describe(registry: CollectorRegistry) -> list[MetricFamily]:
    """Every metric family of `registry`, by name; counters with the `_total` that scrapes show.

    Labels come from the collector where it has them, because a family without children has no samples.
    """
    families = {}
    for collector in list(registry._collector_to_names):
        labels = tuple(getattr(collector, "_labelnames", ()))
        described = getattr(collector, "describe", collector.collect)()
        for metric in described:
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            families[name] = MetricFamily(name, metric.type, labels, metric.documentation)
    return [families[name] for name in sorted(families)]


@contextmanager
def serve_metrics(registry: CollectorRegistry, listen: str) -> Iterator[int]:
    """Serve `registry` over HTTP at `listen` while inside; yields the port. An empty `listen` serves nothing.

    Raises OSError when the address cannot be bound.
    """
    if not listen:
        yield 0
        return
    host, _, port = listen.rpartition(":")
    server, thread = start_http_server(int(port), addr=host, registry=registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
