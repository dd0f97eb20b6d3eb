"""Memory and threads of walks: tables that are made once, a bounded pool for large requests.

A request takes a `Workspace`, the one that was given back last, whose memory is still in the caches, and
makes one when none is free: there are never more than calls run at a time, and threads of the pool. Arrays
are zeros of the system's, so memory that no request has needed is not there.
A large request's query pins are cut into parts, which the pool's threads walk; the kernels hold no GIL. One
query pin is walked by one thread. Requests below `parallel_steps_min` are walked where they are.
Next: `walk.py`, `visit_kernels.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.pixie.graph import Graph
from services.pixie.ranking import SideVisits, Visits
from services.pixie.visit_kernels import Log, Table, Totals
from services.pixie.walk import Plan, WalkCounts, WalkQuery, how, plan, sides
from services.pixie.walk_kernels import DROPPED, EARLY_STOPS, REPORT, STEPS, Found, walk_queries

_PARTS_A_THREAD: Final = 4
"""Parts that a request is cut into: some are done sooner than their steps let expect."""


@dataclass(frozen=True, slots=True)
class SideSpace:
    """Memory for the visits of one side."""

    table: Table
    log: Log
    totals: Totals

    @classmethod
    def make(cls, room: int) -> SideSpace:
        """For `room` distinct visits."""
        # Two slots a row, rounded up to a power of two.
        slots = 1 << (2 * room - 1).bit_length()
        return cls(
            Table(np.zeros(slots, np.uint32), np.zeros(slots, np.float32), np.zeros(room + 1, np.uint32)),
            Log(np.zeros(room, np.uint32), np.zeros(room, np.float32)),
            Totals(
                np.zeros(slots, np.uint32),
                np.zeros(room, np.uint32),
                np.zeros(room, np.uint32),
                np.zeros(room, np.float64),
                np.zeros(room, np.float64),
            ),
        )


@dataclass(frozen=True, slots=True)
class Workspace:
    """Memory of one walk at a time; empty whenever it is taken."""

    pins: SideSpace
    boards: SideSpace


class Walkers:
    """Walks queries. Any number of threads may ask at once."""

    def __init__(self, *, visit_slots: int, threads: int, parallel_steps_min: int) -> None:
        self._room = visit_slots
        self._threads = threads
        self._parallel_steps_min = parallel_steps_min
        self._free: list[Workspace] = []
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="walk") if threads > 1 else None

    @contextmanager
    def walk(self, graph: Graph, query: WalkQuery) -> Iterator[Visits]:
        """The visits of a query, for as long as the context lasts: they lie in memory that is used again."""
        planned = plan(graph, query, room=self._room)
        with self._workspace() as space:
            found = self._found(space, planned)
            counts = self._walk(graph, query, planned, space, found)
            pins = SideVisits(graph.pin_starts, planned, found[0], space.pins.totals)
            boards = SideVisits(graph.board_starts, planned, found[1], space.boards.totals)
            try:
                yield Visits(query.settings, pins, boards, counts)
            finally:
                pins.clear()
                boards.clear()

    def close(self) -> None:
        """End the pool's threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _found(self, space: Workspace, planned: Plan) -> tuple[Found, Found]:
        count = planned.places.size
        return (
            Found(space.pins.log, np.zeros(count, np.int64)),
            Found(space.boards.log, np.zeros(count, np.int64)),
        )

    def _walk(
        self, graph: Graph, query: WalkQuery, planned: Plan, space: Workspace, found: tuple[Found, Found]
    ) -> WalkCounts:
        count = planned.places.size

        def part(first: int, last: int, tables: Workspace) -> NDArray[np.int64]:
            report: NDArray[np.int64] = walk_queries(
                sides(graph), planned.queries, how(query), tables.pins.table, tables.boards.table, *found,
                first, last,
            )  # fmt: skip
            return report

        def part_aside(bounds: tuple[int, int]) -> NDArray[np.int64]:
            with self._workspace() as tables:
                return part(*bounds, tables)

        if self._pool is None or count < 2 or query.settings.step_count < self._parallel_steps_min:
            report = part(0, count, space)
        else:
            bounds = _parts(planned.queries.steps, self._threads * _PARTS_A_THREAD)
            report = sum(self._pool.map(part_aside, bounds), np.zeros(REPORT, np.int64))
        return WalkCounts(
            unknown_query_count=query.rows.size - count,
            step_count=int(report[STEPS]),
            early_stop_count=int(report[EARLY_STOPS]),
            dropped_visit_count=int(report[DROPPED]),
        )

    @contextmanager
    def _workspace(self) -> Iterator[Workspace]:
        with self._lock:
            space = self._free.pop() if self._free else None
        space = space or Workspace(SideSpace.make(self._room), SideSpace.make(self._room))
        yield space
        # Not after a fault: it may not be empty.
        with self._lock:
            self._free.append(space)


def _parts(steps: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """Query pins in at most `count` runs of about equal steps."""
    ends = np.cumsum(steps)
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, count + 1) / count, side="left") + 1
    borders = np.unique(np.concatenate(([0], np.minimum(cuts, steps.size), [steps.size])))
    return list(zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True))
