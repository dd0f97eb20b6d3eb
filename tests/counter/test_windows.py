"""Claims about windowed counters: which events an answer has, at the borders of slots, late, ahead, full."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.counter.counters import ACTIONS, CounterKind, Counters, CounterSpec
from services.counter.table import CounterTable, Rows, TableLimits

SAVE, HIDE, CLICK = ACTIONS["save"], ACTIONS["hide"], ACTIONS["click"]
SLOT_MS = 10
SLOTS = 4
WINDOW_MS = SLOT_MS * SLOTS


def spec(slots: int, slot_ms: int, *, save: int = 1) -> CounterSpec:
    return CounterSpec(
        f"{slots}x{slot_ms}",
        CounterKind.WINDOWED,
        {"save": save, "hide": 2},
        window_ms=slots * slot_ms,
        window_slots=slots,
    )


def table_of(*specs: CounterSpec) -> CounterTable:
    # Clicks move a row's newest event without counting in the windows.
    clicks = CounterSpec("clicks", CounterKind.TOTAL, {"click": 1})
    return CounterTable(Counters([clicks, *specs]), TableLimits(entities_max=100, entities_initial=1))


def add(table: CounterTable, *events: tuple[int, int], action: int = SAVE) -> Rows:
    """(entity, time) each."""
    entities, times_ms = zip(*events, strict=True)
    count = len(events)
    rows, _ = table.add(
        np.array(entities, np.uint64), np.full(count, action, np.uint8), np.array(times_ms, np.int64)
    )
    return rows


def read(table: CounterTable, entity: int, now_ms: int, *, windowed: int = 0) -> float:
    column = np.array([1 + windowed], np.int32)
    asked = np.array([entity], np.uint64)
    asked.flags.writeable = False
    value = float(table.counts(asked, column, now_ms=now_ms)[0][0, 0])
    entities, values = table.column(1 + windowed, now_ms=now_ms)
    assert values[entities == asked].tolist() == [value], "GetTop's scan says the same"
    return value


def test_an_event_counts_until_its_slot_leaves_the_window() -> None:
    table = table_of(spec(SLOTS, SLOT_MS))
    add(table, (7, 1_005))
    assert [read(table, 7, at) for at in (1_005, 1_009, 1_010, 1_039, 1_040, 10**15)] == [1, 1, 1, 1, 0, 0]


def test_an_event_on_a_border_belongs_to_the_slot_that_begins() -> None:
    table = table_of(spec(SLOTS, SLOT_MS))
    add(table, (7, 1_000), (8, 999))
    assert [read(table, 7, at) for at in (1_039, 1_040)] == [1, 0]
    assert [read(table, 8, at) for at in (1_029, 1_030)] == [1, 0]


def test_the_answer_has_between_the_window_less_a_slot_and_the_window() -> None:
    table = table_of(spec(SLOTS, SLOT_MS))
    add(table, *((7, time_ms) for time_ms in range(1_000, 1_200)))
    covered = [read(table, 7, at) for at in range(1_199, 1_210)]
    assert covered == [WINDOW_MS] + [WINDOW_MS - SLOT_MS] * 10
    assert read(table, 7, 1_210) == WINDOW_MS - 2 * SLOT_MS


def test_a_late_event_goes_to_its_own_slot_and_one_older_than_the_window_nowhere() -> None:
    table = table_of(spec(SLOTS, SLOT_MS))
    add(table, (7, 1_035), (7, 1_005), (7, 999))
    assert [read(table, 7, at) for at in (1_035, 1_039, 1_040, 1_069, 1_070)] == [2, 2, 1, 1, 0]


def test_an_event_ahead_counts_at_once_and_takes_the_place_of_the_oldest_slot() -> None:
    table = table_of(spec(SLOTS, SLOT_MS))
    add(table, (7, 1_005), (7, 1_015), (7, 1_025))
    add(table, (7, 1_040))
    assert read(table, 7, 1_039) == 3
    assert read(table, 7, 1_040) == 3
    assert [read(table, 7, at) for at in (1_050, 1_079, 1_080)] == [2, 1, 0]


def test_an_action_that_does_not_count_moves_the_window_on() -> None:
    table = table_of(spec(SLOTS, SLOT_MS))
    add(table, (7, 1_005))
    add(table, (7, 1_045), action=CLICK)
    assert read(table, 7, 1_045) == 0
    add(table, (7, 1_009))
    assert read(table, 7, 1_045) == 0, "its slot has gone"
    add(table, (7, 1_010))
    assert read(table, 7, 1_045) == 1


def test_one_slot_counts_since_its_border() -> None:
    table = table_of(spec(1, 100))
    add(table, (7, 1_099), (7, 1_100), (7, 1_150))
    assert [read(table, 7, at) for at in (1_150, 1_199, 1_200)] == [2, 2, 0]


def test_a_slot_stops_at_its_greatest_instead_of_starting_again() -> None:
    table = table_of(spec(SLOTS, SLOT_MS, save=1_000))
    rows = add(table, *((7, 1_005) for _ in range(70)))
    assert rows.cells.tolist() == [[65_535 if cell == 100 % SLOTS else 0 for cell in range(SLOTS)]]
    assert table.column(1, now_ms=1_005)[1].tolist() == [65_535]
    add(table, (7, 1_015))
    assert table.column(1, now_ms=1_015)[1].tolist() == [66_535], "as float32"


EVENTS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([SAVE, HIDE, CLICK]), st.integers(0, 400)),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=150)
@given(
    events=EVENTS,
    shapes=st.lists(st.tuples(st.integers(1, 32), st.integers(1, 60)), min_size=1, max_size=3, unique=True),
    ahead=st.integers(0, 500),
)
def test_windows_are_the_sums_of_a_list(
    events: list[tuple[int, int, int]], shapes: list[tuple[int, int]], ahead: int
) -> None:
    """In any order of time, with several windows in a row, now or later: against a list of all events."""
    table = table_of(*(spec(*shape) for shape in shapes))
    entities, actions, times_ms = zip(*events, strict=True)
    table.add(np.array(entities, np.uint64), np.array(actions, np.uint8), np.array(times_ms, np.int64))
    for entity in set(entities):
        own = [(action, time_ms) for one, action, time_ms in events if one == entity]
        now_ms = max(time_ms for _, time_ms in own) + ahead
        for windowed, (slots, slot_ms) in enumerate(shapes):
            oldest = now_ms // slot_ms - slots + 1
            weights = {SAVE: 1, HIDE: 2, CLICK: 0}
            expected = sum(weights[action] for action, time_ms in own if time_ms // slot_ms >= oldest)
            assert read(table, entity, now_ms, windowed=windowed) == expected


@pytest.mark.parametrize("now_ms", [1_005, 1_012, 1_025])
def test_for_a_time_in_the_past_later_events_count_as_if_they_were_of_then(now_ms: int) -> None:
    table = table_of(spec(SLOTS, SLOT_MS))
    add(table, (7, 1_005), (7, 1_025))
    assert read(table, 7, now_ms) == 2
