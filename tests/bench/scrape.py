"""Reads a process's own metrics."""

from __future__ import annotations

from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


def samples(metrics_address: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Values of one metric by labels; empty when the process does not have it."""
    with urlopen(f"http://{metrics_address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def lag_records(metrics_address: str) -> float:
    """Records that a follower is behind; 0 for a process that follows nothing."""
    return sum(samples(metrics_address, "feedmesh_follower_lag_records").values())
