"""Counts of the past are those that Counter would have answered."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.train.count_kernels import Asks, counts_at
from services.counter.config import DEFAULT_COUNTERS, DeclaredCounter
from services.counter.counters import ACTIONS, Counters
from services.counter.kernels import Increments
from services.counter.table import CounterTable, TableLimits

WINDOWED = (
    DeclaredCounter(name="day", kind="windowed", actions={"save": 1}, window_hours=24),
    DeclaredCounter(
        name="week", kind="windowed", actions={"click": 3, "hide": 1}, window_hours=170, window_slots=7
    ),
)
COUNTERS = Counters([counter.build() for counter in (*DEFAULT_COUNTERS, *WINDOWED)])
COLUMNS = COUNTERS.columns(COUNTERS.names)
PINS = 3
HOUR_MS = 3_600_000

# (pin, action, hours since the last one: below zero is late)
Steps = list[tuple[int, int, int]]
steps = st.lists(
    st.tuples(st.integers(0, PINS - 1), st.sampled_from(sorted(ACTIONS.values())), st.integers(-3, 200)),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_counts_at_a_moment_equal_those_of_the_counter_table(taken: Steps) -> None:
    table = CounterTable(COUNTERS, TableLimits(entities_max=100, entities_initial=4))
    entities: list[int] = []
    actions: list[int] = []
    times: list[int] = []
    rows: list[int] = []
    after: list[int] = []
    asked_ms: list[int] = []
    expected: list[np.ndarray[tuple[int], np.dtype[np.float16]]] = []
    now_ms = 1_700_000_000_000
    for pin, action, hours in taken:
        for asked in range(PINS):
            rows.append(asked)
            after.append(len(entities))
            asked_ms.append(now_ms)
            answer, _ = table.counts(np.array([asked + 1], np.uint64), COLUMNS, now_ms=now_ms)
            expected.append(answer[0])
        now_ms += hours * HOUR_MS
        entities.append(pin)
        actions.append(action)
        times.append(now_ms)
        table.add(np.array([pin + 1], np.uint64), np.array([action], np.uint8), np.array([now_ms], np.int64))
    found = counts_at(
        COUNTERS,
        COLUMNS,
        row_count=PINS,
        increments=Increments(
            np.array(entities, np.int64), np.array(actions, np.uint8), np.array(times, np.int64)
        ),
        asks=Asks(np.array(rows, np.int64), np.array(after, np.int64), np.array(asked_ms, np.int64)),
    )
    wanted = np.array(expected, np.float16).reshape(len(rows), len(COLUMNS))
    np.testing.assert_array_equal(found.astype(np.float16), wanted)
