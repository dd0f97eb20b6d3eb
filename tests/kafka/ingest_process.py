"""One Ingest process that writes to Kafka, beside a test: started, killed, started again on the same port."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from ephemeral_port_reserve import reserve
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis.log.kafka.config import KafkaConnection

READY_S = 60.0


class IngestProcess:
    """A context manager that ends the process it started. `told`: environment below FEEDMESH_INGEST__."""

    def __init__(
        self,
        folder: Path,
        connection: KafkaConnection,
        *,
        transactional_id: str = "",
        module: Sequence[str] = ("services.ingest",),
        **told: str,
    ) -> None:
        self.address = f"127.0.0.1:{reserve()}"
        self._folder = folder
        self._module = module
        self._environment = {
            "FEEDMESH_INGEST__PROCESS__LISTEN": self.address,
            "FEEDMESH_INGEST__PROCESS__DATA_DIR": str(folder),
            "FEEDMESH_INGEST__LOG_KIND": "kafka",
            "FEEDMESH_INGEST__KAFKA__CONNECTION__BOOTSTRAP": connection.bootstrap,
            "FEEDMESH_INGEST__KAFKA__CONNECTION__TOPIC_PREFIX": connection.topic_prefix,
            "FEEDMESH_INGEST__KAFKA__PRODUCER__TRANSACTIONAL_ID": transactional_id,
            **{f"FEEDMESH_INGEST__{key}": value for key, value in told.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_health("SERVING")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it; not ready yet."""
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._module],
                env={**os.environ, **self._environment},
                stdout=out,
                stderr=out,
            )

    def kill(self) -> None:
        """kill -9, and wait for the end. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_ended(self, *, timeout_s: float = READY_S) -> int:
        """How it ended by itself."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def said(self) -> str:
        """What it has written."""
        return (self._folder / "out").read_text(errors="replace")

    def wait_health(self, wanted: str, *, timeout_s: float = READY_S) -> None:
        """Wait until gRPC's health check answers so."""
        until = time.monotonic() + timeout_s
        while (found := self.health()) != wanted:
            assert time.monotonic() < until, (
                f"{found}, not {wanted}, after {timeout_s} s:\n{self.said()[-2000:]}"
            )
            time.sleep(0.05)

    def health(self) -> str:
        """SERVING, NOT_SERVING, or `silent`."""
        with grpc.insecure_channel(self.address) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
            except grpc.RpcError:
                return "silent"
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
