"""The asyncio server has the same envelope, and the asyncio channels the same errors.

Real servers in one event loop: grpcio-testing passes silently on `async def` servicers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from prometheus_client.registry import CollectorRegistry

from services.chassis import errors
from services.chassis.host import AioHost, Orchestrator
from services.chassis.orchestrator import OrchestratorProcess
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.aio_channel import AioChannels
from services.chassis.rpc.context import STALE_KEY, Staleness, record_staleness
from services.chassis.rpc.envelope import Phase
from services.chassis.rpc.rpc_metrics import ClientMetrics
from tests.chassis.serving import Serve
from tests.chassis.toy import ASK, COUNT, SERVICE, Toy, ToyConfig, ToyFollower, add_toy

REQUEST = HealthCheckRequest(service="q")


class Running:
    """A served toy, channels to it, and its metrics."""

    def __init__(
        self, process: OrchestratorProcess, registry: CollectorRegistry, channels: AioChannels
    ) -> None:
        self.process = process
        self.registry = registry
        self.channels = channels
        self.address = f"127.0.0.1:{process.port}"

    async def ask(self, **options: Any) -> int:
        return int((await self.channels.call(self.address, ASK, REQUEST, **options)).status)


class AioToy(Toy):
    """Waits for `go` before it answers, when a test sets it."""

    go: asyncio.Event | None = None

    async def ask_aio(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
        if self.go is not None:
            await self.go.wait()
        return self.ask(request, context)


@asynccontextmanager
async def running(toy: Toy, tmp_path: Path, **knobs: Any) -> AsyncIterator[Running]:
    registry = CollectorRegistry(auto_describe=True)
    defaults: dict[str, Any] = {"listen": "127.0.0.1:0", "drain_linger_ms": 0, "drain_s": 5.0}
    config = ToyConfig(process=ProcessConfig(data_dir=tmp_path, **(defaults | knobs)))

    async def build(_config: ToyConfig, _host: AioHost) -> Orchestrator:
        return Orchestrator(services=[(add_toy, toy, SERVICE)])

    process = OrchestratorProcess("toy", config, build, registry=registry)
    channels = AioChannels(
        ChannelConfig(retry_backoff_ms=5, timeout_ms=5_000), ClientMetrics(CollectorRegistry())
    )
    await process.start()
    try:
        yield Running(process, registry, channels)
    finally:
        await channels.close()
        await process.stop()


def run(toy: Toy, tmp_path: Path, test: Callable[[Running], Awaitable[None]], **knobs: Any) -> None:
    async def main() -> None:
        async with running(toy, tmp_path, **knobs) as served:
            await test(served)

    asyncio.run(main())


def failing(error: Exception) -> AioToy:
    def answer(_text: str) -> int:
        raise error

    return AioToy(answer)


def test_a_domain_error_reaches_the_caller_as_its_class(tmp_path: Path) -> None:
    async def test(served: Running) -> None:
        with pytest.raises(errors.InvalidCursor) as raised:
            await served.ask()
        assert raised.value.facts == {"page": "2"}

    run(failing(errors.InvalidCursor("damaged", page=2)), tmp_path, test)


def test_an_unknown_exception_tells_the_caller_nothing(tmp_path: Path) -> None:
    async def test(served: Running) -> None:
        with pytest.raises(errors.Internal) as raised:
            await served.ask()
        assert "secret" not in str(raised.value)

    run(failing(ZeroDivisionError("secret")), tmp_path, test)


def test_calls_are_counted(tmp_path: Path) -> None:
    async def test(served: Running) -> None:
        await served.ask()
        labels = {"method": ASK.path, "code": "OK"}
        assert served.registry.get_sample_value("feedmesh_rpc_server_total", labels) == 1

    run(AioToy(), tmp_path, test)


def test_a_call_beyond_the_room_is_refused_at_once(tmp_path: Path) -> None:
    toy = AioToy()

    async def test(served: Running) -> None:
        toy.go = asyncio.Event()
        held = [asyncio.create_task(served.ask()) for _ in range(2)]
        while served.registry.get_sample_value("feedmesh_rpc_server_in_flight") != 2:
            await asyncio.sleep(0.001)
        with pytest.raises(errors.QueueFull):
            await served.ask()
        toy.go.set()
        assert await asyncio.gather(*held) == [1, 1]

    run(toy, tmp_path, test, threads=1, queue_max=1)


def test_a_cancelled_call_is_cancelled_on_the_server(tmp_path: Path) -> None:
    toy = AioToy()

    async def test(served: Running) -> None:
        toy.go = asyncio.Event()
        call = asyncio.create_task(served.ask())
        while served.registry.get_sample_value("feedmesh_rpc_server_in_flight") != 1:
            await asyncio.sleep(0.001)
        call.cancel()
        while served.registry.get_sample_value("feedmesh_rpc_server_in_flight") != 0:
            await asyncio.sleep(0.001)
        labels = {"method": ASK.path, "code": "CANCELLED"}
        assert served.registry.get_sample_value("feedmesh_rpc_server_total", labels) == 1

    run(toy, tmp_path, test)
    assert toy.asked == []


def test_a_call_with_less_than_the_reserve_left_does_not_start(tmp_path: Path) -> None:
    toy = AioToy()

    async def test(served: Running) -> None:
        with pytest.raises(errors.TooLate):
            await served.ask(timeout_s=30.0)

    run(toy, tmp_path, test, deadline_reserve_ms=60_000)
    assert toy.asked == []


def test_a_stream_gives_its_messages_and_then_its_error(tmp_path: Path) -> None:
    def answer(text: str) -> int:
        if text == "end":
            raise errors.NotFound("no more")
        return 2

    async def test(served: Running) -> None:
        got = []
        with pytest.raises(errors.NotFound):
            async for message in served.channels.stream(served.address, COUNT, REQUEST):
                got.append(message.status)  # noqa: PERF401  what came before the error counts
        assert got == [0, 1]

    run(AioToy(answer), tmp_path, test)


def test_health_is_serving_then_not(tmp_path: Path) -> None:
    async def test(served: Running) -> None:
        stub: Any = health_pb2_grpc.HealthStub(served.channels.channel(served.address))
        assert (await stub.Check(HealthCheckRequest(service=SERVICE))).status == HealthCheckResponse.SERVING
        assert served.process._server is not None
        await served.process._server.set_serving(False)
        assert (await stub.Check(HealthCheckRequest())).status == HealthCheckResponse.NOT_SERVING

    run(AioToy(), tmp_path, test)


def test_draining_finishes_the_call_in_flight_and_refuses_the_next(tmp_path: Path) -> None:
    toy = AioToy()

    async def test(served: Running) -> None:
        toy.go = asyncio.Event()
        held = asyncio.create_task(served.ask())
        while served.registry.get_sample_value("feedmesh_rpc_server_in_flight") != 1:
            await asyncio.sleep(0.001)
        stopping = asyncio.create_task(served.process.stop())
        while served.process._envelope is None or served.process._envelope.phase is not Phase.DRAINING:
            await asyncio.sleep(0.001)
        with pytest.raises(errors.Draining):
            await served.ask(retry=False)
        toy.go.set()
        assert await held == 1
        assert await stopping

    run(toy, tmp_path, test)


def test_the_orchestrator_forwards_request_id_token_and_time(tmp_path: Path, serve: Serve) -> None:
    leaf = serve()

    class Forwarding(AioToy):
        channels: AioChannels | None = None

        async def ask_aio(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
            assert self.channels is not None
            return await self.channels.call(leaf.address, ASK, request)

    toy = Forwarding()

    async def test(served: Running) -> None:
        toy.channels = served.channels
        call: Any = served.channels.channel(served.address).unary_unary(
            ASK.path, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
        )
        await call(REQUEST, metadata=(("x-request-id", "abc"), ("feedmesh-token-bin", b"t")))

    run(toy, tmp_path, test)
    (metadata,) = leaf.toy.metadata
    assert (metadata["x-request-id"], metadata["feedmesh-token-bin"]) == ("abc", b"t")


@pytest.mark.parametrize("path", [ASK.path, COUNT.path], ids=["unary", "stream"])
def test_bytes_that_are_no_message_are_the_callers_fault(tmp_path: Path, path: str) -> None:
    toy = AioToy(lambda _: 1)

    async def check() -> None:
        async with running(toy, tmp_path) as served, grpc.aio.insecure_channel(served.address) as channel:
            make: Any = channel.unary_stream if path == COUNT.path else channel.unary_unary
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                answer = make(path)(b"\xff\xff", timeout=5)
                await (answer.read() if path == COUNT.path else answer)
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(check())
    assert toy.asked == []


def test_the_marks_of_answers_are_collected_and_the_greatest_counts(serve: Serve) -> None:
    fresh, stale, staler = ToyFollower(), ToyFollower(), ToyFollower()
    stale.stale, staler.stale = 2_500, 4_000
    addresses = [serve(follower=follower).address for follower in (staler, fresh, stale)]
    collected: list[Staleness] = []

    async def test() -> None:
        channels = AioChannels(ChannelConfig(timeout_ms=5_000), ClientMetrics(CollectorRegistry()))
        try:
            await channels.call(addresses[0], ASK, REQUEST)
            collected.append(record_staleness())
            await asyncio.gather(*(channels.call(address, ASK, REQUEST) for address in addresses))
            collected.append(record_staleness())
            await channels.call(addresses[1], ASK, REQUEST)
        finally:
            await channels.close()

    asyncio.run(test())
    assert [marks.ms for marks in collected] == [4_000, 0]


@pytest.mark.parametrize("value", ["", "-1", "soon", "1.5"], ids=["empty", "negative", "words", "fraction"])
def test_a_mark_that_is_no_number_is_passed_over(tmp_path: Path, value: str) -> None:
    class Marking(AioToy):
        async def ask_aio(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
            context.set_trailing_metadata(((STALE_KEY, value),))
            return await super().ask_aio(request, context)

    async def test(served: Running) -> None:
        marks = record_staleness()
        assert await served.ask() == 1
        assert marks.ms == 0

    run(Marking(), tmp_path, test)
