"""`feed`: what a heavy user's feed costs, by stage and by process, and how it answers at a fixed rate.

500 followed boards, 100,000 pins of 90 days behind them out of 2 million, 10,000 seen, 1,000 candidates, a
LightGBM model of 500 trees × 63 leaves over 64 features, page of 50, impressions published, 20 users in
turn. Titles and pictures are not asked for. All rows fit into Rockstore's cache, as they do into a Redis that
holds them; the load is worked off before anything is measured.
The peer is LightGBM alone in this process, one thread, on 1,000 such rows: what no feed that calls it can
beat. With FEEDMESH_BENCH_PEER=results.json, the same feed written by hand on Redis or Postgres stands beside
it: the `paired.heavy` part of its results, made on the same machine in the same hour.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import lightgbm
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from feedmesh.feedgen.v1 import feedgen_pb2, feedgen_pb2_grpc
from services.cli.connection import Connection
from services.cli.mesh.layout import Layout
from services.cli.up import running_mesh
from tests.bench.heavy_mesh import prepare, wait_idle, world_folder
from tests.bench.heavy_world import FEATURES, HeavyWorld
from tests.bench.processes import cpu_us, machine, memory_mb, pids
from tests.bench.report import Row, beside

FEEDS = 200
WARM_FEEDS = 60
RATE_SECONDS = 20
PAGE = 50
PEERS = {"redis_packed": "packed Redis, numpy, LightGBM", "pg_sql": "plain SQL, LightGBM"}


def run() -> tuple[list[Row], list[str]]:
    console = Console()
    world = HeavyWorld(now_ms=_now_ms(), pin_count=int(os.environ.get("FEEDMESH_BENCH_PINS", "2000000")))
    folder = world_folder(world)
    # The world's times are those of the day it was loaded; a day more or less moves the window a little.
    layout = prepare(world, folder, console)
    with running_mesh(layout, config=folder / "config") as mesh:
        ready_s = mesh.wait_until_ready(console)
        wait_idle(layout, console)
        _feeds(layout, world, WARM_FEEDS)
        running = pids(layout)
        before = cpu_us(running)
        answers, walls = _feeds(layout, world, FEEDS)
        cpu = _per_feed(before, cpu_us(running), FEEDS)
        predict_ms = _predict_alone(folder / "models" / "bench" / "model.txt")
        # Half of what the processors could do: a system at its limit queues, whatever it is.
        rate = 0.5 * (os.cpu_count() or 1) * 1_000_000 / sum(cpu.values())
        before = cpu_us(running)
        paced = asyncio.run(_at_rate(layout, world, rate))
        paced_cpu = _per_feed(before, cpu_us(running), len(paced))
        with Connection(layout) as connection:
            last = connection.feed(_request(world, 0, explain=True))
        memory = memory_mb(running)
    figures = _Figures(
        wall_ms=float(np.median(walls)) * 1e3,
        cpu_ms=sum(cpu.values()) / 1e3,
        paced_cpu_ms=sum(paced_cpu.values()) / 1e3,
    )
    rows = [
        *_beside(figures, "LightGBM predict alone", wall_ms=predict_ms, cpu_ms=predict_ms),
        *_peer_rows(figures),
        Row("feed, wall p99", float(np.quantile(walls, 0.99)) * 1e3, "ms"),
        *(Row(f"CPU of {name}", value, "µs") for name, value in sorted(cpu.items(), key=lambda e: -e[1])),
        *_stage_rows(answers),
        Row("rate asked for", rate, "feeds/s"),
        Row("p50 at that rate, from the scheduled time", float(np.quantile(paced, 0.5)) * 1e3, "ms"),
        Row("p99 at that rate, from the scheduled time", float(np.quantile(paced, 0.99)) * 1e3, "ms"),
        *(
            Row(f"CPU of {name} at that rate", value, "µs")
            for name, value in sorted(paced_cpu.items(), key=lambda e: -e[1])
        ),
        Row("memory, all processes", sum(memory.values()), "MB"),
        *(
            Row(f"memory of {name}", value, "MB")
            for name, value in sorted(memory.items(), key=lambda e: -e[1])
        ),
        Row("mesh ready after a restart", ready_s, "s"),
    ]
    funnel = {(step.stage, step.reason): step.count for step in last.explain.funnel}
    notes = [
        machine(),
        f"{world.pin_count:,} pins; last feed: "
        + ", ".join(f"{stage} {reason} {count:,}" for (stage, reason), count in funnel.items()),
        f"complete answers: {sum(answer.complete for answer in answers)} of {len(answers)}",
    ]
    return rows, notes


@dataclass(frozen=True)
class _Figures:
    wall_ms: float
    cpu_ms: float
    paced_cpu_ms: float


def _beside(figures: _Figures, peer: str, *, wall_ms: float, cpu_ms: float) -> list[Row]:
    return [
        beside("feed, wall p50", figures.wall_ms, "ms", peer=peer, peer_value=wall_ms, more_is_better=False),
        beside(
            "feed, CPU of all processes",
            figures.cpu_ms,
            "ms",
            peer=peer,
            peer_value=cpu_ms,
            more_is_better=False,
        ),
        beside(
            "feed, CPU of all processes, at the rate below",
            figures.paced_cpu_ms,
            "ms",
            peer=peer,
            peer_value=cpu_ms,
            more_is_better=False,
        ),
    ]


def _peer_rows(figures: _Figures) -> list[Row]:
    """The hand-written feeds, when their results are given."""
    path = os.environ.get("FEEDMESH_BENCH_PEER")
    if not path:
        return []
    heavy = json.loads(Path(path).read_text(encoding="utf-8"))["paired"]["heavy"]
    return [
        row
        for name, words in PEERS.items()
        for row in _beside(
            figures,
            words,
            wall_ms=heavy[name]["p50"],
            cpu_ms=heavy[name]["client_cpu_ms"] + heavy[name]["server_cpu_ms"],
        )
    ]


def _per_feed(before: Mapping[str, float], after: Mapping[str, float], count: int) -> dict[str, float]:
    """Microseconds of CPU by process."""
    return {name: (after[name] - before[name]) / count for name in before}


def _feeds(
    layout: Layout, world: HeavyWorld, count: int
) -> tuple[list[feedgen_pb2.GetFeedResponse], NDArray[np.float64]]:
    answers, walls = [], []
    with Connection(layout) as connection:
        for number in range(count):
            request = _request(world, number)
            began = time.perf_counter()
            answers.append(connection.feed(request))
            walls.append(time.perf_counter() - began)
    return answers, np.array(walls)


def _request(world: HeavyWorld, number: int, *, explain: bool = False) -> feedgen_pb2.GetFeedRequest:
    user = HeavyWorld.USER_BASE + number % world.heavy_users
    return feedgen_pb2.GetFeedRequest(user=user, page_size=PAGE, explain=explain)


async def _at_rate(layout: Layout, world: HeavyWorld, rate: float) -> NDArray[np.float64]:
    """Latencies from the scheduled time: a late start counts, so queueing cannot hide."""
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(layout.addresses("feedgen")[0]) as channel:
        stub = feedgen_pb2_grpc.FeedGeneratorServiceStub(channel)

        async def one(number: int, due: float) -> None:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await stub.GetFeed(_request(world, number), timeout=5)
            latencies.append(time.perf_counter() - due)

        start = time.perf_counter() + 0.2
        count = int(rate * RATE_SECONDS)
        await asyncio.gather(*(one(number, start + number / rate) for number in range(count)))
    return np.array(latencies)


def _predict_alone(model: Path) -> float:
    """Median milliseconds of LightGBM on 1,000 rows, one thread."""
    booster = lightgbm.Booster(model_file=str(model))
    rows = np.random.default_rng(5).standard_normal((1_000, FEATURES + 4)).astype(np.float32)
    times = []
    for _ in range(30):
        began = time.perf_counter()
        booster.predict(rows, raw_score=True, num_threads=1)
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1e3


def _stage_rows(answers: list[feedgen_pb2.GetFeedResponse]) -> list[Row]:
    times: dict[str, list[int]] = {}
    for answer in answers:
        for stage in answer.stages:
            times.setdefault(stage.stage, []).append(stage.elapsed_us)
    return [Row(f"stage {name}, p50", float(np.median(values)), "µs") for name, values in times.items()]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
