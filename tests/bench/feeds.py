"""`feeds`: the four feeds of a heavy user beside each other: FOLLOWING, INTEREST, PICKED_FOR_YOU and HOME.

The world of `feed` (2 million pins, 500 followed boards with 100,000 pins, 10,000 seen, 1,000 candidates
through 500 trees × 64 features, page of 50), and beside it 10 followed interests of 200, 200,000 pins in
them, 20 recent actions a user, and a graph for the walks: every pin on its own board and on four others,
drawn by their size, 10 million edges. Users and feeds in turn, one request at a time, so all four meet the
same caches. Impressions are not published (`dry_run`), so that all four meet the same seen pins.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.cli.connection import EVENTS_MAX, Connection
from services.cli.mesh.layout import Layout
from services.cli.pixie.serving import answering
from services.cli.up import running_mesh
from tests.bench.heavy_mesh import prepare, wait_idle, world_folder
from tests.bench.heavy_world import HeavyWorld
from tests.bench.processes import cpu_us, machine, pids
from tests.bench.report import Row, beside

FEEDS = ("following", "interest", "picked_for_you", "home")
ROUNDS = 200
WARM_ROUNDS = 40
INTERESTS, FOLLOWED_INTERESTS, INTEREST_PINS = 200, 10, 200_000
RECENT_ACTIONS = 20
OTHER_BOARDS = 4
INTEREST_BASE = 4 << 40


def run() -> tuple[list[Row], list[str]]:
    console = Console()
    now_ms = time.time_ns() // 1_000_000
    world = HeavyWorld(now_ms=now_ms, pin_count=int(os.environ.get("FEEDMESH_BENCH_PINS", "2000000")))
    folder = world_folder(world)
    layout = prepare(world, folder, console)
    with running_mesh(layout, config=folder / "config") as mesh:
        mesh.wait_until_ready(console)
        with Connection(layout) as connection:
            _complete(world, folder, layout, connection, console)
            wait_idle(layout, console)
            _rounds(connection, world, WARM_ROUNDS, FEEDS)
            walls, answers = _rounds(connection, world, ROUNDS, FEEDS)
            cpu = {feed: _cpu_ms(connection, world, layout, feed) for feed in FEEDS}
    p50 = {feed: float(np.median(walls[feed])) * 1e3 for feed in FEEDS}
    rows = []
    for feed in FEEDS:
        rows += [
            beside(
                f"{feed}, wall p50", p50[feed], "ms", peer="following", peer_value=p50["following"],
                more_is_better=False,
            ),
            Row(f"{feed}, wall p99", float(np.quantile(walls[feed], 0.99)) * 1e3, "ms"),
            Row(f"{feed}, CPU of all processes", cpu[feed], "ms"),
        ]  # fmt: skip
    notes = [machine()]
    for feed in FEEDS:
        last = answers[feed][-1]
        sources = ", ".join(f"{one.source} {one.item_count}/{one.candidate_count}" for one in last.sources)
        whole = sum(answer.complete for answer in answers[feed])
        notes.append(f"{feed}: items/candidates {sources}; complete {whole} of {len(answers[feed])}")
    return rows, notes


def _rounds(
    connection: Connection, world: HeavyWorld, count: int, feeds: Iterable[str]
) -> tuple[dict[str, list[float]], dict[str, list[feedgen_pb2.GetFeedResponse]]]:
    walls: dict[str, list[float]] = {feed: [] for feed in feeds}
    answers: dict[str, list[feedgen_pb2.GetFeedResponse]] = {feed: [] for feed in feeds}
    for number in range(count):
        user = HeavyWorld.USER_BASE + number % world.heavy_users
        for feed in feeds:
            began = time.perf_counter()
            answer = connection.feed(
                feedgen_pb2.GetFeedRequest(user=user, feed=feed, page_size=50, dry_run=True)
            )
            walls[feed].append(time.perf_counter() - began)
            answers[feed].append(answer)
    return walls, answers


def _cpu_ms(connection: Connection, world: HeavyWorld, layout: Layout, feed: str) -> float:
    """CPU of all processes for one page of a feed."""
    running = pids(layout)
    before = cpu_us(running)
    _rounds(connection, world, ROUNDS, [feed])
    after = cpu_us(running)
    return sum(after[name] - before[name] for name in before) / ROUNDS / 1e3


def _complete(
    world: HeavyWorld, folder: Path, layout: Layout, connection: Connection, console: Console
) -> None:
    """Interests, actions and a graph, once for a world."""
    done = folder / "feeds_loaded"
    if not done.exists():
        with console.status("loading interests and actions …"):
            _publish(connection, list(_events(world)))
        with console.status("building the graph …"):
            edges = _write_edges(world, folder)
            command = [sys.executable, "-m", "services.cli", "pixie", "build", "--edges", str(edges)]
            subprocess.run([*command, "--data-dir", str(layout.data_dir)], check=True)
        done.touch()
    newest = sorted(path.name for path in layout.graphs_dir.iterdir())[-1]
    until = time.monotonic() + 120
    while not any(one.version == newest for one in answering(layout.data_dir)):
        if time.monotonic() > until:
            raise SystemExit(f"Pixie does not answer from {newest}")
        time.sleep(0.2)


def _events(world: HeavyWorld) -> Iterable[event_pb2.Event]:
    rng = np.random.default_rng((world.seed, 21))
    count = min(INTEREST_PINS, world.pin_count // 2)
    pins = rng.choice(world.pin_count, count, replace=False)
    for place, pin in enumerate(pins.tolist()):
        yield event_pb2.Event(
            put_pin_interests=event_pb2.PutPinInterests(
                pin=HeavyWorld.PIN_BASE + pin,
                interests=[INTEREST_BASE + int(rng.zipf(1.3)) % INTERESTS],
                quality=float(world.quality[pin]),
                created_ms=int(world.saved_ms[pin]),
            ),
            id=f"bench-interest-{place}",
        )
    for number in range(world.heavy_users):
        user = HeavyWorld.USER_BASE + number
        for interest in rng.choice(INTERESTS, FOLLOWED_INTERESTS, replace=False).tolist():
            target = event_pb2.FollowTarget(interest=INTEREST_BASE + interest)
            follow = event_pb2.Follow(user=user, target=target)
            yield event_pb2.Event(follow=follow, id=f"bench-follow-{user}-{interest}")
        for pin in rng.choice(world.seen(number), RECENT_ACTIONS, replace=False).tolist():
            act = event_pb2.Action(
                user=user, pin=HeavyWorld.PIN_BASE + pin, type=type_pb2.ACTION_TYPE_CLOSEUP
            )
            yield event_pb2.Event(action=act, id=f"bench-action-{user}-{pin}")


def _publish(connection: Connection, events: list[event_pb2.Event]) -> None:
    flying: deque[Any] = deque()
    for at in range(0, len(events), EVENTS_MAX):
        if len(flying) == 6:
            flying.popleft().result()
        flying.append(connection.start_publish(events[at : at + EVENTS_MAX], timeout_s=60))
    for pending in flying:
        pending.result()


def _write_edges(world: HeavyWorld, folder: Path) -> Path:
    """Every pin on its own board, and on others by the number of their pins."""
    rng = np.random.default_rng((world.seed, 22))
    sizes = np.bincount(world.board_of_pin, minlength=world.board_count)
    others = rng.choice(world.board_count, world.pin_count * OTHER_BOARDS, p=sizes / sizes.sum())
    boards = np.concatenate([world.board_of_pin, others]).astype(np.uint64) + np.uint64(HeavyWorld.BOARD_BASE)
    pins = np.tile(np.arange(world.pin_count, dtype=np.uint64), OTHER_BOARDS + 1) + np.uint64(
        HeavyWorld.PIN_BASE
    )
    path = folder / "edges.npz"
    np.savez(path, pin=pins, board=boards)
    return path
