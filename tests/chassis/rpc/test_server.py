"""The threaded server: the envelope around calls, bounds, health, draining."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from services.chassis import errors
from services.chassis.rpc import context
from services.chassis.rpc.channel import Channels, Pending
from services.chassis.rpc.envelope import Phase
from tests.chassis.serving import Serve, Served
from tests.chassis.toy import ASK, COUNT, SERVICE, Toy, ToyFollower

REQUEST = HealthCheckRequest(service="q")


class Turnstile:
    """An answer that is held until the test lets it go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self, _text: str) -> int:
        self.entered.release()
        assert self.go.wait(10)
        return 1


def raising(error: Exception) -> Toy:
    def answer(_text: str) -> int:
        raise error

    return Toy(answer)


def raw(channel: grpc.Channel, path: str = ASK.path) -> Any:
    """A call without our channels: no deadline, only the metadata that the test gives."""
    return channel.unary_unary(path, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString)


def health(served: Served, service: str = "") -> int:
    with grpc.insecure_channel(served.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status)


def test_a_domain_error_reaches_the_caller_as_its_class(serve: Serve, channels: Channels) -> None:
    served = serve(raising(errors.WrongShard("not here", shards="3")))
    with pytest.raises(errors.WrongShard, match="not here") as raised:
        channels.call(served.address, ASK, REQUEST)
    assert raised.value.facts == {"shards": "3"}


def test_an_unknown_exception_tells_the_caller_nothing(serve: Serve, channels: Channels) -> None:
    served = serve(raising(ZeroDivisionError("secret")))
    with pytest.raises(errors.Internal) as raised:
        channels.call(served.address, ASK, REQUEST)
    assert "secret" not in str(raised.value)


def test_calls_are_counted_by_method_and_code(serve: Serve, channels: Channels) -> None:
    served = serve(raising(errors.NotFound("no")))
    with pytest.raises(errors.NotFound):
        channels.call(served.address, ASK, REQUEST)
    served.toy.answer = lambda _: 1
    channels.call(served.address, ASK, REQUEST)
    assert served.leaf.stop()
    assert served.sample("feedmesh_rpc_server_total", method=ASK.path, code="NOT_FOUND") == 1
    assert served.sample("feedmesh_rpc_server_total", method=ASK.path, code="OK") == 1
    assert served.sample("feedmesh_rpc_server_seconds_count", method=ASK.path) == 2
    assert served.sample("feedmesh_rpc_server_received_bytes_total", method=ASK.path) == 2 * 3
    assert served.sample("feedmesh_rpc_server_sent_bytes_total", method=ASK.path) == 2


def test_a_call_beyond_threads_and_queue_is_refused_at_once(serve: Serve, channels: Channels) -> None:
    answer = Turnstile()
    served = serve(Toy(answer), threads=1, queue_max=1)
    held: list[Pending[HealthCheckResponse]] = [channels.start(served.address, ASK, REQUEST)]
    assert answer.entered.acquire(timeout=5)
    held.append(channels.start(served.address, ASK, REQUEST))
    while served.sample("feedmesh_rpc_server_in_flight") < 2:
        threading.Event().wait(0.001)
    with pytest.raises(errors.QueueFull):
        channels.call(served.address, ASK, REQUEST)
    answer.go.set()
    assert [pending.result().status for pending in held] == [1, 1]


def test_health_answers_while_every_thread_is_busy(serve: Serve, channels: Channels) -> None:
    answer = Turnstile()
    served = serve(Toy(answer), threads=1)
    held = channels.start(served.address, ASK, REQUEST)
    assert answer.entered.acquire(timeout=5)
    assert health(served) == HealthCheckResponse.SERVING
    answer.go.set()
    held.result()


def test_health_knows_each_service_by_name(serve: Serve) -> None:
    served = serve()
    assert health(served, SERVICE) == HealthCheckResponse.SERVING


def test_a_call_with_less_than_the_reserve_left_does_not_start(serve: Serve, channels: Channels) -> None:
    served = serve(deadline_reserve_ms=60_000)
    with pytest.raises(errors.TooLate):
        channels.call(served.address, ASK, REQUEST, timeout_s=30.0)
    assert served.toy.asked == []


def test_the_handler_sees_the_deadline_less_the_reserve(serve: Serve, channels: Channels) -> None:
    seen: list[float | None] = []

    def answer(_text: str) -> int:
        call = context.current()
        seen.append(call.seconds_left() if call else None)
        return 1

    served = serve(Toy(answer), deadline_reserve_ms=20_000)
    channels.call(served.address, ASK, REQUEST, timeout_s=30.0)
    (left,) = seen
    assert left is not None
    # gRPC rounds timeouts up on the wire.
    assert 0 < left <= 10.5


def test_a_caller_without_a_deadline_gets_the_default_one(serve: Serve) -> None:
    seen: list[float | None] = []

    def answer(_text: str) -> int:
        call = context.current()
        seen.append(call.seconds_left() if call else None)
        return 1

    served = serve(Toy(answer), deadline_default_ms=7_000)
    with grpc.insecure_channel(served.address) as channel:
        ask = raw(channel)
        ask(REQUEST)
    (left,) = seen
    assert left is not None
    assert 0 < left <= 7.5


def test_a_request_id_is_taken_over_or_made(serve: Serve) -> None:
    seen: list[str] = []

    def answer(_text: str) -> int:
        call = context.current()
        seen.append(call.request_id if call else "")
        return 1

    served = serve(Toy(answer))
    with grpc.insecure_channel(served.address) as channel:
        ask = raw(channel)
        ask(REQUEST, metadata=(("x-request-id", "mine"),))
        ask(REQUEST)
        ask(REQUEST, metadata=(("x-request-id", "x" * 500),))
    assert seen[0] == "mine"
    assert len(seen[1]) == 16
    assert seen[2] == "x" * 64


def test_the_token_passes_the_gate_before_the_call(serve: Serve, channels: Channels) -> None:
    waits: list[tuple[bytes, float]] = []
    served = serve(gate=lambda token, timeout_s: waits.append((token, timeout_s)), token_wait_ms_max=250)
    with grpc.insecure_channel(served.address) as channel:
        ask = raw(channel)
        ask(REQUEST)
        ask(REQUEST, metadata=(("feedmesh-token-bin", b"\x00\xff"),))
    assert waits == [(b"\x00\xff", 0.25)]


def test_the_gate_leaves_time_to_say_why(serve: Serve) -> None:
    waits: list[float] = []
    served = serve(gate=lambda _token, timeout_s: waits.append(timeout_s), token_wait_ms_max=60_000)
    with grpc.insecure_channel(served.address) as channel:
        raw(channel)(REQUEST, metadata=(("feedmesh-token-bin", b"x"),), timeout=8)
    assert len(waits) == 1
    # gRPC rounds a timeout up, by as much as 10 ms here.
    assert waits[0] <= 6.01


@pytest.mark.parametrize("path", [ASK.path, COUNT.path], ids=["unary", "stream"])
def test_bytes_that_are_no_message_are_the_callers_fault(serve: Serve, path: str) -> None:
    served = serve()
    with grpc.insecure_channel(served.address) as channel:
        make: Any = channel.unary_stream if path == COUNT.path else channel.unary_unary
        with pytest.raises(grpc.RpcError) as raised:
            list(make(path)(b"\xff\xff", timeout=5))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not a message" in (raised.value.details() or "")
    assert served.toy.asked == []


def test_a_gate_that_refuses_keeps_the_call_from_starting(serve: Serve) -> None:
    def gate(_token: bytes, _timeout_s: float) -> None:
        raise errors.StaleReplica("behind")

    served = serve(gate=gate)
    with grpc.insecure_channel(served.address) as channel:
        ask = raw(channel)
        with pytest.raises(grpc.RpcError) as raised:
            ask(REQUEST, metadata=(("feedmesh-token-bin", b"x"),))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert served.toy.asked == []


def test_a_stream_gives_its_messages_and_then_its_error(serve: Serve, channels: Channels) -> None:
    def answer(text: str) -> int:
        if text == "end":
            raise errors.OffsetOutOfRange("trimmed")
        return 3

    served = serve(Toy(answer))
    stream = channels.stream(served.address, COUNT, REQUEST)
    assert [next(stream).status for _ in range(3)] == [0, 1, 2]
    with pytest.raises(errors.OffsetOutOfRange, match="trimmed"):
        next(stream)


def test_streams_do_not_hold_the_threads_of_calls(serve: Serve, channels: Channels) -> None:
    end = Turnstile()
    served = serve(Toy(lambda text: end(text) if text == "end" else 1), threads=1, streams_max=1)
    stream = channels.stream(served.address, COUNT, REQUEST)
    assert next(stream).status == 0
    assert end.entered.acquire(timeout=5)
    assert channels.call(served.address, ASK, REQUEST).status == 1
    with pytest.raises(errors.QueueFull):
        next(channels.stream(served.address, COUNT, REQUEST))
    end.go.set()
    assert list(stream) == []


def test_a_cancelled_stream_just_ends(serve: Serve, channels: Channels) -> None:
    served = serve(Toy(lambda _: 2))
    stream = channels.stream(served.address, COUNT, REQUEST)
    next(stream)
    stream.cancel()
    assert len(list(stream)) <= 1


@pytest.mark.parametrize(
    ("phase", "error"),
    [(Phase.STARTING, errors.NotReady), (Phase.DRAINING, errors.Draining)],
    ids=["starting", "draining"],
)
def test_outside_of_serving_calls_are_unavailable(
    serve: Serve, channels: Channels, phase: Phase, error: type[Exception]
) -> None:
    served = serve()
    assert served.leaf._envelope is not None
    served.leaf._envelope.phase = phase
    with pytest.raises(error):
        channels.call(served.address, ASK, REQUEST)


def test_draining_finishes_the_call_in_flight_and_refuses_the_next(serve: Serve, channels: Channels) -> None:
    answer = Turnstile()
    served = serve(Toy(answer))
    held = channels.start(served.address, ASK, REQUEST, timeout_s=20.0)
    assert answer.entered.acquire(timeout=5)
    results: list[bool] = []
    stopping = threading.Thread(target=lambda: results.append(served.leaf.stop()))
    stopping.start()
    while served.leaf._envelope is None or served.leaf._envelope.phase is not Phase.DRAINING:
        threading.Event().wait(0.001)
    with pytest.raises(errors.Draining):
        channels.call(served.address, ASK, REQUEST, retry=False)
    answer.go.set()
    assert held.result().status == 1
    stopping.join(10)
    assert results == [True]


def test_a_taken_port_is_an_error_that_names_it(serve: Serve) -> None:
    served = serve()
    with pytest.raises(OSError, match=served.address):
        serve(listen=served.address)


def test_an_unknown_method_is_unimplemented(serve: Serve) -> None:
    served = serve()
    with grpc.insecure_channel(served.address) as channel, pytest.raises(grpc.RpcError) as raised:
        raw(channel, "/feedmesh.toy.v1.ToyService/Nothing")(REQUEST)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_stopping_waits_for_the_servicer_of_an_open_stream(serve: Serve, channels: Channels) -> None:
    left: list[str] = []
    end = Turnstile()

    def answer(text: str) -> int:
        if text == "end":
            end(text)
            left.append("servicer left")
        return 1

    served = serve(Toy(answer))
    stream = channels.stream(served.address, COUNT, REQUEST)
    next(stream)
    assert end.entered.acquire(timeout=5)
    threading.Timer(0.05, end.go.set).start()
    assert served.leaf.stop()
    assert left == ["servicer left"]
    with pytest.raises(errors.FeedmeshError):
        list(stream)


def trailing(served: Served) -> dict[str, Any]:
    with grpc.insecure_channel(served.address) as channel:
        _, call = raw(channel).with_call(REQUEST, timeout=5)
    return dict(call.trailing_metadata() or ())


def test_an_answer_is_marked_while_the_log_is_silent(serve: Serve) -> None:
    follower = ToyFollower()
    served = serve(follower=follower)
    assert context.STALE_KEY not in trailing(served)
    follower.stale = 2_345
    assert trailing(served)[context.STALE_KEY] == "2345"
    follower.stale = 0
    assert context.STALE_KEY not in trailing(served)


def test_an_error_of_a_stale_view_is_still_the_error_that_it_is(serve: Serve, channels: Channels) -> None:
    follower = ToyFollower()
    follower.stale = 9_000
    served = serve(raising(errors.NotFound("no such pin", id=7)), follower=follower)
    with pytest.raises(errors.NotFound) as raised:
        channels.call(served.address, ASK, REQUEST)
    assert raised.value.facts == {"id": "7"}


def test_a_lost_shard_is_not_asked_for_again_by_grpc_itself(serve: Serve, channels: Channels) -> None:
    served = serve(raising(errors.ShardLost("gone", topic="pins", partition=3)))
    with pytest.raises(errors.ShardLost) as raised:
        channels.call(served.address, ASK, REQUEST)
    assert raised.value.facts == {"topic": "pins", "partition": "3"}
    assert len(served.toy.asked) == 1
