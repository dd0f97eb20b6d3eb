"""The asyncio server of the orchestrator, with the envelope of `server.py`'s threads.

Calls do not queue here: each is a task at once. So the bound (`threads + queue_max`, the same two knobs)
is on calls in flight, and a call beyond it is QueueFull. There is no token gate: an orchestrator has no
replica of its own, it forwards the token to those that have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.chassis.errors import Cancelled, QueueFull
from services.chassis.process import ProcessConfig
from services.chassis.rpc.envelope import SYSTEM_PREFIXES, Envelope, check_readable, reading
from services.chassis.rpc.reflection import enable_reflection
from services.chassis.rpc.rpc_metrics import MethodMetrics, ServerMetrics, counting_in, counting_out
from services.chassis.rpc.server import Service, bind, server_options
from services.chassis.rpc.status import RpcStatus


class AioRpcServer:
    """Serves `services` on `config.listen`; make it inside the event loop. Health starts as NOT_SERVING."""

    def __init__(
        self,
        config: ProcessConfig,
        services: Sequence[Service],
        *,
        envelope: Envelope,
        metrics: ServerMetrics,
    ) -> None:
        self._calls = _CallsInFlight(config.threads + config.queue_max)
        metrics.in_flight.set_function(lambda: self._calls.count)
        self._server = grpc.aio.server(
            interceptors=[_AioEnvelopeInterceptor(envelope, metrics, self._calls)],
            options=server_options(config),
        )
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._names = ["", *(name for _, _, name in services)]
        for add_to_server, servicer, _ in services:
            add_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        enable_reflection(self._names[1:], self._server)
        self.port = bind(self._server, config.listen)

    async def start(self) -> None:
        """Accept calls."""
        await self.set_serving(False)
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What health says of the process and of each service."""
        status = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self, *, drain_s: float, linger_s: float) -> bool:
        """Let calls in flight finish, then stop. The envelope must be DRAINING already.

        True when all finished within `drain_s`.
        """
        await self._health.enter_graceful_shutdown()
        began = time.monotonic()
        drained = await self._calls.wait_idle(drain_s)
        await asyncio.sleep(max(0.0, linger_s - (time.monotonic() - began)))
        await self._server.stop(None)
        return drained


class _CallsInFlight:
    """Counts calls; used by the event loop's thread only."""

    def __init__(self, room: int) -> None:
        self.count = 0
        self._room = room
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """Raises QueueFull."""
        if self.count >= self._room:
            raise QueueFull("this process holds as many calls as it may; wait a little")
        self.count += 1
        self._idle.clear()

    def leave(self) -> None:
        self.count -= 1
        if self.count == 0:
            self._idle.set()

    async def wait_idle(self, timeout_s: float) -> bool:
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


class _AioEnvelopeInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps each method's handler once."""

    def __init__(self, envelope: Envelope, metrics: ServerMetrics, calls: _CallsInFlight) -> None:
        self._envelope = envelope
        self._metrics = metrics
        self._calls = calls
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or method.startswith(SYSTEM_PREFIXES):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        metrics = self._metrics.of(method)
        if handler.unary_unary is not None:
            make: Any = grpc.unary_unary_rpc_method_handler
            behavior: Any = _unary(self._envelope, self._calls, method, metrics, handler.unary_unary)
        elif handler.unary_stream is not None:
            make = grpc.unary_stream_rpc_method_handler
            behavior = _streaming(self._envelope, self._calls, method, metrics, handler.unary_stream)
        else:
            raise TypeError(f"{method}: streams of requests have no envelope")
        return make(
            behavior,
            request_deserializer=counting_in(reading(handler.request_deserializer), metrics.received),
            response_serializer=counting_out(handler.response_serializer, metrics.sent),
        )


def _unary(
    envelope: Envelope, calls: _CallsInFlight, method: str, metrics: MethodMetrics, inner: Callable[..., Any]
) -> Callable[..., Any]:
    async def call(request: Any, context: Any) -> Any:
        arrived = time.perf_counter()
        # Stays so when the caller goes away: asyncio then cancels this task.
        code = Cancelled.reason
        entered = False
        try:
            calls.enter()
            entered = True
            envelope.begin(context.invocation_metadata() or (), context.time_remaining())
            check_readable(request)
            response = await inner(request, context)
        except Exception as error:  # noqa: BLE001  every error becomes a status, here
            status = envelope.failure(method, error)
            code = status.code.name
            await _abort(context, status)
        else:
            code = "OK"
            return response
        finally:
            if entered:
                calls.leave()
            metrics.finished(code, time.perf_counter() - arrived)

    return call


def _streaming(
    envelope: Envelope, calls: _CallsInFlight, method: str, metrics: MethodMetrics, inner: Callable[..., Any]
) -> Callable[..., Any]:
    async def stream(request: Any, context: Any) -> Any:
        code = Cancelled.reason
        entered = False
        try:
            calls.enter()
            entered = True
            envelope.begin(context.invocation_metadata() or (), context.time_remaining(), streaming=True)
            check_readable(request)
            async for response in inner(request, context):
                yield response
                envelope.check_open()
            code = "OK"
        except Exception as error:  # noqa: BLE001  every error becomes a status, here
            status = envelope.failure(method, error)
            code = status.code.name
            await _abort(context, status)
        finally:
            if entered:
                calls.leave()
            metrics.ended(code)

    return stream


async def _abort(context: Any, status: RpcStatus) -> NoReturn:
    await context.abort(status.code, status.message, status.trailing_metadata)
    raise AssertionError("abort raises")
