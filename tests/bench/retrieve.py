"""`retrieve`: one Retrieve of Polaris for a heavy user, as a client sees it, beside Redis and numpy.

The world of `feed`: 500 followed boards, 134,000 pins on them of 2 million, 100,000 of these within 90 days,
10,000 seen, the best 1,000 wanted. Polaris gets the seen pins as Aperture sends them, as a filter. The peer
holds the same pins packed, one string a board, and the seen sets (`retrieve_peer.py`). Before anything is
timed the answers are compared pin by pin and score by score; pins that the filter hides by mistake are named
to the peer. Both are asked by one client, a round of all users in turn; figures are of whole round trips.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from feedmesh.polaris.v1 import polaris_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.bloom import BloomFilter
from services.chassis.columns.packed import pack_f32, pack_u64, unpack_f32, unpack_u32, unpack_u64
from services.chassis.rpc.method import Method
from services.cli.connection import Connection
from services.cli.mesh.layout import Layout
from services.cli.up import running_mesh
from services.polaris.config import PolarisConfig
from services.polaris.light_score import LightScale
from tests.bench.heavy_mesh import prepare, world_folder
from tests.bench.heavy_world import DAY_MS, WINDOW_DAYS, HeavyWorld
from tests.bench.processes import cpu_us, machine, pids
from tests.bench.report import Row, beside
from tests.bench.retrieve_peer import PIN, PinsInRedis, running_pins
from tests.bench.rows_peers import why_redis_is_not_here

RETRIEVE = Method(
    "/feedmesh.polaris.v1.PolarisService/Retrieve",
    polaris_pb2.RetrieveRequest,
    polaris_pb2.RetrieveResponse,
)
LIST_PINS = Method(
    "/feedmesh.polaris.v1.PolarisService/ListPins",
    polaris_pb2.ListPinsRequest,
    polaris_pb2.ListPinsResponse,
)
LIMIT = 1_000
ROUNDS = 25
"""Each is all users in turn by one side, then by the other: neither begins each call with cold caches."""
WARM_ROUNDS = 3
RATE = 0.005
PEER = "packed Redis and numpy"


@dataclass(frozen=True)
class Asked:
    """One user's retrieval."""

    user: int
    boards: NDArray[np.uint64]
    affinities: NDArray[np.float32]
    seen: NDArray[np.uint64]
    saved_after_s: int
    request: polaris_pb2.RetrieveRequest
    bloom: BloomFilter


def run() -> tuple[list[Row], list[str]]:
    pin_count = int(os.environ.get("FEEDMESH_BENCH_PINS", "2000000"))
    now_ms = time.time_ns() // 1_000_000
    console, world = Console(), HeavyWorld(now_ms=now_ms, pin_count=pin_count)
    folder = world_folder(world)
    layout = prepare(world, folder, console)
    scratch = Path(tempfile.mkdtemp(prefix="feedmesh-bench-"))
    notes = [machine()]
    try:
        with ExitStack() as stack:
            mesh = stack.enter_context(
                running_mesh(layout, services=("ingest", "polaris"), config=folder / "config")
            )
            mesh.wait_until_ready(console)
            polaris = _Polaris(stack.enter_context(Connection(layout)), layout)
            world = HeavyWorld(now_ms=polaris.loaded_ms(world), pin_count=pin_count)
            asked = [_asked(world, user, now_ms) for user in range(world.heavy_users)]
            redis = None
            if why_not := why_redis_is_not_here():
                notes.append(f"without Redis: {why_not}")
            else:
                redis = stack.enter_context(running_pins(scratch / "redis"))
                _fill(redis, world, asked)
                notes.append(_compared(polaris, redis, asked))
            rows = _timed(polaris, redis, asked)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return rows, notes


class _Polaris:
    """The one host, and a client."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._channels = connection.channels
        self._address = layout.addresses("polaris")[0]
        self.pid = pids(layout)["polaris"]

    def retrieve(self, asked: Asked) -> polaris_pb2.RetrieveResponse:
        return self._channels.call(self._address, RETRIEVE, asked.request, timeout_s=5)

    def loaded_ms(self, world: HeavyWorld) -> int:
        """The `now_ms` with which the world on disk was drawn: what makes all of some boards' times right."""
        least, most = 0, 1 << 62
        for board in range(20):
            request = polaris_pb2.ListPinsRequest(board=HeavyWorld.BOARD_BASE + board, limit=1_000)
            found = self._channels.call(self._address, LIST_PINS, request, timeout_s=5)
            pins = (unpack_u64(found.pins_u64) - np.uint64(HeavyWorld.PIN_BASE)).astype(np.int64)
            if len(pins):
                # Milliseconds before `now_ms` are the seed's; whole seconds of the sum are stored.
                ago_ms = world.now_ms - world.saved_ms[pins]
                seconds = unpack_u32(found.saved_at_u32).astype(np.int64)
                least = max(least, int((seconds * 1000 + ago_ms).max()))
                most = min(most, int((seconds * 1000 + 999 + ago_ms).min()))
        if least > most:
            raise RuntimeError("the world on disk is not this seed's: delete its folder, and load it anew")
        return least


def _asked(world: HeavyWorld, user: int, now_ms: int) -> Asked:
    # Ascending, as Apiary answers them.
    boards = world.heavy_boards(user).astype(np.uint64) + np.uint64(HeavyWorld.BOARD_BASE)
    order = np.argsort(boards)
    boards, affinities = boards[order], world.affinities(user)[: len(boards)][order]
    seen = np.sort(world.seen(user).astype(np.uint64) + np.uint64(HeavyWorld.PIN_BASE))
    bloom = BloomFilter.build(seen, RATE)
    saved_after_s = (now_ms - WINDOW_DAYS * DAY_MS) // 1000
    request = polaris_pb2.RetrieveRequest(
        boards_u64=pack_u64(boards),
        affinities_f32=pack_f32(affinities),
        seen=type_pb2.BloomFilter(
            bits=bloom.to_bytes(),
            hash_count=bloom.hash_count,
            seed=bloom.seed,
            item_count=bloom.item_count,
        ),
        limit=LIMIT,
        saved_after_ms=saved_after_s * 1000,
        now_ms=now_ms,
    )
    return Asked(HeavyWorld.USER_BASE + user, boards, affinities, seen, saved_after_s, request, bloom)


def _scale() -> LightScale:
    config = PolarisConfig()
    return LightScale(half_life_s=config.half_life_s, epoch_s=config.epoch_s)


def _fill(redis: PinsInRedis, world: HeavyWorld, asked: list[Asked]) -> None:
    order = np.argsort(world.board_of_pin, kind="stable")
    pins = np.empty(world.pin_count, PIN)
    pins["id"] = order + HeavyWorld.PIN_BASE
    pins["saved_at"] = world.saved_ms[order] // 1000
    pins["key"] = _scale().keys(
        qualities=world.quality[order], saved_at=(world.saved_ms[order] // 1000).astype(np.uint32)
    )
    ends = np.cumsum(np.bincount(world.board_of_pin, minlength=world.board_count))[:-1]
    boards = enumerate(np.split(pins, ends))
    redis.load("board", [(HeavyWorld.BOARD_BASE + board, part.tobytes()) for board, part in boards])
    redis.load("seen", [(one.user, one.seen.astype("<u8").tobytes()) for one in asked])


def _compared(polaris: _Polaris, redis: PinsInRedis, asked: list[Asked]) -> str:
    """Raises when one answer differs; else says what was compared."""
    hidden_count = 0
    for one in asked:
        found = polaris.retrieve(one)
        # What the filter hides by mistake the peer is told as seen, for this comparison only.
        deeper, _ = _by_redis(redis, one, limit=2 * LIMIT)
        hidden = deeper[one.bloom.contains_many(deeper)]
        redis.load("seen", [(one.user, np.sort(np.concatenate([one.seen, hidden])).astype("<u8").tobytes())])
        pins, ranks = _by_redis(redis, one)
        redis.load("seen", [(one.user, one.seen.astype("<u8").tobytes())])
        scores = _scale().scores(ranks=ranks, now_ms=one.request.now_ms)
        if unpack_u64(found.pins_u64).tolist() != pins.tolist():
            raise RuntimeError(f"Polaris and Redis answer user {one.user} with different pins")
        if not np.array_equal(unpack_f32(found.scores_f32), scores):
            raise RuntimeError(f"Polaris and Redis answer user {one.user} with different scores")
        hidden_count += len(hidden)
    return (
        f"equal for {len(asked)} users, pin by pin and score by score; the filters hide {hidden_count} of "
        f"{len(asked) * 2 * LIMIT:,} unseen pins by mistake, which are named to the peer for the comparison"
    )


def _by_redis(
    redis: PinsInRedis, one: Asked, *, limit: int = LIMIT
) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    return redis.retrieve(one.user, one.boards, one.affinities, saved_after_s=one.saved_after_s, limit=limit)


def _timed(polaris: _Polaris, redis: PinsInRedis | None, asked: list[Asked]) -> list[Row]:
    sides = {"Retrieve": _Side(polaris.pid, polaris.retrieve)}
    if redis is not None:
        server = redis
        sides[PEER] = _Side(redis.pid, lambda one: _by_redis(server, one))
    for number in range(WARM_ROUNDS + ROUNDS):
        for side in sides.values():
            side.ask_all(asked, timed=number >= WARM_ROUNDS)
    ours, theirs = sides["Retrieve"], sides.get(PEER)
    figures = (
        ("round trip, p50", lambda side: float(np.median(side.seconds)) * 1e3, "ms"),
        ("round trip, p99", lambda side: float(np.quantile(side.seconds, 0.99)) * 1e3, "ms"),
        ("CPU of the server", lambda side: side.server_us / len(side.seconds) / 1e3, "ms"),
        ("CPU of the client", lambda side: side.client_s / len(side.seconds) * 1e3, "ms"),
        (
            "CPU of both",
            lambda side: side.server_us / len(side.seconds) / 1e3 + side.client_s / len(side.seconds) * 1e3,
            "ms",
        ),
    )
    return [
        Row(name, figure(ours), unit)
        if theirs is None
        else beside(name, figure(ours), unit, peer=PEER, peer_value=figure(theirs), more_is_better=False)
        for name, figure, unit in figures
    ]


class _Side:
    """One way of retrieving, and what it took."""

    def __init__(self, pid: int, retrieve: Callable[[Asked], object]) -> None:
        self._pid = {"server": pid}
        self._retrieve = retrieve
        self.seconds: list[float] = []
        self.server_us = 0.0
        self.client_s = 0.0

    def ask_all(self, asked: list[Asked], *, timed: bool) -> None:
        """A round: one retrieval for each user."""
        server_us, client_s = cpu_us(self._pid)["server"], time.process_time()
        seconds = []
        for one in asked:
            began = time.perf_counter()
            self._retrieve(one)
            seconds.append(time.perf_counter() - began)
        if timed:
            self.seconds += seconds
            self.client_s += time.process_time() - client_s
            self.server_us += cpu_us(self._pid)["server"] - server_us
