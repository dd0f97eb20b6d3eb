"""An Ingest process inside the test, on a free port, and calls to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.registry import CollectorRegistry

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2
from services.chassis.leaf import LeafProcess
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.token import Token
from services.chassis.metrics import new_registry
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.method import Method
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.ingest.__main__ import build
from services.ingest.config import IngestConfig

WAIT_S = 10.0
PARTITIONS = 4
PUBLISH = Method(
    "/feedmesh.ingest.v1.IngestService/Publish", ingest_pb2.PublishRequest, ingest_pb2.PublishResponse
)


@dataclass(frozen=True)
class Served:
    """Where it listens, and what it counts."""

    port: int
    registry: CollectorRegistry

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def metric(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0


@contextmanager
def serve_ingest(data_dir: Path, *, port: int = 0) -> Iterator[Served]:
    """Serve, and drain at the end."""
    config = IngestConfig(
        process=ProcessConfig(listen=f"127.0.0.1:{port}", data_dir=data_dir, drain_linger_ms=0, threads=4),
        log=EmbeddedLogConfig(partitions=PARTITIONS, disk_free_bytes_min=0),
        sign_of_life_ms=50,
    )
    registry = new_registry()
    process = LeafProcess("ingest", config, build, segment=None, registry=registry)
    try:
        process.start()
        yield Served(process.port, registry)
    finally:
        process.stop()


@contextmanager
def closing_channels() -> Iterator[Channels]:
    """Channels that connect again quickly."""
    config = ChannelConfig(reconnect_ms_max=100, timeout_ms=10_000)
    channels = Channels(config, ClientMetrics(new_registry()))
    try:
        yield channels
    finally:
        channels.close()


def publish(channels: Channels, address: str, *events: event_pb2.Event) -> Token:
    """Publish, and wait for the acknowledgement."""
    answer = channels.call(address, PUBLISH, ingest_pb2.PublishRequest(events=events), timeout_s=WAIT_S)
    return Token.decode(answer.token)
