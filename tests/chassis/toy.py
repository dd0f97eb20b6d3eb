"""A service small enough to be written by hand: one unary method, one stream, over health's messages.

It stands in for any leaf, so that the chassis can be tested without knowing one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.host import Host, Leaf
from services.chassis.process import ProcessConfig
from services.chassis.rpc.method import Method

SERVICE = "feedmesh.toy.v1.ToyService"
ASK = Method(f"/{SERVICE}/Ask", HealthCheckRequest, HealthCheckResponse)
COUNT = Method(f"/{SERVICE}/Count", HealthCheckRequest, HealthCheckResponse)


@dataclass(frozen=True, config=CONFIG)
class ToyConfig:
    """The toy's knobs."""

    process: ProcessConfig = ProcessConfig()
    """Addresses and limits."""


class Toy:
    """Answers with what `answer(text)` returns, or raises what it raises; remembers what it was asked."""

    def __init__(self, answer: Callable[[str], int] = lambda _: 1) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.metadata: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def ask(self, request: HealthCheckRequest, context: grpc.ServicerContext) -> HealthCheckResponse:
        with self._lock:
            self.asked.append(request.service)
            self.metadata.append(dict(context.invocation_metadata() or ()))
        return HealthCheckResponse(status=self.answer(request.service))

    def count(self, request: HealthCheckRequest, _context: Any) -> Iterator[HealthCheckResponse]:
        """As many answers as `answer` says, then what it raises for "end"."""
        for status in range(self.answer(request.service)):
            yield HealthCheckResponse(status=status)
        self.answer("end")

    async def ask_aio(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
        return self.ask(request, context)

    async def count_aio(self, request: HealthCheckRequest, context: Any) -> Any:
        for message in self.count(request, context):
            yield message


def add_toy(toy: Toy, server: Any) -> None:
    """As generated code registers a servicer."""
    aio = isinstance(server, grpc.aio.Server)
    serialize = {
        "request_deserializer": HealthCheckRequest.FromString,
        "response_serializer": HealthCheckResponse.SerializeToString,
    }
    handlers = {
        "Ask": grpc.unary_unary_rpc_method_handler(toy.ask_aio if aio else toy.ask, **serialize),
        "Count": grpc.unary_stream_rpc_method_handler(toy.count_aio if aio else toy.count, **serialize),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def build_toy(toy: Toy) -> Callable[[ToyConfig, Host], Leaf]:
    """A `build` for a leaf that serves `toy`."""
    return lambda _config, _host: Leaf(services=[(add_toy, toy, SERVICE)])


class ToyFollower:
    """Caught up at once, and silent for as long as a test says."""

    def __init__(self) -> None:
        self.stale = 0

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def caught_up(self) -> bool:
        return True

    def wait_token(self, token: bytes, timeout_s: float) -> None: ...

    def stale_ms(self) -> int:
        return self.stale
