"""A process's life: order, exit codes, signals."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from ephemeral_port_reserve import reserve
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from prometheus_client.registry import CollectorRegistry

from services.chassis import errors
from services.chassis.host import Host, Leaf
from services.chassis.leaf import LeafProcess
from services.chassis.lifecycle import EXIT_CONFIG, EXIT_FAULT, EXIT_OK, serve_leaf
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.memory import MemoryLog
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.chassis.storage.store import Store
from tests.chassis.log.support import VIEW_FAMILIES, KeepingView, new_records, record
from tests.chassis.shards.maps import text
from tests.chassis.toy import ASK, SERVICE, Toy, ToyConfig, add_toy, build_toy

REQUEST = HealthCheckRequest(service="q")


@pytest.fixture(autouse=True)
def process_state() -> Iterator[None]:
    """What a process sets once for itself is put back, because here many live in one."""
    interval, root = sys.getswitchinterval(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    sys.setswitchinterval(interval)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class FakeFollower:
    """Catches up when the test says so; writes its steps into `steps`."""

    def __init__(self, steps: list[str], *, caught_up: bool = True) -> None:
        self.steps = steps
        self.done = threading.Event()
        if caught_up:
            self.done.set()

    def start(self) -> None:
        self.steps.append("follow")

    def stop(self) -> None:
        self.steps.append("follower stopped")

    def caught_up(self) -> bool:
        return self.done.is_set()

    def wait_token(self, token: bytes, timeout_s: float) -> None:
        self.steps.append(f"gate {token!r} {timeout_s:g}")

    def stale_ms(self) -> int:
        return 0


class Life:
    """A leaf with a fake follower, and the steps that it took."""

    def __init__(self, tmp_path: Path, *, caught_up: bool = True, **knobs: Any) -> None:
        self.steps: list[str] = []
        self.registry = CollectorRegistry()
        self.follower = FakeFollower(self.steps, caught_up=caught_up)
        self.toy = Toy()
        defaults: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "data_dir": tmp_path / "data",
            "drain_linger_ms": 0,
        }
        config = ToyConfig(process=ProcessConfig(**(defaults | knobs)))
        self.leaf = LeafProcess("toy", config, self.build, segment=None, registry=self.registry)

    def build(self, _config: ToyConfig, host: Host) -> Leaf:
        self.host = host
        self.steps.append("build")
        return Leaf(
            services=[(add_toy, self.toy, SERVICE)],
            follower=self.follower,
            warm=lambda: self.steps.append("warm"),
            close=lambda: self.steps.append("close"),
        )

    def call(self) -> Any:
        channels = Channels(ChannelConfig(), ClientMetrics(CollectorRegistry()))
        try:
            return channels.call(f"127.0.0.1:{self.leaf.port}", ASK, REQUEST, timeout_s=5.0, retry=False)
        finally:
            channels.close()

    def ready(self) -> float | None:
        return self.registry.get_sample_value("feedmesh_process_ready")


def test_a_life_in_order(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.leaf.start()
    assert life.ready() == 1
    assert life.call().status == 1
    assert life.leaf.stop()
    assert life.ready() == 0
    assert life.steps == ["build", "warm", "follow", "follower stopped", "close"]


def test_the_followers_gate_guards_the_calls(tmp_path: Path) -> None:
    life = Life(tmp_path, token_wait_ms_max=250)
    life.leaf.start()
    with grpc.insecure_channel(f"127.0.0.1:{life.leaf.port}") as channel:
        ask = channel.unary_unary(ASK.path, HealthCheckRequest.SerializeToString, ASK.response.FromString)
        ask(REQUEST, metadata=(("feedmesh-token-bin", b"t"),))
    life.leaf.stop()
    assert "gate b't' 0.25" in life.steps


def test_before_it_has_caught_up_a_replica_answers_not_ready(tmp_path: Path) -> None:
    life = Life(tmp_path, caught_up=False, catch_up_s_max=600)
    starting = threading.Thread(target=life.leaf.start)
    starting.start()
    while "follow" not in life.steps:
        threading.Event().wait(0.001)
    with pytest.raises(errors.NotReady):
        life.call()
    assert life.ready() == 0
    life.follower.done.set()
    starting.join(10)
    assert life.call().status == 1
    life.leaf.stop()


def test_a_replica_whose_log_is_away_serves_after_its_patience(tmp_path: Path) -> None:
    life = Life(tmp_path, caught_up=False, catch_up_s_max=0)
    life.leaf.start()
    assert life.call().status == 1
    life.leaf.stop()


def test_told_to_stop_while_catching_up_it_stops(tmp_path: Path) -> None:
    life = Life(tmp_path, caught_up=False, catch_up_s_max=600)
    life.leaf.stopping.set()
    life.leaf.start()
    assert life.ready() == 0
    assert life.leaf.stop()
    assert life.steps[-2:] == ["follower stopped", "close"]


def test_a_call_that_outlives_the_drain_keeps_the_store_open(tmp_path: Path) -> None:
    life = Life(tmp_path, drain_s=0.05)
    entered, go = threading.Event(), threading.Event()

    def answer(_text: str) -> int:
        entered.set()
        go.wait(10)
        return 1

    life.toy.answer = answer
    life.leaf.start()

    def call() -> None:
        with contextlib.suppress(errors.FeedmeshError):
            life.call()

    caller = threading.Thread(target=call)
    caller.start()
    assert entered.wait(5)
    assert not life.leaf.stop()
    assert "close" not in life.steps
    go.set()
    caller.join(10)


def test_giving_up_stops_the_process_and_keeps_the_first_fault(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.leaf.start()
    first = errors.OffsetOutOfRange("trimmed")
    life.host.give_up(first)
    life.host.give_up(errors.Internal("later"))
    assert life.leaf.stopping.is_set()
    assert life.leaf.fault is first
    life.leaf.stop()


class Lossy:
    """A leaf of one shard that follows a real log, which a test trims."""

    def __init__(self, tmp_path: Path) -> None:
        self.log = MemoryLog({"pins": 1})
        self.registry = CollectorRegistry()
        knobs: dict[str, Any] = {"listen": "127.0.0.1:0", "data_dir": tmp_path / "data", "drain_linger_ms": 0}
        config = ToyConfig(process=ProcessConfig(num_shards=1, **knobs))
        self.leaf = LeafProcess("toy", config, self.build, segment="toy", registry=self.registry)

    def build(self, config: ToyConfig, host: Host) -> Leaf:
        store = Store(config.process.data_dir / "store", VIEW_FAMILIES)
        follower = Follower(
            log=self.log,
            store=store,
            view=KeepingView(store),
            owned=host.owned,
            config=FollowerConfig(poll_ms=10, backoff_ms=1),
            metrics=FollowerMetrics(host.registry),
            clock=host.clock,
            on_fatal=host.give_up,
            on_all_lost=host.refuse_all,
        )
        return Leaf(services=[(add_toy, Toy(), SERVICE)], follower=follower, close=store.close)

    def trim_unread(self) -> None:
        """What was published is gone before anybody has read it: in one step, as the follower sees it."""
        with self.log._changed:
            self.log.trim(self.log.publish(new_records("pins", 0, record(1))).result())

    def call(self) -> Any:
        channels = Channels(ChannelConfig(), ClientMetrics(CollectorRegistry()))
        try:
            return channels.call(f"127.0.0.1:{self.leaf.port}", ASK, REQUEST, timeout_s=5.0)
        finally:
            channels.close()

    def health(self) -> int:
        with grpc.insecure_channel(f"127.0.0.1:{self.leaf.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            return int(stub.Check(HealthCheckRequest(service=SERVICE), timeout=5).status)

    def check_refuses_everything(self) -> None:
        while self.health() != health_pb2.HealthCheckResponse.NOT_SERVING:
            threading.Event().wait(0.001)
        with pytest.raises(errors.ShardLost, match="pins/0 is applied up to 0, the log has 1 to 1") as raised:
            self.call()
        assert raised.value.facts["lost"] == "all"
        assert self.registry.get_sample_value("feedmesh_process_ready") == 0
        assert not self.leaf.stopping.is_set()
        assert self.leaf.fault is None


def test_a_process_that_has_lost_every_shard_is_not_serving_and_stays_to_say_why(tmp_path: Path) -> None:
    lossy = Lossy(tmp_path)
    lossy.leaf.start()
    assert lossy.call().status == 1
    lossy.trim_unread()
    lossy.check_refuses_everything()
    assert lossy.leaf.stop()


def test_a_process_that_has_lost_every_shard_before_it_starts_never_serves(tmp_path: Path) -> None:
    lossy = Lossy(tmp_path)
    lossy.trim_unread()
    lossy.leaf.start()
    lossy.check_refuses_everything()
    assert lossy.leaf.stop()


def test_without_a_shard_map_the_router_finds_the_process_itself(tmp_path: Path) -> None:
    life = Life(tmp_path, listen=f"127.0.0.1:{reserve()}")
    life.leaf.start()
    assert life.host.router.call_one("toy", 7, ASK, REQUEST).status == 1
    life.leaf.stop()


def write_config(tmp_path: Path, **process: Any) -> Path:
    path = tmp_path / "toy.toml"
    knobs = {"listen": "127.0.0.1:0", "data_dir": str(tmp_path / "data")} | process
    path.write_text("[process]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in knobs.items()))
    return path


def run(path: Path, *flags: str) -> int:
    return serve_leaf("toy", ToyConfig, build_toy(Toy()), ["--config", str(path), *flags])


def test_check_config_stops_after_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_config(tmp_path), "--check-config") == EXIT_OK
    assert capsys.readouterr().out == "toy: the configuration is valid\n"


def test_a_wrong_config_is_exit_code_2_with_every_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write_config(tmp_path, threads=0, colour=1), "--check-config") == EXIT_CONFIG
    assert {"process.threads = 0", "process.colour = 1"} <= {
        line.removeprefix("toy: ").partition(":")[0] for line in capsys.readouterr().err.splitlines()
    }


@pytest.mark.parametrize("flags", [["--check-config"], []], ids=["checked", "started"])
def test_an_address_that_the_shard_map_lacks_is_a_config_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    shards = tmp_path / "shards.json"
    shards.write_text(text({"10.0.0.1:1:z": [0]}, num_shards=1))
    path = write_config(tmp_path, shard_map=str(shards), advertise="10.0.0.2:1")
    assert run(path, *flags) == EXIT_CONFIG
    assert 'add "10.0.0.2:1:<placement>"' in capsys.readouterr().err


def test_print_config_shows_every_knob(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_config(tmp_path, threads=3), "--print-config") == EXIT_OK
    out = capsys.readouterr().out
    assert "threads = 3" in out
    assert "# Pings" not in out
    assert "keepalive_ms = 2000" in out


PROGRAM = """
import sys
from services.chassis.lifecycle import serve_leaf, serve_orchestrator
from services.chassis.host import Leaf, Orchestrator
from tests.chassis.toy import *

async def build_async(config, host):
    return Orchestrator(services=[(add_toy, Toy(), SERVICE)])

def build_hanging(config, host):
    import time
    def warm():
        print("warming", flush=True)
        time.sleep(60)
    return Leaf(services=[(add_toy, Toy(), SERVICE)], warm=warm)

kind = sys.argv.pop(1)
if kind == "leaf":
    raise SystemExit(serve_leaf("toy", ToyConfig, build_toy(Toy())))
if kind == "hanging":
    raise SystemExit(serve_leaf("toy", ToyConfig, build_hanging))
raise SystemExit(serve_orchestrator("toy", ToyConfig, build_async))
"""


class Running:
    """A toy in a process of its own."""

    def __init__(self, kind: str, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, kind, "--config", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def wait_ready(self) -> dict[str, Any]:
        """The log line that says ready."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            entry: dict[str, Any] = json.loads(line)
            if entry["event"] == "ready":
                return entry
        raise AssertionError("ended before it was ready")

    def end(self, number: int) -> tuple[int, list[str]]:
        """Exit code, and the events logged after this."""
        self.process.send_signal(number)
        _, errs = self.process.communicate(timeout=30)
        return self.process.returncode, [json.loads(line)["event"] for line in errs.splitlines()]


@pytest.fixture
def processes() -> Iterator[list[Running]]:
    made: list[Running] = []
    yield made
    for running in made:
        running.process.kill()
        running.process.communicate()


@pytest.mark.mesh
@pytest.mark.parametrize("kind", ["leaf", "orchestrator"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_drains_and_exits_with_0(
    tmp_path: Path, processes: list[Running], kind: str, number: int
) -> None:
    running = Running(kind, write_config(tmp_path, metrics_listen="127.0.0.1:0"))
    processes.append(running)
    ready = running.wait_ready()
    assert ready["service"] == "toy"
    assert ready["ms_since_start"] > 0
    with grpc.insecure_channel(f"127.0.0.1:{ready['port']}") as channel:
        status = health_pb2_grpc.HealthStub(channel).Check(HealthCheckRequest(service=SERVICE), timeout=5)
    assert status.status == health_pb2.HealthCheckResponse.SERVING
    code, events = running.end(number)
    assert (code, events) == (EXIT_OK, ["stopping"])


@pytest.mark.mesh
def test_a_signal_while_warming_ends_the_process_at_once(tmp_path: Path, processes: list[Running]) -> None:
    running = Running("hanging", write_config(tmp_path))
    processes.append(running)
    assert running.process.stdout is not None
    assert running.process.stdout.readline() == "warming\n"
    code, events = running.end(signal.SIGTERM)
    assert (code, events) == (EXIT_OK, ["stopped while starting"])


@pytest.mark.mesh
@pytest.mark.parametrize("kind", ["leaf", "orchestrator"])
def test_a_taken_port_is_exit_code_1(tmp_path: Path, processes: list[Running], kind: str) -> None:
    first = Running("leaf", write_config(tmp_path))
    processes.append(first)
    second = Running(kind, write_config(tmp_path, listen=f"127.0.0.1:{first.wait_ready()['port']}"))
    processes.append(second)
    _, errs = second.process.communicate(timeout=30)
    assert second.process.returncode == EXIT_FAULT
    assert "cannot be bound" in errs
