"""Channels: what is forwarded, what is retried, what is counted."""

from __future__ import annotations

import contextvars
import time

import pytest
from ephemeral_port_reserve import reserve
from grpc_health.v1.health_pb2 import HealthCheckRequest
from prometheus_client.registry import CollectorRegistry

from services.chassis import errors
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.context import CallContext, enter
from services.chassis.rpc.method import Method, outgoing
from tests.chassis.serving import Serve
from tests.chassis.toy import ASK, Toy

REQUEST = HealthCheckRequest(service="q")
WRITE = Method(ASK.path, ASK.request, ASK.response, idempotent=False)


def failing_once() -> Toy:
    """Draining at the first call, well after it."""
    calls: list[str] = []

    def answer(text: str) -> int:
        calls.append(text)
        if len(calls) == 1:
            raise errors.Draining("once")
        return 1

    return Toy(answer)


def test_an_idempotent_call_is_retried_on_unavailable(serve: Serve, channels: Channels) -> None:
    served = serve(failing_once())
    assert channels.call(served.address, ASK, REQUEST).status == 1
    assert len(served.toy.asked) == 2


def test_a_call_that_is_not_idempotent_is_not_retried(serve: Serve, channels: Channels) -> None:
    served = serve(failing_once())
    with pytest.raises(errors.Draining):
        channels.call(served.address, WRITE, REQUEST)
    assert len(served.toy.asked) == 1


def test_a_host_that_is_down_is_unavailable(channels: Channels) -> None:
    with pytest.raises(errors.Unavailable):
        channels.call(f"127.0.0.1:{reserve()}", ASK, REQUEST, timeout_s=2.0)


def test_the_call_being_served_gives_its_id_and_token_to_the_next(serve: Serve, channels: Channels) -> None:
    served = serve()

    def call() -> None:
        enter(CallContext("abc", time.monotonic() + 5, b"\x01\xfe"))
        channels.call(served.address, ASK, REQUEST)

    contextvars.copy_context().run(call)
    (metadata,) = served.toy.metadata
    assert metadata["x-request-id"] == "abc"
    assert metadata["feedmesh-token-bin"] == b"\x01\xfe"


def test_no_call_is_sent_when_the_time_of_the_incoming_one_is_up(serve: Serve, channels: Channels) -> None:
    served = serve()

    def call() -> None:
        enter(CallContext("abc", time.monotonic() - 1))
        channels.call(served.address, ASK, REQUEST, timeout_s=5.0)

    with pytest.raises(errors.TooLate):
        contextvars.copy_context().run(call)
    assert served.toy.asked == []


@pytest.mark.parametrize(
    ("left_s", "timeout_s", "expected_s"),
    [(9.0, 2.0, 2.0), (1.0, 2.0, 1.0), (9.0, None, 3.0), (None, None, 3.0)],
    ids=["own timeout", "time left", "default", "no deadline"],
)
def test_the_timeout_is_the_least_of_all(
    left_s: float | None, timeout_s: float | None, expected_s: float
) -> None:
    call = CallContext("abc", None if left_s is None else time.monotonic() + left_s)
    timeout, _ = outgoing(call, timeout_s=timeout_s, default_s=3.0)
    assert timeout == pytest.approx(expected_s, abs=0.5)


def test_calls_are_counted_by_target_method_and_code(
    serve: Serve, channels: Channels, client_registry: CollectorRegistry
) -> None:
    served = serve()
    channels.call(served.address, ASK, REQUEST)
    channels.start(served.address, ASK, REQUEST).result()
    channels.close()
    labels = {"target": served.address, "method": ASK.path}
    assert client_registry.get_sample_value("feedmesh_rpc_client_seconds_count", labels) == 2
    assert client_registry.get_sample_value("feedmesh_rpc_client_total", labels | {"code": "OK"}) == 2
    assert client_registry.get_sample_value("feedmesh_rpc_client_sent_bytes_total", labels) == 6


def test_a_path_that_names_no_method_is_refused() -> None:
    with pytest.raises(ValueError, match=r"package\.Service/Method"):
        Method("feedmesh.toy.v1.ToyService.Ask", ASK.request, ASK.response)
