"""One leaf's life in order: make, listen, warm, catch up, serve, drain, close.

    start:  shard map → build (store) → listen (health NOT_SERVING) → warm → follow → caught up → SERVING
    stop:   NOT_SERVING → new calls UNAVAILABLE → calls in flight end → follower stops → store closes
    lost:   NOT_SERVING → every call UNAVAILABLE with what is missing; the process stays, for its message

No step needs another service to be up. Usable inside a test, without signals or argv; `lifecycle.py` puts
those around it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from prometheus_client.registry import CollectorRegistry

from services.chassis.clock import Clock, SystemClock
from services.chassis.errors import FeedmeshError
from services.chassis.host import Host, Leaf, leaf_host, make_parts
from services.chassis.metrics import new_registry, serve_metrics
from services.chassis.process import ProcessConfig
from services.chassis.process_metrics import ProcessMetrics
from services.chassis.rpc.envelope import Envelope, Phase
from services.chassis.rpc.rpc_metrics import ServerMetrics
from services.chassis.rpc.server import RpcServer

_CATCH_UP_POLL_S = 0.02


class LeafProcess:
    """Serves what `build(config, host)` returns. `start` once, then `stop` once, from one thread."""

    def __init__(
        self,
        name: str,
        config: Any,
        build: Callable[[Any, Host], Leaf],
        *,
        segment: str | None,
        registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
        log: Any = None,
    ) -> None:
        self.stopping = threading.Event()
        """Set it to end the process; `start` returns early, and whoever waits calls `stop`."""
        self.fault: BaseException | None = None
        self._phases = threading.Lock()
        self._refusal: FeedmeshError | None = None
        self._config = config
        self._build = build
        self._process: ProcessConfig = config.process
        self._registry = registry if registry is not None else new_registry()
        self._metrics = ProcessMetrics(self._registry, service=name)
        self._parts = make_parts(
            name,
            self._process,
            segment=segment,
            registry=self._registry,
            clock=clock if clock is not None else SystemClock(),
            give_up=self.give_up,
            log=log,
        )
        self._stack = ExitStack()
        self._envelope: Envelope | None = None
        self._server: RpcServer | None = None
        self._leaf: Leaf | None = None
        self.metrics_port = 0

    @property
    def port(self) -> int:
        """Where gRPC listens; after `start`."""
        assert self._server is not None
        return self._server.port

    def start(self) -> None:
        """Everything up to SERVING; blocks while warming and catching up. After an exception, call `stop`."""
        process = self._process
        process.data_dir.mkdir(parents=True, exist_ok=True)
        self.metrics_port = self._stack.enter_context(serve_metrics(self._registry, process.metrics_listen))
        self._parts.shards.start()
        self._stack.callback(self._parts.shards.stop)
        host = leaf_host(self._parts, refuse_all=self.refuse_all)
        self._stack.callback(host.channels.close)
        self._leaf = self._build(self._config, host)
        self._server = self._listen(self._leaf)
        self._leaf.warm()
        self._catch_up(self._leaf)
        if not self.stopping.is_set():
            self._serve()

    def give_up(self, fault: BaseException) -> None:
        """End the process because of `fault`; from any thread, returns at once."""
        self.fault = self.fault or fault
        self.stopping.set()

    def refuse_all(self, refusal: FeedmeshError) -> None:
        """Answer every call with `refusal` from now on, and say NOT_SERVING; from any thread."""
        with self._phases:
            self._refusal = refusal
            if self._envelope is None or self._server is None or self._envelope.phase is Phase.DRAINING:
                return
            self._envelope.refusal = refusal
            self._envelope.phase = Phase.REFUSING
            self._server.set_serving(False)
        self._metrics.not_ready()
        self._parts.log.error("every call is refused", reason=str(refusal))

    def stop(self) -> bool:
        """Drain and close. False when calls outlived `drain_s`: the store was then left open beneath them."""
        drained = self._drain()
        if self._leaf is not None:
            if self._leaf.follower is not None:
                self._leaf.follower.stop()
            if drained:
                self._leaf.close()
        self._stack.close()
        return drained

    def _listen(self, leaf: Leaf) -> RpcServer:
        follower = leaf.follower
        gate = leaf.gate
        if gate is None and follower is not None:
            gate = follower.wait_token
        self._envelope = Envelope(
            self._process,
            gate=gate,
            stale_ms=None if follower is None else follower.stale_ms,
            log=self._parts.log,
        )
        server = RpcServer(
            self._process, leaf.services, envelope=self._envelope, metrics=ServerMetrics(self._registry)
        )
        server.start()
        return server

    def _catch_up(self, leaf: Leaf) -> None:
        if leaf.follower is None:
            return
        leaf.follower.start()
        patience = time.monotonic() + self._process.catch_up_s_max
        while not leaf.follower.caught_up() and not self.stopping.wait(_CATCH_UP_POLL_S):
            if self._refusal is not None:
                return
            if time.monotonic() >= patience:
                self._parts.log.warning("serving before the log is caught up with")
                return

    def _serve(self) -> None:
        assert self._envelope is not None
        assert self._server is not None
        with self._phases:
            if self._refusal is not None:
                return
            self._envelope.phase = Phase.SERVING
            self._server.set_serving(True)
        took_s = self._metrics.ready()
        self._parts.log.info(
            "ready",
            port=self._server.port,
            metrics_port=self.metrics_port,
            shards=int(self._parts.owned.mask.sum()),
            ms_since_start=round(took_s * 1000),
        )

    def _drain(self) -> bool:
        self._metrics.not_ready()
        if self._envelope is None or self._server is None:
            return True
        with self._phases:
            serving = self._envelope.phase is Phase.SERVING
            self._envelope.phase = Phase.DRAINING
        linger_s = self._process.drain_linger_ms / 1000 if serving else 0.0
        drained = self._server.stop(drain_s=self._process.drain_s, linger_s=linger_s)
        if not drained:
            self._parts.log.warning("calls outlived the drain", drain_s=self._process.drain_s)
        return drained
