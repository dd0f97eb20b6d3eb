"""The orchestrator's life: `leaf.py` in asyncio, without a store and without a follower.

start:  shard map → build → listen (health NOT_SERVING) → warm → SERVING
stop:   NOT_SERVING → new calls UNAVAILABLE → calls in flight end → close
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from prometheus_client.registry import CollectorRegistry

from services.chassis.clock import Clock, SystemClock
from services.chassis.host import AioHost, Orchestrator, aio_host, make_parts
from services.chassis.metrics import new_registry, serve_metrics
from services.chassis.process import ProcessConfig
from services.chassis.process_metrics import ProcessMetrics
from services.chassis.rpc.aio_server import AioRpcServer
from services.chassis.rpc.envelope import Envelope, Phase
from services.chassis.rpc.rpc_metrics import ServerMetrics


class OrchestratorProcess:
    """Serves what `await build(config, host)` returns. Make, start and stop it in one event loop."""

    def __init__(
        self,
        name: str,
        config: Any,
        build: Callable[[Any, AioHost], Awaitable[Orchestrator]],
        *,
        registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
        log: Any = None,
    ) -> None:
        self.stopping = asyncio.Event()
        """Set it, in the loop, to end the process."""
        self.fault: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._build = build
        self._process: ProcessConfig = config.process
        self._registry = registry if registry is not None else new_registry()
        self._metrics = ProcessMetrics(self._registry, service=name)
        self._parts = make_parts(
            name,
            self._process,
            segment=None,
            registry=self._registry,
            clock=clock if clock is not None else SystemClock(),
            give_up=self.give_up,
            log=log,
        )
        self._stack = ExitStack()
        self._host: AioHost | None = None
        self._built: Orchestrator | None = None
        self._envelope: Envelope | None = None
        self._server: AioRpcServer | None = None
        self.metrics_port = 0

    @property
    def port(self) -> int:
        """Where gRPC listens; after `start`."""
        assert self._server is not None
        return self._server.port

    async def start(self) -> None:
        """Everything up to SERVING. After an exception, call `stop`."""
        process = self._process
        self.metrics_port = self._stack.enter_context(serve_metrics(self._registry, process.metrics_listen))
        self._parts.shards.start()
        self._stack.callback(self._parts.shards.stop)
        self._host = aio_host(self._parts)
        self._built = await self._build(self._config, self._host)
        self._envelope = Envelope(process, gate=None, log=self._parts.log)
        self._server = AioRpcServer(
            process, self._built.services, envelope=self._envelope, metrics=ServerMetrics(self._registry)
        )
        await self._server.start()
        await self._built.warm()
        self._envelope.phase = Phase.SERVING
        await self._server.set_serving(True)
        self._parts.log.info(
            "ready",
            port=self._server.port,
            metrics_port=self.metrics_port,
            ms_since_start=round(self._metrics.ready() * 1000),
        )

    def give_up(self, fault: BaseException) -> None:
        """End the process because of `fault`; from any thread, returns at once."""
        self.fault = self.fault or fault
        self._loop.call_soon_threadsafe(self.stopping.set)

    async def stop(self) -> bool:
        """Drain and close. False when calls outlived `drain_s`; they were cancelled."""
        drained = await self._drain()
        if self._built is not None:
            await self._built.close()
        if self._host is not None:
            await self._host.channels.close()
        self._stack.close()
        return drained

    async def _drain(self) -> bool:
        self._metrics.not_ready()
        if self._envelope is None or self._server is None:
            return True
        serving = self._envelope.phase is Phase.SERVING
        self._envelope.phase = Phase.DRAINING
        linger_s = self._process.drain_linger_ms / 1000 if serving else 0.0
        drained = await self._server.stop(drain_s=self._process.drain_s, linger_s=linger_s)
        if not drained:
            self._parts.log.warning("calls outlived the drain", drain_s=self._process.drain_s)
        return drained
