"""Scorpion's metrics in a registry of their own, and a log, both to be read by a test."""

from __future__ import annotations

from typing import Any

from prometheus_client.registry import CollectorRegistry

from services.scorpion.metrics import ScorpionMetrics


class LoopMetrics(ScorpionMetrics):
    """The metrics that stash, feature log and shadow are given."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        super().__init__(self.registry)

    def value(self, sample: str, **labels: str) -> float:
        """The value of one sample of Scorpion; 0 when nothing was noted."""
        return self.registry.get_sample_value(f"feedmesh_scorpion_{sample}", labels) or 0.0


class SilentLog:
    """Stands in for structlog; keeps what was said, by level."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **_: self.said.append((level, event))
