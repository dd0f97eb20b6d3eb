"""The routers over real toy servers: one call per host, partial answers, failover, hedging.

Both routers pass the same cases; `ask` hides which one is tried.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pytest
from ephemeral_port_reserve import reserve
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from numpy.typing import NDArray
from prometheus_client.registry import CollectorRegistry

from services.chassis import errors
from services.chassis.clock import FakeClock
from services.chassis.ids import shard_of
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.aio_channel import AioChannels
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.method import Method
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.chassis.shards.aio import AioRouter
from services.chassis.shards.lost import LostPartition
from services.chassis.shards.map import ShardMap
from services.chassis.shards.owned import OwnedShards
from services.chassis.shards.router import Router
from services.chassis.shards.routing import Choices, HostAnswer, RouterMetrics, raise_first_error
from services.chassis.shards.watch import ShardMapMetrics, WatchedShardMap
from tests.chassis.serving import Serve, Served
from tests.chassis.shards.maps import text
from tests.chassis.toy import ASK, Toy

WRITE = Method(ASK.path, ASK.request, ASK.response, idempotent=False)
SHARDS = 8
Answers = list[HostAnswer[HealthCheckResponse]]


def request_of(rows: NDArray[np.intp]) -> HealthCheckRequest:
    """A request that says which rows it is for."""
    return HealthCheckRequest(service=",".join(str(row) for row in rows.tolist()))


class Ask(Protocol):
    """A router of either kind, made for a map and used for one call."""

    def __call__(
        self,
        hosts: Mapping[str, Sequence[int]],
        ids: NDArray[np.uint64] | None,
        *,
        method: Method[Any, Any] = ASK,
        timeout_s: float = 5.0,
        make_request: Callable[[NDArray[np.intp]], HealthCheckRequest] = request_of,
    ) -> Answers: ...


class Parts:
    """What a router needs; the same for both kinds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.config = ProcessConfig(
            placement="z_1", channels=ChannelConfig(retry_backoff_ms=5, retry_attempts=2)
        )
        self.client = ClientMetrics(CollectorRegistry())
        self.metrics = RouterMetrics(self.registry)
        self.clock = FakeClock()
        self.choices: Choices | None = None

    def chosen(self, hosts: Mapping[str, Sequence[int]]) -> Choices:
        """Choices over a map; kept from call to call, so that health is remembered."""
        if self.choices is None:
            shard_map = ShardMap.parse(text(hosts, num_shards=SHARDS))
            watched = WatchedShardMap.fixed(shard_map, metrics=ShardMapMetrics(CollectorRegistry()))
            self.choices = Choices(watched, self.config, self.clock)
        return self.choices

    def failovers(self) -> float:
        return self.registry.get_sample_value("feedmesh_router_failovers_total", {"segment": "toy"}) or 0


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture(params=["threads", "asyncio"])
def ask(request: pytest.FixtureRequest, parts: Parts) -> Iterator[Ask]:
    channels = Channels(parts.config.channels, parts.client)

    def threads(
        hosts: Any, ids: Any, *, method: Any = ASK, timeout_s: float = 5.0, make_request: Any = request_of
    ) -> Answers:
        router = Router(channels, parts.chosen(hosts), parts.metrics)
        if ids is None:
            return router.call_all("toy", method, make_request, timeout_s)
        return router.call("toy", ids, method, make_request, timeout_s)

    def aio(
        hosts: Any, ids: Any, *, method: Any = ASK, timeout_s: float = 5.0, make_request: Any = request_of
    ) -> Answers:
        async def main() -> Answers:
            made = AioChannels(parts.config.channels, parts.client)
            router = AioRouter(made, parts.chosen(hosts), parts.metrics)
            try:
                if ids is None:
                    return await router.call_all("toy", method, make_request, timeout_s)
                return await router.call("toy", ids, method, make_request, timeout_s)
            finally:
                await made.close()

        return asyncio.run(main())

    yield threads if request.param == "threads" else aio
    channels.close()


def ids_of_shards(*shards: int) -> NDArray[np.uint64]:
    """One id for each of these shards, in this order."""
    found = {shard_of(id, num_shards=SHARDS): id for id in range(1, 2_000)}
    return np.array([found[shard] for shard in shards], np.uint64)


def rows_answered(answers: Answers) -> list[int]:
    return sorted(row for answer in answers if answer.response is not None for row in answer.rows.tolist())


def refusing(error: Exception) -> Toy:
    def answer(_text: str) -> int:
        raise error

    return Toy(answer)


def host(served: Served | str, label: str = "z_1") -> str:
    return f"{served if isinstance(served, str) else served.address}:{label}"


def test_each_host_gets_one_call_with_all_of_its_rows(serve: Serve, ask: Ask) -> None:
    low, high = serve(), serve()
    answers = ask({host(low): range(4), host(high): range(4, 8)}, ids_of_shards(0, 7, 1, 6, 0))
    assert low.toy.asked == ["0,2,4"]
    assert high.toy.asked == ["1,3"]
    assert rows_answered(answers) == [0, 1, 2, 3, 4]


def test_no_ids_no_calls(serve: Serve, ask: Ask) -> None:
    served = serve()
    assert ask({host(served): range(8)}, np.empty(0, np.uint64)) == []
    assert served.toy.asked == []


def test_a_call_for_all_shards_names_each_shard_once(serve: Serve, ask: Ask) -> None:
    low, high = serve(), serve()
    answers = ask({host(low): range(3), host(high): range(3, 8)}, None)
    assert (low.toy.asked, high.toy.asked) == (["0,1,2"], ["3,4,5,6,7"])
    assert rows_answered(answers) == list(range(8))


def test_the_near_replica_is_asked(serve: Serve, ask: Ask) -> None:
    near, far = serve(), serve()
    ask({host(far, "y_1"): range(8), host(near, "z_1"): range(8)}, ids_of_shards(0, 5))
    assert (near.toy.asked, far.toy.asked) == (["0,1"], [])


def test_one_host_that_fails_leaves_the_others_answers(serve: Serve, ask: Ask) -> None:
    low, high = serve(), serve(refusing(errors.CorruptValue("damaged")))
    answers = ask({host(low): range(4), host(high): range(4, 8)}, ids_of_shards(0, 7, 1))
    assert rows_answered(answers) == [0, 2]
    (failed,) = [answer for answer in answers if answer.error is not None]
    assert failed.rows.tolist() == [1]
    with pytest.raises(errors.CorruptValue):
        failed.get()
    with pytest.raises(errors.CorruptValue):
        raise_first_error(answers)


def test_an_unavailable_replica_is_replaced_by_the_next(serve: Serve, ask: Ask, parts: Parts) -> None:
    down, up = serve(refusing(errors.Draining("stopping"))), serve()
    answers = ask({host(down, "z_1"): range(8), host(up, "y_1"): range(8)}, ids_of_shards(0, 5))
    assert [answer.host.address for answer in answers] == [up.address]
    assert rows_answered(answers) == [0, 1]
    assert parts.failovers() == 1


def without(owned: OwnedShards, ids: NDArray[np.uint64]) -> Toy:
    """A host that refuses a call for a lost shard at its door, as every leaf does."""

    def answer(text: str) -> int:
        owned.check(ids[[int(row) for row in text.split(",")]])
        return 1

    return Toy(answer)


def lacking(*places: tuple[int, int]) -> OwnedShards:
    owned = OwnedShards.everything(SHARDS)
    owned.lost.replace(LostPartition("pins", number, of, applied=0, begin=9, end=9) for number, of in places)
    return owned


def test_only_the_lost_shards_of_a_host_are_asked_for_at_another(serve: Serve, ask: Ask) -> None:
    ids = ids_of_shards(0, 1, 2, 5)
    poor, whole = serve(without(lacking((1, 4)), ids)), serve()
    answers = ask({host(poor, "z_1"): range(8), host(whole, "y_1"): range(8)}, ids)
    assert rows_answered(answers) == [0, 1, 2, 3]
    assert (poor.toy.asked, whole.toy.asked) == (["0,1,2,3", "0,2"], ["1,3"])


def test_the_near_host_of_a_lost_shard_goes_on_being_asked_for_its_others(serve: Serve, ask: Ask) -> None:
    ids = ids_of_shards(0, 1)
    poor, whole = serve(without(lacking((1, 4)), ids)), serve()
    hosts = {host(poor, "z_1"): range(8), host(whole, "y_1"): range(8)}
    ask(hosts, ids)
    assert [answer.host.address for answer in ask(hosts, ids[:1])] == [poor.address]


def test_without_a_replica_only_the_lost_rows_fail_and_say_why(serve: Serve, ask: Ask) -> None:
    ids = ids_of_shards(0, 1, 2, 5)
    poor = serve(without(lacking((1, 4)), ids))
    answers = ask({host(poor): range(8)}, ids)
    assert rows_answered(answers) == [0, 2]
    (failed,) = [answer for answer in answers if answer.error is not None]
    assert failed.rows.tolist() == [1, 3]
    with pytest.raises(errors.ShardLost, match="pins/1 is applied up to 0, the log has 9 to 9"):
        failed.get()
    assert poor.toy.asked == ["0,1,2,3", "0,2"], "gRPC's own retries know that it is in vain"


def test_losses_of_two_replicas_are_no_loss_when_they_differ(serve: Serve, ask: Ask, parts: Parts) -> None:
    ids = ids_of_shards(0, 1, 2, 3)
    first, second = serve(without(lacking((1, 4)), ids)), serve(without(lacking((2, 4), (3, 4)), ids))
    answers = ask({host(first, "z_1"): range(8), host(second, "y_1"): range(8)}, ids)
    assert rows_answered(answers) == [0, 1, 2, 3]
    assert parts.failovers() == 1


def test_what_every_replica_has_lost_is_refused(serve: Serve, ask: Ask) -> None:
    ids = ids_of_shards(0, 1)
    poor = [serve(without(lacking((1, 4)), ids)) for _ in range(2)]
    answers = ask({host(poor[0], "z_1"): range(8), host(poor[1], "y_1"): range(8)}, ids)
    assert rows_answered(answers) == [0]
    (failed,) = [answer for answer in answers if answer.error is not None]
    assert isinstance(failed.error, errors.ShardLost)


def test_a_dead_host_is_replaced_by_the_next(serve: Serve, ask: Ask) -> None:
    up = serve()
    answers = ask(
        {host(f"127.0.0.1:{reserve()}", "z_1"): range(8), host(up, "y_1"): range(8)}, ids_of_shards(0, 5)
    )
    assert rows_answered(answers) == [0, 1]


def test_the_shards_of_a_failed_host_scatter_over_their_other_replicas(serve: Serve, ask: Ask) -> None:
    down, low, high = serve(refusing(errors.NotReady("starting"))), serve(), serve()
    answers = ask(
        {host(down, "z_1"): range(7), host(low, "y_1"): range(4), host(high, "y_1"): [4, 5, 7]},
        ids_of_shards(0, 5, 6, 7),
    )
    assert rows_answered(answers) == [0, 1, 3]
    (failed,) = [answer for answer in answers if answer.error is not None]
    assert failed.rows.tolist() == [2]
    assert isinstance(failed.error, errors.NotReady)


def test_a_failed_host_is_asked_last_until_its_time_is_over(serve: Serve, ask: Ask, parts: Parts) -> None:
    down, up = serve(refusing(errors.Draining("stopping"))), serve()
    hosts = {host(down, "z_1"): range(8), host(up, "y_1"): range(8)}
    for _ in range(3):
        ask(hosts, ids_of_shards(0))
    assert len(down.toy.asked) == 1
    parts.clock.advance_ms(1_000)
    ask(hosts, ids_of_shards(0))
    assert len(down.toy.asked) == 2


def test_when_every_replica_is_unavailable_the_last_error_is_the_answer(serve: Serve, ask: Ask) -> None:
    one, two = serve(refusing(errors.Draining("1"))), serve(refusing(errors.Draining("2")))
    answers = ask({host(one, "z_1"): range(8), host(two, "y_1"): range(8)}, ids_of_shards(0))
    (failed,) = answers
    assert isinstance(failed.error, errors.Draining)
    assert len(one.toy.asked) == 1


def test_the_only_replica_is_tried_again_by_grpc(serve: Serve, ask: Ask) -> None:
    served = serve(refusing(errors.Draining("stopping")))
    ask({host(served): range(8)}, ids_of_shards(0))
    assert len(served.toy.asked) == 2


def test_a_full_host_is_not_spread_to_the_next(serve: Serve, ask: Ask) -> None:
    full, idle = serve(refusing(errors.QueueFull("full"))), serve()
    (failed,) = ask({host(full, "z_1"): range(8), host(idle, "y_1"): range(8)}, ids_of_shards(0))
    assert isinstance(failed.error, errors.QueueFull)
    assert idle.toy.asked == []


def test_a_write_is_not_sent_twice_when_the_first_may_have_been_executed(serve: Serve, ask: Ask) -> None:
    broken, idle = serve(refusing(errors.LogUnavailable("after the write"))), serve()
    hosts = {host(broken, "z_1"): range(8), host(idle, "y_1"): range(8)}
    (failed,) = ask(hosts, ids_of_shards(0), method=WRITE)
    assert isinstance(failed.error, errors.LogUnavailable)
    assert idle.toy.asked == []


def test_no_time_left_sends_nothing(serve: Serve, ask: Ask) -> None:
    served = serve()
    (failed,) = ask({host(served): range(8)}, ids_of_shards(0), timeout_s=0.0)
    assert isinstance(failed.error, errors.TooLate)
    assert served.toy.asked == []


def test_an_unknown_segment_is_a_fault_of_the_configuration(serve: Serve, parts: Parts) -> None:
    router = Router(
        Channels(parts.config.channels, parts.client), parts.chosen({host(serve()): range(8)}), parts.metrics
    )
    with pytest.raises(errors.ConfigFaults):
        router.call_one("apiary", 7, ASK, HealthCheckRequest())


class Hedging:
    """A slow replica that is preferred, a quick one, and a router that hedges."""

    def __init__(self, serve: Serve, parts: Parts) -> None:
        self.go = threading.Event()
        self.slow = serve(Toy(lambda _: 2 if self.go.wait(10) else 0))
        self.quick = serve(Toy(lambda _: 1))
        self.parts = parts

    def ask(self, *, hedge_ms: int, method: Method[Any, Any] = ASK, timeout_s: float = 10.0) -> int:
        async def main() -> int:
            channels = AioChannels(self.parts.config.channels, self.parts.client)
            hosts = {host(self.slow, "z_1"): range(8), host(self.quick, "y_1"): range(8)}
            router = AioRouter(channels, self.parts.chosen(hosts), self.parts.metrics, hedge_ms=hedge_ms)
            try:
                response = await router.call_one("toy", 7, method, HealthCheckRequest(), timeout_s)
            finally:
                await channels.close()
            return int(response.status)

        return asyncio.run(main())

    def hedges(self, winner: str) -> float:
        labels = {"segment": "toy", "winner": winner}
        return self.parts.registry.get_sample_value("feedmesh_router_hedges_total", labels) or 0.0


@pytest.fixture
def hedging(serve: Serve, parts: Parts) -> Iterator[Hedging]:
    made = Hedging(serve, parts)
    yield made
    made.go.set()


def test_a_hedge_answers_when_the_first_replica_is_slow(hedging: Hedging) -> None:
    assert hedging.ask(hedge_ms=5) == 1
    assert hedging.hedges("second") == 1


def test_a_quick_first_answer_sends_no_hedge(hedging: Hedging) -> None:
    hedging.go.set()
    assert hedging.ask(hedge_ms=5_000) == 2
    assert hedging.quick.toy.asked == []


def test_without_a_delay_there_is_no_hedge(hedging: Hedging) -> None:
    hedging.go.set()
    assert hedging.ask(hedge_ms=0) == 2
    assert hedging.quick.toy.asked == []


def test_writes_are_never_hedged(hedging: Hedging) -> None:
    with pytest.raises(errors.TooLate):
        hedging.ask(hedge_ms=5, method=WRITE, timeout_s=0.1)
    assert hedging.quick.toy.asked == []


def test_a_hedge_that_fails_leaves_the_first_its_time(hedging: Hedging) -> None:
    def fail(_text: str) -> int:
        hedging.go.set()
        raise errors.Draining("stopping")

    hedging.quick.toy.answer = fail
    assert hedging.ask(hedge_ms=5) == 2
    assert hedging.hedges("first") == 1
