"""`score`: Scorpion's Score of 1,000 candidates over gRPC, all cached, and at 90% hits at a fixed rate.

Real processes of Ingest, Counter, Rockstore and Scorpion over a world of 200,000 pins that came in through
Publish: 64 features, 4 of them counts, 500 trees of 63 leaves. The peer is LightGBM's `predict` in this
process on the same 1,000 rows, ready in memory: without a server, without a feature looked up. Both take
turns. CPU is that of server and client together, and LightGBM's own.
*90% hits*: of each request's candidates, 900 are drawn from 40,000 pins that are cached, and 100 are pins
that nobody asked for since the processes started, so Scorpion gets them from Rockstore and Counter; every
answer is checked for the count of its hits. An answer whose rows did not come in time has defaults for them:
these are counted. Rows are kept for ten minutes here, not one, as the whole takes longer than a minute; the
cache holds all of them. The first run loads the world for minutes, and keeps it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import grpc
import lightgbm
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from rich.console import Console

from feedmesh.counter.v1 import counter_pb2
from feedmesh.scorpion.v1 import scorpion_pb2, scorpion_pb2_grpc
from services.chassis.columns.packed import pack_f32, pack_u32, pack_u64, unpack_f16, unpack_f32
from services.chassis.process import ChannelConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.cli.mesh.layout import Layout
from services.cli.up import running_mesh
from services.feedgen.clients import SCORE
from services.scorpion.clients import GET_COUNTS
from services.scorpion.model_files import MODEL
from tests.bench.heavy_mesh import BATCH, COUNTERS, prepare, world_folder, write_config
from tests.bench.heavy_world import HeavyWorld
from tests.bench.processes import cpu_us, machine, pids
from tests.bench.report import Row, beside

SERVICES: Final = ("ingest", "counter", "rockstore", "scorpion")
ASKED: Final = 1_000
CACHED: Final = 40_000
"""The first pins of the world; the others are there to be missed."""
WARM_PASSES_MAX: Final = 10
TURNS: Final = 8
CALLS_A_TURN: Final = 100
PREDICTS_A_TURN: Final = 12
RATE: Final = 50
RATE_SECONDS: Final = 20
MISSED: Final = ASKED // 10
HITS_MARGIN: Final = ASKED // 100
DIFFERENCE_MAX: Final = 1e-5
_TIMEOUT_S: Final = 10.0
_TTL_MS: Final = 600_000


@dataclass
class Measured:
    """Wall time of each call, and CPU over all."""

    walls_s: list[float] = field(default_factory=list)
    cpu_us: float = 0.0

    def ms(self, quantile: float) -> float:
        return float(np.quantile(self.walls_s, quantile)) * 1e3

    @property
    def cpu_ms(self) -> float:
        """Of one call."""
        return self.cpu_us / len(self.walls_s) / 1e3


@dataclass
class Paced:
    """Answers at a fixed rate."""

    latencies_s: list[float] = field(default_factory=list)
    """From the scheduled time: a late start counts, so queueing cannot hide."""
    hits: list[int] = field(default_factory=list)
    defaulted: int = 0
    """Answers with rows that a store did not bring in time."""


def run() -> tuple[list[Row], list[str]]:
    console = Console()
    pins = int(os.environ.get("FEEDMESH_BENCH_SCORE_PINS", "200000"))
    world = HeavyWorld(now_ms=time.time_ns() // 1_000_000, pin_count=pins, board_count=2_000)
    requests = RATE * RATE_SECONDS
    if CACHED + requests * MISSED > world.pin_count:
        raise ValueError(f"{world.pin_count:,} pins are too few for {requests:,} requests with misses")
    layout = prepare(world, world_folder(world), console)
    # Written anew: the shipped configuration may have changed since the world was loaded.
    config = write_config(layout.data_dir / "config")
    kept = {"FEEDMESH_SCORPION__CACHE_TTL_MS": str(_TTL_MS)}
    with running_mesh(layout, services=SERVICES, config=config, environment=kept) as mesh:
        mesh.wait_until_ready(console)
        channels = Channels(ChannelConfig(), ClientMetrics(CollectorRegistry()), message_bytes_max=64 << 20)
        try:
            return _measure(_Asker(world, layout, channels))
        finally:
            channels.close()


def _measure(asker: _Asker) -> tuple[list[Row], list[str]]:
    asker.warm()
    difference = asker.difference()
    ours, lgb = _cached(asker)
    running = pids(asker.layout)
    before = cpu_us(running)
    paced = asyncio.run(_at_rate(asker))
    after = cpu_us(running)
    count = len(paced.latencies_s)
    late_ms = np.array(paced.latencies_s) * 1e3
    peer = "LightGBM predict alone"
    name = f"Score of {ASKED:,}, all cached"
    rows = [
        beside(f"{name}, p50", ours.ms(0.5), "ms", peer=peer, peer_value=lgb.ms(0.5), more_is_better=False),
        beside(f"{name}, p99", ours.ms(0.99), "ms", peer=peer, peer_value=lgb.ms(0.99), more_is_better=False),
        beside(
            f"{name}, CPU of server and client",
            ours.cpu_ms,
            "ms",
            peer=f"{peer}, CPU",
            peer_value=lgb.cpu_ms,
            more_is_better=False,
        ),
        Row("rate asked for, at 90% hits", RATE, "requests/s"),
        Row("hits at that rate", 100 * float(np.mean(paced.hits)) / ASKED, "%"),
        Row("p50 at that rate, from the scheduled time", float(np.quantile(late_ms, 0.5)), "ms"),
        Row("p99 at that rate, from the scheduled time", float(np.quantile(late_ms, 0.99)), "ms"),
        Row("answers with defaulted rows at that rate", 100 * paced.defaulted / count, "%"),
        *(
            Row(f"CPU of {name} at that rate", (after[name] - before[name]) / count / 1e3, "ms/request")
            for name in running
            if name != "ingest"
        ),
    ]
    notes = [
        machine(),
        f"{asker.world.pin_count:,} pins; all cached: {TURNS} turns of {CALLS_A_TURN} calls and of "
        f"{PREDICTS_A_TURN} predicts",
        f"largest difference to LightGBM's scores of the rows that were published: {difference:.1g}",
        f"at 90% hits: {count:,} requests, {MISSED} pins of each never asked for before; "
        f"{min(paced.hits)} to {max(paced.hits)} hits each",
    ]
    return rows, notes


class _Asker:
    """Score requests over the world's pins, and what is known of the answers."""

    def __init__(self, world: HeavyWorld, layout: Layout, channels: Channels) -> None:
        self.world = world
        self.layout = layout
        self.booster = lightgbm.Booster(model_file=str(layout.models_dir / "bench" / MODEL))
        self._channels = channels
        self._generator = np.random.default_rng(21)

    @property
    def address(self) -> str:
        return self.layout.addresses("scorpion")[0]

    def request(self, pins: NDArray[np.int64]) -> scorpion_pb2.ScoreRequest:
        """As FeedGenerator sends it, every column filled; `pins` are indices of the world."""
        boards = self.world.board_of_pin[pins]
        owners = HeavyWorld.USER_BASE + 1_000_000 + boards % self.world.owners
        return scorpion_pb2.ScoreRequest(
            user=HeavyWorld.USER_BASE,
            pins_u64=pack_u64((pins + HeavyWorld.PIN_BASE).astype(np.uint64)),
            light_scores_f32=pack_f32(self.world.quality[pins]),
            saved_at_u32=pack_u32((self.world.saved_ms[pins] // 1_000).astype(np.uint32)),
            boards_u64=pack_u64((boards + HeavyWorld.BOARD_BASE).astype(np.uint64)),
            owners_u64=pack_u64(owners.astype(np.uint64)),
            affinities_f32=pack_f32(np.ones(len(pins), np.float32)),
        )

    def score(self, request: scorpion_pb2.ScoreRequest) -> scorpion_pb2.ScoreResponse:
        return self._channels.call(self.address, SCORE, request, timeout_s=_TIMEOUT_S)

    def warm(self) -> None:
        """Ask for every pin that is to be cached, until all are.

        The first calls find the stores cold, and what these do not bring in time is not kept.
        """
        for _ in range(WARM_PASSES_MAX):
            starts = range(0, CACHED, ASKED)
            answers = [self.score(self.request(np.arange(start, start + ASKED))) for start in starts]
            if all(answer.cache_hit_count == ASKED for answer in answers):
                return
        raise AssertionError(f"the rows are not cached after {WARM_PASSES_MAX} passes")

    def cached(self, count: int) -> list[scorpion_pb2.ScoreRequest]:
        """Requests of random pins that are cached."""
        draw = self._generator
        return [self.request(draw.choice(CACHED, ASKED, replace=False)) for _ in range(count)]

    def missing_some(self, count: int) -> Iterator[scorpion_pb2.ScoreRequest]:
        """Requests with `MISSED` pins each that nobody asked for, in places at random."""
        others = self._generator.permutation(np.arange(CACHED, self.world.pin_count))
        for number in range(count):
            fresh = others[number * MISSED : (number + 1) * MISSED]
            known = self._generator.choice(CACHED, ASKED - MISSED, replace=False)
            yield self.request(self._generator.permutation(np.concatenate([known, fresh])))

    def rows(self) -> NDArray[np.float32]:
        """The features of the first `ASKED` pins, from what was published and what Counter counts."""
        step = BATCH // 2
        starts = range(0, ASKED, step)
        pin_features = np.concatenate([self.world.features(start, start + step) for start in starts])
        ids = (np.arange(ASKED) + HeavyWorld.PIN_BASE).astype(np.uint64)
        asked = counter_pb2.GetCountsRequest(entities_u64=pack_u64(ids), counters=COUNTERS)
        counter = self.layout.addresses("counter")[0]
        answer = self._channels.call(counter, GET_COUNTS, asked, timeout_s=_TIMEOUT_S)
        counts = unpack_f16(answer.counts_f16).reshape(ASKED, len(COUNTERS)).astype(np.float32)
        return np.concatenate([pin_features, np.log1p(counts)], axis=1)

    def difference(self) -> float:
        """The largest between Scorpion's scores and LightGBM's. Raises AssertionError when it is one."""
        scores = unpack_f32(self.score(self.request(np.arange(ASKED))).scores_f32)
        theirs = np.asarray(self.booster.predict(self.rows(), raw_score=True), np.float64)
        difference = float(np.abs(scores - theirs).max())
        if not difference <= DIFFERENCE_MAX:
            raise AssertionError(f"Scorpion's scores differ from LightGBM's by {difference:.3g}")
        return difference


def _cached(asker: _Asker) -> tuple[Measured, Measured]:
    """Score and LightGBM's predict in turns."""
    ours, lgb, rows = Measured(), Measured(), asker.rows()
    scorpion = {"scorpion": pids(asker.layout)["scorpion"]}
    for _ in range(TURNS):
        requests = asker.cached(CALLS_A_TURN)
        answers = []
        before_us = cpu_us(scorpion)["scorpion"] + time.process_time() * 1e6
        for request in requests:
            began = time.perf_counter()
            answers.append(asker.score(request))
            ours.walls_s.append(time.perf_counter() - began)
        ours.cpu_us += cpu_us(scorpion)["scorpion"] + time.process_time() * 1e6 - before_us
        for answer in answers:
            _hits(answer, ASKED)
        before_us = time.process_time() * 1e6
        for _ in range(PREDICTS_A_TURN):
            began = time.perf_counter()
            asker.booster.predict(rows, raw_score=True, num_threads=1)
            lgb.walls_s.append(time.perf_counter() - began)
        lgb.cpu_us += time.process_time() * 1e6 - before_us
    return ours, lgb


async def _at_rate(asker: _Asker) -> Paced:
    """Requests with misses, each sent at its time whether or not the ones before it were answered."""
    paced = Paced()
    requests = list(asker.missing_some(RATE * RATE_SECONDS))
    async with grpc.aio.insecure_channel(asker.address) as channel:
        stub = scorpion_pb2_grpc.ScorpionServiceStub(channel)

        async def one(request: scorpion_pb2.ScoreRequest, due: float) -> None:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            answer = await stub.Score(request, timeout=_TIMEOUT_S)
            paced.latencies_s.append(time.perf_counter() - due)
            paced.hits.append(_hits(answer, ASKED - MISSED, margin=HITS_MARGIN))
            paced.defaulted += answer.defaulted_count > 0

        start = time.perf_counter() + 0.2
        await asyncio.gather(*(one(request, start + i / RATE) for i, request in enumerate(requests)))
    return paced


def _hits(answer: scorpion_pb2.ScoreResponse, wanted: int, *, margin: int = 0) -> int:
    """The answer's hits. Raises AssertionError when they are others than wanted."""
    if abs(answer.cache_hit_count - wanted) > margin:
        raise AssertionError(f"{answer.cache_hit_count} hits, wanted {wanted} ± {margin}")
    return int(answer.cache_hit_count)
