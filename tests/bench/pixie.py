"""`pixie`: walks on the graph of real saves and on one ten times larger, in this process and as calls.

Steps a second of one thread: 100,000 steps from 20 query pins, weighed alike, pins counted; restart 0.5 and
round trips, drawn in both. Ours is the whole walk: visits by query pin, totals, room that is bounded. Beside
it the peers of `pixie_peers.py`, call by call in turn; medians of processor time, which others on the machine
do not lengthen. Round trips that are counted instead of drawn, as the preset `real` does, are a row of their
own: they make no steps. Two threads beside one are by the clock.
Calls: RecommendBoards of 100,000 steps from 20 query pins, 500 boards with 3 reasons each and 1,000 pins, by
one client and by four, against one process on the same cores. Query pins are drawn as they are saved.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from feedmesh.pixie.v1 import pixie_pb2
from services.pixie.settings import WalkSettings
from services.pixie.walk import WalkQuery
from services.pixie.walkers import Walkers
from tests.bench.pixie_calls import measure, serving
from tests.bench.pixie_graphs import BenchGraph, draw_rows, prepare
from tests.bench.pixie_peers import PlainWalk, igraph_steps_a_second, networkx_steps_a_second
from tests.bench.processes import machine
from tests.bench.report import Row, beside

STEPS = 100_000
QUERY_PINS = 20
LARGE_STEPS = 1_000_000
LARGE_QUERY_PINS = 100
TURNS = 60
CALL_S = 8.0
DRAWN = {
    "restart 0.5": WalkSettings(step_count=STEPS, restart=0.5, degree_penalty=0.0, exact=False),
    "round trips": WalkSettings(step_count=STEPS, restart=1.0, degree_penalty=0.0, exact=False),
}
CALLED = {
    "restart 0.5": pixie_pb2.Walk(
        settings=pixie_pb2.WalkSettings(step_count=STEPS, restart=0.5), preset="real"
    ),
    "preset real": pixie_pb2.Walk(settings=pixie_pb2.WalkSettings(step_count=STEPS), preset="real"),
    "preset paper": pixie_pb2.Walk(settings=pixie_pb2.WalkSettings(step_count=STEPS), preset="paper"),
}


def run() -> tuple[list[Row], list[str]]:
    root = Path(os.environ.get("FEEDMESH_BENCH_DIR", "build/bench")) / "pixie"
    graphs, notes = prepare(root)
    rows = [row for one in graphs for row in (*_walk_rows(one), *_peer_rows(one), _threads_row(one))]
    rows += [row for one in graphs for row in _call_rows(one)]
    return rows, [machine(), f"{STEPS:,} steps from {QUERY_PINS} query pins; {TURNS} turns", *notes]


def _walk_rows(one: BenchGraph) -> list[Row]:
    plain = PlainWalk(one.graph)
    rows = []
    for name, settings in DRAWN.items():
        ours_s, plain_s = _in_turn(
            lambda seed, settings=settings: _walk(one, settings, seed),  # type: ignore[misc]
            lambda seed, settings=settings: plain.walk(  # type: ignore[misc]
                _query_rows(one, seed), STEPS, settings.restart, seed
            ),
        )
        rows.append(
            beside(
                f"{one.name}, {name}, one thread",
                STEPS / ours_s / 1e6,
                "M steps/s",
                peer=plain.name,
                peer_value=STEPS / plain_s / 1e6,
                more_is_better=True,
            )
        )
    counted_s, _ = _in_turn(lambda seed: _walk(one, WalkSettings(step_count=STEPS), seed), lambda seed: None)
    rows.append(Row(f"{one.name}, round trips counted, one thread", counted_s * 1000, "ms a walk"))
    return rows


def _peer_rows(one: BenchGraph) -> list[Row]:
    """Ours beside libraries, which are so far off that turns would say nothing more."""
    sources = _query_rows(one, 1)[:5]
    ours_s, _ = _in_turn(lambda seed: _walk(one, DRAWN["restart 0.5"], seed), lambda seed: None)
    ours = STEPS / ours_s / 1e6
    peers = {"igraph random_walk, no restart": igraph_steps_a_second(one.graph, sources, steps=STEPS)}
    if one.graph.edge_count < 2_000_000:
        # A dictionary of dictionaries: the larger one would take this machine's memory.
        peers["networkx graph in Python"] = networkx_steps_a_second(one.graph, sources, steps=STEPS // 5)
    return [
        beside(
            f"{one.name}, restart 0.5, one thread",
            ours,
            "M steps/s",
            peer=peer,
            peer_value=rate / 1e6,
            more_is_better=True,
        )
        for peer, rate in peers.items()
    ]


def _threads_row(one: BenchGraph) -> Row:
    """A large request of many query pins on two threads beside one; the totals are one thread's in both."""
    settings = WalkSettings(step_count=LARGE_STEPS, restart=0.5, degree_penalty=0.0, exact=False)
    two = Walkers(visit_slots=1 << 20, threads=2, parallel_steps_min=1)

    def walk(walkers: Walkers, seed: int) -> None:
        rows = draw_rows(one.graph, LARGE_QUERY_PINS, np.random.default_rng(seed))
        with walkers.walk(one.graph, WalkQuery(rows, np.ones(rows.size), settings, seed)):
            pass

    two_s, one_s = _in_turn(
        lambda seed: walk(two, seed), lambda seed: walk(_WALKERS, seed), clock=time.perf_counter
    )
    two.close()
    return beside(
        f"{one.name}, restart 0.5, {LARGE_STEPS:,} steps, two threads",
        two_s * 1000,
        "ms",
        peer="one thread",
        peer_value=one_s * 1000,
        more_is_better=False,
    )


def _call_rows(one: BenchGraph) -> list[Row]:
    rows = []
    with serving(one.folder) as (address, pid):
        for name, walk in CALLED.items():
            for clients in (1, 4):
                calls = measure(
                    address, pid, walk, one.graph, clients=clients, seconds=CALL_S, query_pins=QUERY_PINS
                )
                what = f"{one.name}, {name}, {clients} client{'s' if clients > 1 else ''}"
                rows += [
                    Row(f"{what}", calls.per_s, "requests/s"),
                    Row(f"{what}: p50", calls.p50_ms, "ms"),
                    Row(f"{what}: p99", calls.p99_ms, "ms"),
                    Row(f"{what}: CPU of the server", calls.cpu_ms, "ms a request"),
                ]
    return rows


_WALKERS = Walkers(visit_slots=1 << 20, threads=1, parallel_steps_min=1)


def _walk(one: BenchGraph, settings: WalkSettings, seed: int) -> None:
    asked = WalkQuery(_query_rows(one, seed), np.ones(QUERY_PINS), settings, seed)
    with _WALKERS.walk(one.graph, asked) as visits:
        assert visits.counts.step_count == STEPS
        assert visits.counts.dropped_visit_count == 0


def _query_rows(one: BenchGraph, seed: int) -> NDArray[np.int64]:
    return draw_rows(one.graph, QUERY_PINS, np.random.default_rng(seed))


def _in_turn(
    ours: Callable[[int], None],
    theirs: Callable[[int], None],
    *,
    clock: Callable[[], float] = time.thread_time,
) -> tuple[float, float]:
    """Median seconds of each, call by call in turn: of the thread's processor time, or of another clock."""
    ours(0)
    theirs(0)
    taken: tuple[list[float], list[float]] = ([], [])
    for seed in range(1, TURNS + 1):
        for side, call in enumerate((ours, theirs)):
            began = clock()
            call(seed)
            taken[side].append(clock() - began)
    return float(np.median(taken[0])), float(np.median(taken[1]))
