"""Metrics: buckets that resolve where deadlines are spent, a list of families, an endpoint."""

from __future__ import annotations

from itertools import pairwise
from urllib.request import urlopen

from prometheus_client import Counter, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.metrics import LATENCY_BUCKETS_S, MetricFamily, describe, new_registry, serve_metrics


def test_buckets_resolve_one_to_a_hundred_milliseconds() -> None:
    inside = [bound for bound in LATENCY_BUCKETS_S if 0.001 <= bound <= 0.1]
    assert inside[0] == 0.001
    assert inside[-1] == 0.1
    assert all(upper <= lower * 1.5 + 1e-9 for lower, upper in pairwise(inside))


def test_families_are_listed_before_their_first_sample() -> None:
    registry = CollectorRegistry(auto_describe=True)
    Counter("toys_total", "Toys.", ["kind"], registry=registry)
    Histogram("toy_seconds", "Playing.", registry=registry)
    assert describe(registry) == [
        MetricFamily("toy_seconds", "histogram", (), "Playing."),
        MetricFamily("toys_total", "counter", ("kind",), "Toys."),
    ]


def test_a_new_registry_tells_of_the_process() -> None:
    names = {family.name for family in describe(new_registry())}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "python_info"} <= names


def test_two_registries_do_not_share_counters() -> None:
    first, second = new_registry(), new_registry()
    Counter("toys_total", "Toys.", registry=first).inc()
    assert second.get_sample_value("toys_total") is None


def test_the_endpoint_serves_the_registry_and_stops() -> None:
    registry = new_registry()
    Counter("toys_total", "Toys.", registry=registry).inc(3)
    with serve_metrics(registry, "127.0.0.1:0") as port:
        text = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    assert "toys_total 3.0" in text


def test_an_empty_address_serves_nothing() -> None:
    with serve_metrics(new_registry(), "") as port:
        assert port == 0
