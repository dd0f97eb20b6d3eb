"""The metrics of calls, in and out: one table, children bound once per method, not once per call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.chassis.metrics import LATENCY_BUCKETS_S


class MethodMetrics:
    """One method's children of the families."""

    __slots__ = ("_codes", "_seconds", "_total", "received", "sent")

    def __init__(
        self, seconds: Histogram, total: Callable[[str], Counter], received: Counter, sent: Counter
    ) -> None:
        self._seconds = seconds
        self._total = total
        self._codes: dict[str, Counter] = {"OK": total("OK")}
        self.received = received
        self.sent = sent

    def finished(self, code: str, seconds: float) -> None:
        """Count one unary call."""
        self._seconds.observe(seconds)
        self.ended(code)

    def ended(self, code: str) -> None:
        """Count one call whose length says nothing: a stream, a call that was refused at the door."""
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = self._total(code)
        counter.inc()


class ServerMetrics:
    """What this process answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "feedmesh_rpc_server_seconds",
            "Time from a unary call's arrival to its answer, waiting for a thread included.",
            ["method"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._total = Counter(
            "feedmesh_rpc_server_total", "Calls answered.", ["method", "code"], registry=registry
        )
        self._received = Counter(
            "feedmesh_rpc_server_received_bytes_total", "Bytes of requests.", ["method"], registry=registry
        )
        self._sent = Counter(
            "feedmesh_rpc_server_sent_bytes_total", "Bytes of responses.", ["method"], registry=registry
        )
        self.in_flight = Gauge(
            "feedmesh_rpc_server_in_flight",
            "Unary calls running or waiting for a thread.",
            registry=registry,
        )
        self.streams = Gauge("feedmesh_rpc_server_streams", "Open response streams.", registry=registry)

    def of(self, method: str) -> MethodMetrics:
        """The children for `/package.Service/Method`."""
        return MethodMetrics(
            self._seconds.labels(method),
            lambda code: self._total.labels(method, code),
            self._received.labels(method),
            self._sent.labels(method),
        )


class ClientMetrics:
    """What this process asks of others."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "feedmesh_rpc_client_seconds",
            "Time of a unary call to another process, retries included.",
            ["target", "method"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._total = Counter(
            "feedmesh_rpc_client_total",
            "Calls to other processes by outcome.",
            ["target", "method", "code"],
            registry=registry,
        )
        self._received = Counter(
            "feedmesh_rpc_client_received_bytes_total",
            "Bytes of responses.",
            ["target", "method"],
            registry=registry,
        )
        self._sent = Counter(
            "feedmesh_rpc_client_sent_bytes_total",
            "Bytes of requests.",
            ["target", "method"],
            registry=registry,
        )

    def of(self, *, target: str, method: str) -> MethodMetrics:
        """The children for one method of one host."""
        return MethodMetrics(
            self._seconds.labels(target, method),
            lambda code: self._total.labels(target, method, code),
            self._received.labels(target, method),
            self._sent.labels(target, method),
        )


def counting_in(deserialize: Callable[[bytes], Any] | None, received: Counter) -> Callable[[bytes], Any]:
    """`deserialize` that counts the bytes it is given."""

    def counted(data: bytes) -> Any:
        received.inc(len(data))
        return data if deserialize is None else deserialize(data)

    return counted


def counting_out(serialize: Callable[[Any], bytes] | None, sent: Counter) -> Callable[[Any], bytes]:
    """`serialize` that counts the bytes it returns."""

    def counted(message: Any) -> bytes:
        data: bytes = message if serialize is None else serialize(message)
        sent.inc(len(data))
        return data

    return counted
