"""The threaded server of every leaf, and the interceptor that puts the envelope around its handlers.

Three pools, so that no kind of call can starve another (grpcio submits a call to the pool that its
handler names, on the one thread that accepts calls, in order of arrival):

- the work pool: `threads`, with at most `queue_max` waiting. What comes then is QueueFull at once, from
  the system pool; waiting longer in a longer queue would only move the deadline faults later.
- the stream pool: one thread per open stream (the log's Tail), which would otherwise hold a worker each.
- the system pool: health, reflection, refusals. They answer while every worker is busy.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.chassis.errors import Cancelled, QueueFull
from services.chassis.process import KEEPALIVE_MARGIN, METADATA_BYTES_MAX, ProcessConfig
from services.chassis.rpc.context import STALE_KEY
from services.chassis.rpc.envelope import SYSTEM_PREFIXES, Envelope, check_readable, reading
from services.chassis.rpc.reflection import enable_reflection
from services.chassis.rpc.rpc_metrics import MethodMetrics, ServerMetrics, counting_in, counting_out
from services.chassis.rpc.status import RpcStatus

AddTo = Callable[[Any, Any], None]
"""Generated `add_<Service>Servicer_to_server`."""

Service = tuple[AddTo, Any, str]
"""(add_X_to_server, servicer, full name of the service)."""

_ARRIVED: ContextVar[float] = ContextVar("feedmesh_arrived", default=0.0)
_SYSTEM_THREADS: Final = 8
_STREAM_END_S: Final = 2.0


class RpcServer:
    """Serves `services` on `config.listen`. Health starts as NOT_SERVING; raises OSError on a taken port."""

    def __init__(
        self,
        config: ProcessConfig,
        services: Sequence[Service],
        *,
        envelope: Envelope,
        metrics: ServerMetrics,
    ) -> None:
        self._envelope = envelope
        self._work = WorkPool(config.threads, "rpc", room=config.threads + config.queue_max)
        self._streams = WorkPool(max(1, config.streams_max), "stream", room=config.streams_max)
        self._system = ThreadPoolExecutor(_SYSTEM_THREADS, thread_name_prefix="system")
        metrics.in_flight.set_function(lambda: self._work.busy)
        metrics.streams.set_function(lambda: self._streams.busy)
        interceptor = _EnvelopeInterceptor(envelope, metrics, self._work, self._streams, self._system)
        self._server = grpc.server(self._work, interceptors=[interceptor], options=server_options(config))
        self._health = health.HealthServicer()
        self._names = ["", *(name for _, _, name in services)]
        for add_to_server, servicer, _ in services:
            add_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        enable_reflection(self._names[1:], self._server)
        self.set_serving(False)
        self.port = bind(self._server, config.listen)

    def start(self) -> None:
        """Accept calls."""
        self._server.start()

    def set_serving(self, serving: bool) -> None:
        """What health says of the process and of each service."""
        status = health_pb2.HealthCheckResponse
        for name in self._names:
            self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    def stop(self, *, drain_s: float, linger_s: float) -> bool:
        """Let calls in flight finish, then stop. The envelope must be DRAINING already.

        Streams are cancelled. True when nothing of ours runs any more, so that stores may close.
        """
        self._health.enter_graceful_shutdown()
        began = time.monotonic()
        drained = self._work.wait_idle(drain_s)
        # Callers that have not heard yet get UNAVAILABLE from the envelope rather than a reset.
        time.sleep(max(0.0, linger_s - (time.monotonic() - began)))
        self._server.stop(None).wait()
        # Cancelled, but a servicer may sit in its poll a moment longer, with the store in its hands.
        drained &= self._streams.wait_idle(_STREAM_END_S)
        for pool in (self._work, self._streams, self._system):
            pool.shutdown(wait=False, cancel_futures=True)
        return drained


class WorkPool(ThreadPoolExecutor):
    """A thread pool that knows how many calls it holds, running and waiting."""

    def __init__(self, threads: int, name: str, *, room: int) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self.busy = 0
        self.room = room
        self._idle = threading.Condition()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call. Never refuses: the interceptor looks at `full` first, on the accepting thread."""
        with self._idle:
            self.busy += 1
        try:
            future = super().submit(fn, *args, **kwargs)
        except RuntimeError:
            self._done(None)
            raise
        future.add_done_callback(self._done)
        return future

    @property
    def full(self) -> bool:
        """No room for one more call."""
        return self.busy >= self.room

    def wait_idle(self, timeout_s: float) -> bool:
        """Block until no call is held; False when `timeout_s` passed first."""
        with self._idle:
            return self._idle.wait_for(lambda: self.busy == 0, timeout_s)

    def _done(self, _future: Any) -> None:
        with self._idle:
            self.busy -= 1
            if self.busy == 0:
                self._idle.notify_all()


def server_options(config: ProcessConfig) -> list[tuple[str, Any]]:
    """Channel arguments of both servers."""
    channels = config.channels
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", config.message_bytes_max),
        ("grpc.max_send_message_length", config.message_bytes_max),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        # Without this a second process binds the same port in silence, and takes half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", channels.keepalive_ms // KEEPALIVE_MARGIN),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        # A client whose machine died must not hold a stream's thread for ever.
        ("grpc.keepalive_time_ms", channels.keepalive_ms * 5),
        ("grpc.keepalive_timeout_ms", channels.keepalive_timeout_ms * 5),
    ]
    if config.connection_age_ms_max:
        options.append(("grpc.max_connection_age_ms", config.connection_age_ms_max))
    return options


def bind(server: grpc.Server | grpc.aio.Server, listen: str) -> int:
    """Bind, and return the port. Raises OSError that names the address."""
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OSError(f"{listen} cannot be bound; is another process listening there?") from error
    return int(port)


class _EnvelopeInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps each method's handler once; per call it only notes the time and looks at the room."""

    def __init__(
        self,
        envelope: Envelope,
        metrics: ServerMetrics,
        work: WorkPool,
        streams: WorkPool,
        system: ThreadPoolExecutor,
    ) -> None:
        self._envelope = envelope
        self._metrics = metrics
        self._work, self._streams, self._system = work, streams, system
        self._wrapped: dict[str, tuple[Any, WorkPool | None, Any]] = {}

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Runs on the accepting thread, inside the context that the handler will run in."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = continuation(handler_call_details)
            if handler is None:
                return None
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        handler, pool, refusal = wrapped
        _ARRIVED.set(time.perf_counter())
        if pool is not None and pool.full:
            return refusal
        return handler

    def _wrap(self, method: str, handler: Any) -> tuple[Any, WorkPool | None, Any]:
        if method.startswith(SYSTEM_PREFIXES):
            return _moved(handler, self._system), None, None
        metrics = self._metrics.of(method)
        refuse = _refusing(self._envelope, method, metrics, self._system)
        if handler.unary_unary is not None:
            call = _unary(self._envelope, method, metrics, handler.unary_unary)
            return _like(handler, call, metrics), self._work, _like(handler, refuse, metrics)
        if handler.unary_stream is not None:
            stream = _streaming(self._envelope, method, metrics, handler.unary_stream)
            moved = _on(self._streams, stream)
            return _like(handler, moved, metrics), self._streams, _like(handler, refuse, metrics)
        raise TypeError(
            f"{method}: streams of requests have no envelope; make it unary, or a response stream"
        )


def _unary(
    envelope: Envelope, method: str, metrics: MethodMetrics, inner: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    stale = envelope.stale_ms

    def call(request: Any, context: Any) -> Any:
        code = "OK"
        try:
            envelope.begin(context.invocation_metadata(), context.time_remaining())
            check_readable(request)
            if stale is not None and (stale_ms := stale()):
                context.set_trailing_metadata(((STALE_KEY, str(stale_ms)),))
            return inner(request, context)
        except Exception as error:  # noqa: BLE001  every error becomes a status, here
            status = envelope.failure(method, error)
            code = status.code.name
            _abort(context, status)
        finally:
            metrics.finished(code, time.perf_counter() - _ARRIVED.get())

    return call


def _streaming(
    envelope: Envelope, method: str, metrics: MethodMetrics, inner: Callable[[Any, Any], Iterator[Any]]
) -> Callable[[Any, Any], Iterator[Any]]:
    def stream(request: Any, context: Any) -> Iterator[Any]:
        # Stays so when the caller goes away: grpcio then drops this generator where it stands.
        code = Cancelled.reason
        try:
            envelope.begin(context.invocation_metadata(), context.time_remaining(), streaming=True)
            check_readable(request)
            for response in inner(request, context):
                yield response
                envelope.check_open()
            code = "OK"
        except Exception as error:  # noqa: BLE001  every error becomes a status, here
            status = envelope.failure(method, error)
            code = status.code.name
            _abort(context, status)
        finally:
            metrics.ended(code)

    return stream


def _refusing(envelope: Envelope, method: str, metrics: MethodMetrics, pool: ThreadPoolExecutor) -> Any:
    def refuse(_request: Any, context: Any) -> Any:
        status = envelope.failure(
            method, QueueFull("this process holds as many calls as it may; wait a little")
        )
        metrics.ended(status.code.name)
        _abort(context, status)

    return _on(pool, refuse)


def _abort(context: Any, status: RpcStatus) -> NoReturn:
    context.set_trailing_metadata(status.trailing_metadata)
    context.abort(status.code, status.message)
    raise AssertionError("abort raises")


def _like(handler: Any, behavior: Callable[[Any, Any], Any], metrics: MethodMetrics) -> Any:
    """`handler` with another behaviour, and with its bytes counted: their length is known only there."""
    make = (
        grpc.unary_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    return make(
        behavior,
        request_deserializer=counting_in(reading(handler.request_deserializer), metrics.received),
        response_serializer=counting_out(handler.response_serializer, metrics.sent),
    )


def _moved(handler: Any, pool: ThreadPoolExecutor) -> Any:
    """A system handler, on the system pool; its behaviour keeps its other attributes."""
    for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
        behavior = getattr(handler, kind)
        if behavior is not None:
            make = getattr(grpc, f"{kind}_rpc_method_handler")
            return make(_on(pool, behavior), handler.request_deserializer, handler.response_serializer)
    raise AssertionError("a handler has one behaviour")


def _on(pool: ThreadPoolExecutor, behavior: Callable[..., Any]) -> Any:
    """`behavior` as grpcio runs it on `pool`. A partial, because bound methods take no attributes."""
    moved: Any = functools.partial(behavior)
    moved.experimental_thread_pool = pool
    moved.experimental_non_blocking = getattr(behavior, "experimental_non_blocking", False)
    return moved
