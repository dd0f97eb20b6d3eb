"""`counts`: one GetCounts for 20,000 entities × 4 counters, beside Redis with the same counts.

One real Counter process over a store of two million entities, whose table is some hundred times what the
second-level cache holds; asked over gRPC on loopback. Entities are random, of all. Every side ends with one
float32 matrix, and answers every entity right before anything is timed. CPU is that of server and client
together, as the kernel counts it; all sides in turn. Then ours at 20 requests a second, each timed from the
moment it was due: a client that is late still counts its wait.
Ours once with totals alone, which is what Redis has, and once with a decayed and a windowed counter among the
four, which it has to compute.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from ephemeral_port_reserve import reserve
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from feedmesh.counter.v1 import counter_pb2
from services.chassis.errors import FeedmeshError
from services.chassis.process import ChannelConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.method import Method
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store
from services.counter.config import DeclaredCounter
from services.counter.counters import Counters
from services.counter.store import FAMILIES, CounterStore
from services.counter.table import Rows
from tests.bench.counts_peers import running_redis
from tests.bench.processes import cpu_us, machine
from tests.bench.report import Row, beside
from tests.bench.rows_peers import why_redis_is_not_here

ENTITIES: Final = 2_000_000
ASKED: Final = 20_000
RATE: Final = 20
PACED_S: Final = 30
TURNS: Final = 5
# Calls a turn: enough for the kernel's ticks of 10 ms, and no more of those that take a third of a second.
CALLS: Final = 100
SLOW_CALLS: Final = 20
NUM_SHARDS: Final = 64
COUNT_MAX: Final = 2_048
"""Whole counts are exact in float16 up to here, so that all sides have the same answer."""
HOUR_MS: Final = 3_600_000
TOTALS: Final = ("impressions", "closeups", "clicks", "saves")
MIXED: Final = ("impressions", "saves", "popularity", "saves_day")
DECLARED: Final = (
    *(DeclaredCounter(name=name, actions={"save": 1}) for name in TOTALS),
    DeclaredCounter(name="popularity", kind="decayed", actions={"save": 1}, half_life_hours=72),
    DeclaredCounter(name="saves_day", kind="windowed", actions={"save": 1}, window_hours=24),
)
GET_COUNTS: Final = Method(
    "/feedmesh.counter.v1.CounterService/GetCounts",
    counter_pb2.GetCountsRequest,
    counter_pb2.GetCountsResponse,
)
Read = Callable[[NDArray[np.uint64]], NDArray[np.float32]]


@dataclass
class Side:
    """One way to read the counts, and what it cost."""

    name: str
    read: Read
    pid: int
    calls: int = CALLS
    times_s: list[float] = field(default_factory=list)
    cpu_us: float = 0.0

    @property
    def cpu_ms(self) -> float:
        """Of one request, server and client."""
        return self.cpu_us / len(self.times_s) / 1e3

    @property
    def p50_ms(self) -> float:
        """Of one request at a time, one after the other."""
        return float(np.median(self.times_s)) * 1e3


def run() -> tuple[list[Row], list[str]]:
    world = _World.draw(np.random.default_rng(1))
    notes = [machine(), f"{ENTITIES:,} entities; {TURNS} turns of {CALLS} requests, {SLOW_CALLS} of HMGET"]
    folder = Path(tempfile.mkdtemp(prefix="feedmesh-bench-"))
    try:
        _fill(folder / "data" / "store", world)
        return _measure(folder, world, notes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _World:
    """Entities and their rows, as Counter stores them."""

    rows: Rows

    @staticmethod
    def draw(generator: np.random.Generator) -> _World:
        entities = generator.choice(1 << 62, ENTITIES, replace=False).astype(np.uint64) + np.uint64(1)
        now_ms = time.time_ns() // 1_000_000
        return _World(
            Rows(
                entities,
                now_ms - generator.integers(0, 100 * HOUR_MS, ENTITIES),
                generator.integers(0, COUNT_MAX, (ENTITIES, len(TOTALS)), np.uint32),
                generator.uniform(0, 100, (ENTITIES, 1)).astype(np.float32),
                generator.integers(0, 50, (ENTITIES, 12), np.uint16),
            )
        )

    def ask(self, generator: np.random.Generator) -> NDArray[np.uint64]:
        return generator.choice(self.rows.entities, ASKED)


def _fill(path: Path, world: _World) -> None:
    batch_rows = 5_000
    with Store(path, FAMILIES) as store:
        counters = Counters([declared.build() for declared in DECLARED])
        counts = CounterStore(store, counters, OwnedShards.everything(NUM_SHARDS))
        rows = world.rows
        for start in range(0, ENTITIES, batch_rows):
            part = slice(start, start + batch_rows)
            batch = store.batch()
            some = Rows(
                rows.entities[part],
                rows.last_ms[part],
                rows.totals[part],
                rows.decayed[part],
                rows.cells[part],
            )
            counts.put(batch, some)
            store.write(batch)


def _measure(folder: Path, world: _World, notes: list[str]) -> tuple[list[Row], list[str]]:
    with ExitStack() as stack:
        counter = stack.enter_context(_counter(folder))
        ours = Side("ours", counter.totals, counter.pid)
        mixed = Side("ours, decayed and windowed", counter.mixed, counter.pid)
        peers: list[Side] = []
        if why_not := why_redis_is_not_here():
            notes.append(f"without Redis: {why_not}")
        else:
            redis = stack.enter_context(running_redis(folder / "redis"))
            redis.load(world.rows.entities, world.rows.totals.astype(np.uint16))
            peers = [
                Side("Redis MGET of packed values, hiredis", redis.mget, redis.pid),
                Side("Redis HMGET pipelined, hiredis", redis.hmget, redis.pid, SLOW_CALLS),
                Side("Redis HMGET pipelined, redis-py", redis.hmget_by_redis_py, redis.pid, SLOW_CALLS),
            ]
        for side in (ours, *peers):
            _check(side, world)
        _check_mixed(mixed, world)
        _turns((ours, mixed, *peers), world)
        rows = [*_cpu_rows(ours, mixed, peers)]
        for side in (ours, mixed):
            rows += _paced_rows(side, world)
    return rows, notes


def _check(side: Side, world: _World) -> None:
    """Raises AssertionError unless the side answers what was stored, for every entity."""
    for start in range(0, ENTITIES, ASKED):
        part = slice(start, start + ASKED)
        if not np.array_equal(side.read(world.rows.entities[part]), world.rows.totals[part]):
            raise AssertionError(f"{side.name} answers other counts than it was given")


def _check_mixed(side: Side, world: _World) -> None:
    """The totals as stored; the others as the time has left them, which is not nothing."""
    entities, totals = world.rows.entities[:ASKED], world.rows.totals[:ASKED]
    counts = side.read(entities)
    stored = totals[:, [TOTALS.index(name) for name in MIXED[:2]]]
    if not np.array_equal(counts[:, :2], stored) or not counts[:, 2:].any(axis=0).all():
        raise AssertionError(f"{side.name} answers other counts than it was given")


def _turns(sides: Sequence[Side], world: _World) -> None:
    """Every side in turn, each time with entities of its own."""
    generator = np.random.default_rng(2)
    for _ in range(TURNS):
        for side in sides:
            asked = [world.ask(generator) for _ in range(side.calls)]
            before_us = _both_ends_us(side)
            for one in asked:
                began = time.perf_counter()
                side.read(one)
                side.times_s.append(time.perf_counter() - began)
            side.cpu_us += _both_ends_us(side) - before_us


def _both_ends_us(side: Side) -> float:
    return cpu_us({side.name: side.pid})[side.name] + time.process_time() * 1e6


def _paced(side: Side, world: _World) -> NDArray[np.float64]:
    """Seconds from when each request was due to its answer."""
    generator = np.random.default_rng(3)
    asked = [world.ask(generator) for _ in range(RATE * PACED_S)]
    waits_s = np.empty(len(asked))
    began = time.perf_counter()
    for i, one in enumerate(asked):
        due = began + i / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        side.read(one)
        waits_s[i] = time.perf_counter() - due
    return waits_s


def _cpu_rows(ours: Side, mixed: Side, peers: Sequence[Side]) -> Iterator[Row]:
    name = f"{ASKED:,} × {len(TOTALS)} counts"
    yield Row(f"{name}, CPU of server and client", ours.cpu_ms, "ms")
    yield Row(f"{name}, p50 one at a time", ours.p50_ms, "ms")
    yield Row(f"{name}, one decayed, one windowed, CPU", mixed.cpu_ms, "ms")
    yield Row(f"{name}, one decayed, one windowed, p50", mixed.p50_ms, "ms")
    for peer in peers:
        for figure, own, other in (
            ("CPU", ours.cpu_ms, peer.cpu_ms),
            ("p50 one at a time", ours.p50_ms, peer.p50_ms),
        ):
            yield beside(
                f"{name}, {figure}", own, "ms", peer=peer.name, peer_value=other, more_is_better=False
            )


def _paced_rows(side: Side, world: _World) -> Iterator[Row]:
    waits_s = _paced(side, world)
    for name, quantile in (("p50", 0.5), ("p99", 0.99)):
        value = float(np.quantile(waits_s, quantile)) * 1e3
        yield Row(f"{side.name}: {RATE} requests/s, from when due, {name}", value, "ms")


@dataclass
class _Counter:
    """A running process and a channel to it."""

    pid: int
    address: str
    channels: Channels

    def totals(self, entities: NDArray[np.uint64]) -> NDArray[np.float32]:
        return self._counts(entities, TOTALS)

    def mixed(self, entities: NDArray[np.uint64]) -> NDArray[np.float32]:
        return self._counts(entities, MIXED)

    def _counts(self, entities: NDArray[np.uint64], names: Sequence[str]) -> NDArray[np.float32]:
        request = counter_pb2.GetCountsRequest(entities_u64=entities.tobytes(), counters=names)
        answer = self.channels.call(self.address, GET_COUNTS, request, timeout_s=10.0)
        return np.frombuffer(answer.counts_f16, "<f2").reshape(len(entities), -1).astype(np.float32)


@contextmanager
def _counter(folder: Path) -> Iterator[_Counter]:
    """A process over the store of `folder`; nobody writes, so it follows a log that is away."""
    address = f"127.0.0.1:{reserve()}"
    config = folder / "counter.toml"
    config.write_text(
        f'[process]\nlisten = "{address}"\nmetrics_listen = "127.0.0.1:{reserve()}"\n'
        f'data_dir = "{folder / "data"}"\ncatch_up_s_max = 0.0\nnum_shards = {NUM_SHARDS}\n'
        f'[follower]\nlog = "127.0.0.1:{reserve()}"\n' + "".join(map(_declaration, DECLARED))
    )
    command = [sys.executable, "-m", "services.counter", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    channels = Channels(ChannelConfig(), ClientMetrics(CollectorRegistry()), message_bytes_max=64 << 20)
    try:
        running = _Counter(process.pid, address, channels)
        _wait_until_ready(running, process)
        yield running
    finally:
        channels.close()
        process.terminate()
        process.wait()


def _declaration(counter: DeclaredCounter) -> str:
    actions: Mapping[str, float] = {str(action): weight for action, weight in counter.actions.items()}
    weights = ", ".join(f"{action} = {weight}" for action, weight in actions.items())
    return (
        f'[[counters]]\nname = "{counter.name}"\nkind = "{counter.kind}"\nactions = {{ {weights} }}\n'
        f"half_life_hours = {counter.half_life_hours}\nwindow_hours = {counter.window_hours}\n"
    )


def _wait_until_ready(running: _Counter, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            running.channels.call(running.address, GET_COUNTS, counter_pb2.GetCountsRequest(), timeout_s=5.0)
        except FeedmeshError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
