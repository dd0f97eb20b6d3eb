"""A toy leaf that serves on a free port, and channels to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.registry import CollectorRegistry

from services.chassis.host import Leaf
from services.chassis.leaf import LeafProcess
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.rpc_metrics import ClientMetrics
from tests.chassis.toy import SERVICE, Toy, ToyConfig, add_toy


class Served:
    """A running toy: `toy` to program it, `address` to call it, `registry` to read its metrics."""

    def __init__(self, process: ProcessConfig, gate: Any, toy: Toy, follower: Any = None) -> None:
        self.toy = toy
        self.registry = CollectorRegistry(auto_describe=True)
        self.leaf = LeafProcess(
            "toy",
            ToyConfig(process=process),
            lambda _config, _host: Leaf(services=[(add_toy, toy, SERVICE)], gate=gate, follower=follower),
            segment=None,
            registry=self.registry,
        )
        self.leaf.start()
        self.address = f"127.0.0.1:{self.leaf.port}"

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value; 0 when it has never counted."""
        return self.registry.get_sample_value(name, labels) or 0.0


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve(toy, gate=…, follower=…, threads=…)`: a toy with these knobs; stopped at the end."""
    served: list[Served] = []

    def start(toy: Toy | None = None, *, gate: Any = None, follower: Any = None, **knobs: Any) -> Served:
        defaults: dict[str, Any] = {"listen": "127.0.0.1:0", "drain_linger_ms": 0, "drain_s": 5.0}
        process = ProcessConfig(data_dir=tmp_path, **(defaults | knobs))
        served.append(Served(process, gate, toy or Toy(), follower))
        return served[-1]

    yield start
    for one in served:
        one.leaf.stop()


@pytest.fixture
def client_registry() -> CollectorRegistry:
    """Where the test's channels count."""
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def channels(client_registry: CollectorRegistry) -> Iterator[Channels]:
    """Channels with the default knobs, but quick to retry."""
    made = Channels(ChannelConfig(retry_backoff_ms=5, timeout_ms=5_000), ClientMetrics(client_registry))
    yield made
    made.close()
