"""`rows`: Rockstore's multi-get of 1,000 rows of 64 features beside Redis', and the bulk load.

One real Rockstore process over gRPC, the same rows in Redis as packed values; both over loopback.
Once with the rows in Rockstore's row cache, once with the cache turned off, so that every row is looked up in
RocksDB (whose blocks are in its own cache by then). Ids are random, of all rows. The clients end with one
float32 matrix. Calls of all sides come in turns of some hundred, one caller. CPU is that of server and client
together, as the kernel counts it. The bulk load: arrays in memory → prepared → staged → live.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from ephemeral_port_reserve import reserve
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from feedmesh.rockstore.v1 import admin_pb2, rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import FeedmeshError
from services.chassis.ids import ShardScheme
from services.chassis.process import ChannelConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.method import Method
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.cli.rockstore.calls import ACTIVATE, STAGE
from services.rockstore.loads.preparing import LoadSpec, RowBatch, prepare
from services.rockstore.schema import Kind, Schema
from tests.bench.processes import cpu_us, machine
from tests.bench.report import Row, beside
from tests.bench.rows_peers import Redis, running_redis, why_redis_is_not_here

ROWS: Final = 300_000
FEATURES: Final = 64
ASKED: Final = 1_000
TURNS: Final = 8
CALLS_A_TURN: Final = 250
NUM_SHARDS: Final = 64
ROW_CACHE_BYTES: Final = 256 << 20
_BATCH: Final = 50_000
_NAMES: Final = tuple(f"feature_{column}" for column in range(FEATURES))
PIN: Final = type_pb2.OBJECT_KIND_PIN
GET_ROWS: Final = Method(
    "/feedmesh.rockstore.v1.RockstoreService/GetFeatureRows",
    rockstore_pb2.GetFeatureRowsRequest,
    rockstore_pb2.GetFeatureRowsResponse,
)
Read = Callable[[NDArray[np.uint64]], NDArray[np.float32]]


@dataclass
class Measured:
    """One side: the time of each call, and CPU of both ends over all."""

    times_s: list[float] = field(default_factory=list)
    cpu_us: float = 0.0

    def ms(self, quantile: float) -> float:
        return float(np.quantile(self.times_s, quantile)) * 1e3

    @property
    def cpu_ms(self) -> float:
        """Of one call."""
        return self.cpu_us / len(self.times_s) / 1e3


def run() -> tuple[list[Row], list[str]]:
    generator = np.random.default_rng(1)
    ids = generator.choice(1 << 62, ROWS, replace=False).astype(np.uint64) + np.uint64(1)
    features = generator.normal(size=(ROWS, FEATURES)).astype(np.float32)
    notes = [machine(), f"{ROWS:,} rows of {FEATURES} float32; {TURNS} turns of {CALLS_A_TURN} calls"]
    folder = Path(tempfile.mkdtemp(prefix="feedmesh-bench-"))
    try:
        return _measure(folder, ids, features, notes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(
    folder: Path, ids: NDArray[np.uint64], features: NDArray[np.float32], notes: list[str]
) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    with _rockstore(folder, row_cache_bytes=ROW_CACHE_BYTES) as ours:
        rows += _load(ours, folder, ids, features)
    why_not = why_redis_is_not_here()
    if why_not:
        notes.append(f"without Redis: {why_not}")
    for what, cache_bytes in (("in the cache", ROW_CACHE_BYTES), ("not in the cache", 0)):
        with _rockstore(folder, row_cache_bytes=cache_bytes) as ours:
            if why_not:
                rows += _rows(what, _turns({"ours": (ours.rows, ours.pid)}, ids, features))
                continue
            with running_redis(folder / what.replace(" ", "-")) as redis:
                redis.load(ids, features)
                rows += _rows(what, _turns(_sides(ours, redis), ids, features))
    return rows, notes


def _sides(ours: Rockstore, redis: Redis) -> Mapping[str, tuple[Read, int]]:
    return {
        "ours": (ours.rows, ours.pid),
        "Redis MGET, hiredis": (redis.bare_mget, redis.pid),
        "Redis MGET, redis-py": (redis.mget, redis.pid),
        "Redis pipelined, hiredis": (redis.bare_pipelined, redis.pid),
        "Redis pipelined, redis-py": (redis.pipelined, redis.pid),
    }


def _turns(
    sides: Mapping[str, tuple[Read, int]], ids: NDArray[np.uint64], features: NDArray[np.float32]
) -> dict[str, Measured]:
    """Every side in turn, each with ids of its own; the first pass over all rows checks the answers."""
    for name, (read, _) in sides.items():
        for start in range(0, len(ids), ASKED):
            part = slice(start, start + ASKED)
            if not np.array_equal(read(ids[part]), features[part]):
                raise AssertionError(f"{name} answers other rows than it was given")
    generator = np.random.default_rng(2)
    measured = {name: Measured() for name in sides}
    for _ in range(TURNS):
        for name, (read, pid) in sides.items():
            asked = [generator.choice(ids, ASKED, replace=False) for _ in range(CALLS_A_TURN)]
            before_us = cpu_us({name: pid})[name] + time.process_time() * 1e6
            for one in asked:
                began = time.perf_counter()
                read(one)
                measured[name].times_s.append(time.perf_counter() - began)
            after_us = cpu_us({name: pid})[name] + time.process_time() * 1e6
            measured[name].cpu_us += after_us - before_us
    return measured


def _rows(what: str, measured: Mapping[str, Measured]) -> list[Row]:
    ours = measured["ours"]
    name = f"{ASKED:,} rows {what}"
    rows = [
        Row(f"{name}, p50", ours.ms(0.5), "ms"),
        Row(f"{name}, p99", ours.ms(0.99), "ms"),
        Row(f"{name}, CPU of server and client", ours.cpu_ms, "ms"),
    ]
    for peer, theirs in measured.items():
        if peer == "ours":
            continue
        for figure, own, other in (
            ("p50", ours.ms(0.5), theirs.ms(0.5)),
            ("p99", ours.ms(0.99), theirs.ms(0.99)),
            ("CPU", ours.cpu_ms, theirs.cpu_ms),
        ):
            rows.append(
                beside(f"{name}, {figure}", own, "ms", peer=peer, peer_value=other, more_is_better=False)
            )
    return rows


@dataclass
class Rockstore:
    """A running process and a channel to it."""

    pid: int
    address: str
    channels: Channels

    def rows(self, ids: NDArray[np.uint64]) -> NDArray[np.float32]:
        request = rockstore_pb2.GetFeatureRowsRequest(kind=PIN, ids_u64=ids.tobytes())
        answer = self.channels.call(self.address, GET_ROWS, request, timeout_s=10.0)
        if b"\0" in answer.present_u8:
            raise AssertionError("a row is not there")
        return np.frombuffer(answer.features_f32, "<f4").reshape(len(ids), FEATURES)


@contextmanager
def _rockstore(folder: Path, *, row_cache_bytes: int) -> Iterator[Rockstore]:
    """A process over `folder`; nobody writes, so it follows a log that is away."""
    address = f"127.0.0.1:{reserve()}"
    config = folder / "rockstore.toml"
    config.write_text(
        f'[process]\nlisten = "{address}"\nmetrics_listen = "127.0.0.1:{reserve()}"\n'
        f'data_dir = "{folder / "data"}"\ncatch_up_s_max = 0.0\nnum_shards = {NUM_SHARDS}\n'
        f'[follower]\nlog = "127.0.0.1:{reserve()}"\n[memory]\nrow_cache_bytes = {row_cache_bytes}\n'
        f'[[schemas]]\nkind = "pin"\nversion = 1\nfeatures = {list(_NAMES)}\ndefaults = {[0.0] * FEATURES}\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "services.rockstore", "--config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    channels = Channels(ChannelConfig(), ClientMetrics(CollectorRegistry()), message_bytes_max=64 << 20)
    try:
        running = Rockstore(process.pid, address, channels)
        _wait_until_ready(running, process)
        yield running
    finally:
        channels.close()
        process.terminate()
        process.wait()


def _wait_until_ready(running: Rockstore, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            running.rows(np.empty(0, np.uint64))
        except FeedmeshError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _load(ours: Rockstore, folder: Path, ids: NDArray[np.uint64], features: NDArray[np.float32]) -> list[Row]:
    spec = LoadSpec(
        Schema(Kind.PIN, 1, _NAMES, (0.0,) * FEATURES),
        version=1,
        gone_ms=0,
        num_shards=NUM_SHARDS,
        shard_scheme=ShardScheme.HASHED,
        made_ms=1,
    )
    began = time.perf_counter()
    prepare(_batches(ids, features), folder / "prepared", spec)
    prepared = time.perf_counter()
    request = admin_pb2.StageLoadRequest(path=str(folder / "prepared"))
    generation = list(ours.channels.stream(ours.address, STAGE, request))[-1].generation
    staged = time.perf_counter()
    ours.channels.call(
        ours.address,
        ACTIVATE,
        admin_pb2.ActivateGenerationRequest(kind=PIN, generation=generation),
        timeout_s=60.0,
    )
    live = time.perf_counter()
    return [
        Row("bulk load: prepared, one process", len(ids) / (prepared - began), "rows/s"),
        Row("bulk load: staged", len(ids) / (staged - prepared), "rows/s"),
        Row("bulk load: made live", (live - staged) * 1e3, "ms"),
        Row("bulk load: all", len(ids) / (live - began), "rows/s"),
    ]


def _batches(ids: NDArray[np.uint64], features: NDArray[np.float32]) -> Iterator[RowBatch]:
    for start in range(0, len(ids), _BATCH):
        part = slice(start, start + _BATCH)
        yield RowBatch(ids[part], features[part], np.empty((len(ids[part]), 0), np.uint64))
