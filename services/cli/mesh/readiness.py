"""Who is ready: each process's own gRPC health, beside what the supervisor says of it.

Owns one look at the whole mesh, all processes at once and each within a short deadline, so that a process
that hangs shows as such and does not hold the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli.mesh.layout import Process
from services.cli.mesh.supervisor import ProcessState


@dataclass(frozen=True)
class Readiness:
    """One process, as its supervisor and its own health say."""

    process: Process
    supervised: ProcessState | None
    """None when no supervisor of ours runs it."""
    health: str
    """`ready`, `starting` (answers, not serving), or `silent`."""

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self.health == "ready"

    @property
    def word(self) -> str:
        """One word for people."""
        if self.ready:
            return "ready"
        if self.supervised is not None and self.supervised.state in {"BACKOFF", "FATAL", "EXITED"}:
            return "failing"
        if self.supervised is not None and self.supervised.state in {"STOPPED", "STOPPING"}:
            return self.supervised.state.lower()
        return "starting" if self.supervised is not None or self.health == "starting" else "down"


class Watcher:
    """Looks at processes again and again over the same channels."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self._processes = tuple(processes)
        self._channels = {
            process.address: grpc.insecure_channel(
                process.address,
                options=[("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 100)],
            )
            for process in self._processes
        }

    def look(self, states: Sequence[ProcessState], *, timeout_s: float = 0.5) -> list[Readiness]:
        """All processes, asked at the same time."""
        by_name = {state.name: state for state in states}
        asked = [
            health_pb2_grpc.HealthStub(self._channels[process.address]).Check.future(
                health_pb2.HealthCheckRequest(), timeout=timeout_s
            )
            for process in self._processes
        ]
        return [
            Readiness(process, by_name.get(process.name), _health(future))
            for process, future in zip(self._processes, asked, strict=True)
        ]

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            channel.close()


def _health(future: grpc.Future[health_pb2.HealthCheckResponse]) -> str:
    try:
        status = future.result().status
    except grpc.RpcError:
        return "silent"
    return "ready" if status == health_pb2.HealthCheckResponse.SERVING else "starting"
