"""Calls to other processes, from threads: one channel per host, a deadline on every call, errors of the tree.

`Channels.call` blocks, `Channels.start` returns a future (the router's parallel calls), `Channels.stream`
reads a response stream. Each forwards the request id, the token and the remaining time of the call being
served. Plain functions around the stub, not client interceptors: those wrap every call in several objects.
`aio_channel.py` is the same for asyncio.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic

import grpc

from services.chassis.errors import Cancelled, FeedmeshError, TooLate
from services.chassis.process import METADATA_BYTES_MAX, ChannelConfig
from services.chassis.rpc.context import current
from services.chassis.rpc.method import Method, Request, Response, outgoing
from services.chassis.rpc.rpc_metrics import ClientMetrics, MethodMetrics, counting_in, counting_out
from services.chassis.rpc.status import from_rpc


class Channels:
    """The channels of one process, made at the first call to a host and kept. Safe from any thread."""

    def __init__(
        self, config: ChannelConfig, metrics: ClientMetrics, *, message_bytes_max: int = 32 << 20
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._message_bytes_max = message_bytes_max
        self._default_s = config.timeout_ms / 1000
        self._lock = threading.Lock()
        self._channels: dict[tuple[str, bool], grpc.Channel] = {}
        self._calls: dict[tuple[str, str, bool], tuple[Any, MethodMetrics]] = {}

    def call(
        self,
        address: str,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
        retry: bool | None = None,
    ) -> Response:
        """Call and wait. `retry` (absent: when `method` is idempotent) tries again on UNAVAILABLE.

        Raises the FeedmeshError that the server raised, or the one that stands for the failure on the way.
        """
        multicallable, metrics = self._bound(address, method, retry=retry)
        timeout, metadata = outgoing(current(), timeout_s=timeout_s, default_s=self._default_s)
        if timeout <= 0:
            raise too_late(address, method.path)
        started, code = time.perf_counter(), "OK"
        try:
            # Not start().result(): a blocking call waits on a queue of its own, not for grpcio's thread.
            response: Response = multicallable(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code().name
            raise from_rpc(error) from error
        else:
            return response
        finally:
            metrics.finished(code, time.perf_counter() - started)

    def start(
        self,
        address: str,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
        retry: bool | None = None,
    ) -> Pending[Response]:
        """Send without waiting. Raises TooLate when no time is left."""
        multicallable, metrics = self._bound(address, method, retry=retry)
        timeout, metadata = outgoing(current(), timeout_s=timeout_s, default_s=self._default_s)
        if timeout <= 0:
            raise too_late(address, method.path)
        return Pending(multicallable.future(request, timeout=timeout, metadata=metadata), metrics)

    def stream(
        self,
        address: str,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
    ) -> ResponseStream[Response]:
        """Open a response stream; without `timeout_s` it has no deadline (the log's Tail)."""
        call = self.channel(address).unary_stream(
            method.path, method.request.SerializeToString, method.response.FromString
        )
        _, metadata = outgoing(current(), timeout_s=timeout_s, default_s=self._default_s)
        return ResponseStream(call(request, timeout=timeout_s, metadata=metadata))

    def channel(self, address: str, *, retry: bool = False) -> grpc.Channel:
        """The channel itself, for generated stubs; two per host, because a retry policy is a channel's."""
        key = (address, retry)
        with self._lock:
            channel = self._channels.get(key)
            if channel is None:
                options = channel_options(
                    self._config, retry=retry, message_bytes_max=self._message_bytes_max
                )
                channel = self._channels[key] = grpc.insecure_channel(address, options=options)
            return channel

    def close(self) -> None:
        """Close every channel; calls in flight are cancelled."""
        with self._lock:
            channels = list(self._channels.values())
            self._channels.clear()
            self._calls.clear()
        for channel in channels:
            channel.close()

    def _bound(
        self, address: str, method: Method[Any, Any], *, retry: bool | None
    ) -> tuple[Any, MethodMetrics]:
        if retry is None:
            retry = method.idempotent
        key = (address, method.path, retry)
        bound = self._calls.get(key)
        if bound is None:
            metrics = self._metrics.of(target=address, method=method.path)
            multicallable = self.channel(address, retry=retry).unary_unary(
                method.path,
                counting_out(method.request.SerializeToString, metrics.sent),
                counting_in(method.response.FromString, metrics.received),
            )
            bound = self._calls[key] = (multicallable, metrics)
        return bound


class Pending(Generic[Response]):
    """A call on its way."""

    __slots__ = ("_future", "_metrics", "_started")

    def __init__(self, future: Any, metrics: MethodMetrics) -> None:
        self._future = future
        self._metrics = metrics
        self._started = time.perf_counter()
        # Here and not in result(): an answer nobody waits for (a lost hedge) is counted too.
        future.add_done_callback(self._count)

    def result(self) -> Response:
        """Wait for the answer, at most until the call's deadline. Raises FeedmeshError."""
        try:
            response: Response = self._future.result()
        except grpc.FutureCancelledError as error:
            raise Cancelled("the call was cancelled here") from error
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        return response

    def on_done(self, callback: Callable[[], None]) -> None:
        """Run `callback` on grpcio's thread when the answer is here; at once if it already is."""
        self._future.add_done_callback(lambda _: callback())

    def cancel(self) -> None:
        """Stop waiting, and tell the server."""
        self._future.cancel()

    def _count(self, future: Any) -> None:
        self._metrics.finished(future.code().name, time.perf_counter() - self._started)


class ResponseStream(Generic[Response]):
    """Messages of an open stream; iterating raises FeedmeshError, and ends after `cancel`."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._cancelled = False

    def __iter__(self) -> Iterator[Response]:
        return self

    def __next__(self) -> Response:
        try:
            message: Response = next(self._call)
        except grpc.RpcError as error:
            if self._cancelled:
                raise StopIteration from None
            raise from_rpc(error) from error
        return message

    def cancel(self) -> None:
        """End the stream from any thread; the server is told."""
        self._cancelled = True
        self._call.cancel()


def channel_options(config: ChannelConfig, *, retry: bool, message_bytes_max: int) -> list[tuple[str, Any]]:
    """Channel arguments of both worlds. Why keepalive: `ChannelConfig.keepalive_ms`."""
    service_config: dict[str, Any] = {}
    if retry and config.retry_attempts > 1:
        service_config["methodConfig"] = [{"name": [{}], "retryPolicy": _retry_policy(config)}]
        # Tokens: a host that mostly fails is not also asked several times.
        service_config["retryThrottling"] = {"maxTokens": 100, "tokenRatio": 0.1}
    return [
        ("grpc.keepalive_time_ms", config.keepalive_ms),
        ("grpc.keepalive_timeout_ms", config.keepalive_timeout_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", min(100, config.reconnect_ms_max)),
        ("grpc.min_reconnect_backoff_ms", min(100, config.reconnect_ms_max)),
        ("grpc.max_reconnect_backoff_ms", config.reconnect_ms_max),
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.enable_retries", int(retry)),
        ("grpc.service_config", json.dumps(service_config)),
    ]


def too_late(address: str, path: str) -> FeedmeshError:
    """The error of a call that is not sent because its time is up."""
    return TooLate(f"no time is left to call {path}", target=address)


def _retry_policy(config: ChannelConfig) -> dict[str, Any]:
    backoff_s = config.retry_backoff_ms / 1000
    return {
        "maxAttempts": config.retry_attempts,
        "initialBackoff": f"{backoff_s:.3f}s",
        "maxBackoff": f"{backoff_s * 8:.3f}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
