"""`channel.py` for asyncio: the orchestrator's calls. Same options, same metadata, same errors."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.chassis.errors import Cancelled
from services.chassis.process import ChannelConfig
from services.chassis.rpc.channel import channel_options, too_late
from services.chassis.rpc.context import STALE_KEY, Staleness, add_span, current, staleness
from services.chassis.rpc.method import Method, Request, Response, outgoing
from services.chassis.rpc.rpc_metrics import ClientMetrics, MethodMetrics, counting_in, counting_out
from services.chassis.rpc.status import from_rpc


class AioChannels:
    """The channels of one process; used by one event loop only."""

    def __init__(
        self, config: ChannelConfig, metrics: ClientMetrics, *, message_bytes_max: int = 32 << 20
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._message_bytes_max = message_bytes_max
        self._default_s = config.timeout_ms / 1000
        self._channels: dict[tuple[str, bool], grpc.aio.Channel] = {}
        self._calls: dict[tuple[str, str, bool], tuple[Any, MethodMetrics]] = {}

    async def call(
        self,
        address: str,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
        retry: bool | None = None,
    ) -> Response:
        """Call and wait. `retry` (absent: when `method` is idempotent) tries again on UNAVAILABLE.

        Raises FeedmeshError; cancelling the task cancels the call on the server.
        """
        multicallable, metrics = self._bound(
            address, method, retry=method.idempotent if retry is None else retry
        )
        timeout, metadata = outgoing(current(), timeout_s=timeout_s, default_s=self._default_s)
        if timeout <= 0:
            raise too_late(address, method.path)
        started = time.perf_counter()
        code = Cancelled.reason
        try:
            call = multicallable(request, timeout=timeout, metadata=metadata)
            response: Response = await call
            marks = staleness()
            if marks is not None:
                _note(marks, await call.trailing_metadata())
        except grpc.RpcError as error:
            code = error.code().name
            raise from_rpc(error) from error
        else:
            code = "OK"
            return response
        finally:
            elapsed = time.perf_counter() - started
            metrics.finished(code, elapsed)
            add_span(method.path, address, started=started, elapsed=elapsed, code=code)

    async def stream(
        self,
        address: str,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Response]:
        """The messages of a response stream; without `timeout_s` it has no deadline."""
        call = self.channel(address).unary_stream(
            method.path, method.request.SerializeToString, method.response.FromString
        )
        _, metadata = outgoing(current(), timeout_s=timeout_s, default_s=self._default_s)
        try:
            async for message in call(request, timeout=timeout_s, metadata=metadata):
                yield message
        except grpc.RpcError as error:
            raise from_rpc(error) from error

    def channel(self, address: str, *, retry: bool = False) -> grpc.aio.Channel:
        """The channel itself, for generated stubs."""
        key = (address, retry)
        channel = self._channels.get(key)
        if channel is None:
            options = channel_options(self._config, retry=retry, message_bytes_max=self._message_bytes_max)
            channel = self._channels[key] = grpc.aio.insecure_channel(address, options=options)
        return channel

    async def close(self) -> None:
        """Close every channel; calls in flight are cancelled."""
        channels = list(self._channels.values())
        self._channels.clear()
        self._calls.clear()
        for channel in channels:
            await channel.close(None)

    def _bound(self, address: str, method: Method[Any, Any], *, retry: bool) -> tuple[Any, MethodMetrics]:
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


def _note(marks: Staleness, trailing: Any) -> None:
    """Keep an answer's mark when it is the greatest. One that is no number is a stranger's, and no fault."""
    for key, value in trailing or ():
        if key == STALE_KEY and value.isdecimal():
            marks.ms = max(marks.ms, int(value))
