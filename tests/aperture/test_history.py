"""The answers, each against the plainest way to compute it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aperture.history import NOTHING, Settled, Window, count_actions, newest, seen
from services.aperture.rows import NO_ROWS, Rows

Row = tuple[int, int, int]
some_rows = st.lists(st.tuples(st.integers(1, 12), st.integers(100, 130), st.integers(1, 6)), max_size=40)
window = st.tuples(st.integers(95, 132), st.integers(95, 135)).map(lambda ends: Window(min(ends), max(ends)))


def rows(*given_rows: Row) -> Rows:
    if not given_rows:
        return NO_ROWS
    entities, times, types = zip(*given_rows, strict=True)
    return Rows(np.array(entities, np.uint64), np.array(times, np.uint32), np.array(types, np.uint8))


def settled(*given_rows: Row, truncated: bool = False) -> Settled:
    return Settled(rows(*given_rows).by_time(), start_bucket=0, truncated=truncated)


def inside(given_rows: list[Row], of: Window) -> list[Row]:
    return [row for row in given_rows if of.start_s < row[1] <= of.end_s]


@settings(max_examples=200, deadline=None)
@given(some_rows, some_rows, window)
def test_the_seen_set_is_every_entity_with_a_row_in_the_window(
    older: list[Row], newer: list[Row], of: Window
) -> None:
    found = seen(settled(*older), rows(*newer), of, limit=1_000)
    assert sorted(found.ids.tolist()) == sorted({row[0] for row in inside(older + newer, of)})
    assert not found.truncated


@settings(max_examples=100, deadline=None)
@given(some_rows, some_rows, window, st.integers(1, 20), st.lists(st.integers(1, 6), max_size=3))
def test_history_is_the_newest_rows_of_the_asked_actions(
    older: list[Row], newer: list[Row], of: Window, limit: int, types: list[int]
) -> None:
    found = newest(settled(*older), rows(*newer), of, types=np.array(types, np.uint8), limit=limit)
    wanted = [row for row in inside(older + newer, of) if not types or row[2] in types]
    times = sorted((row[1] for row in wanted), reverse=True)[:limit]
    assert found.times.tolist() == times
    assert not set(zip(*(c.tolist() for c in (found.entities, found.times, found.types)), strict=True)) - set(
        wanted
    )


@settings(max_examples=100, deadline=None)
@given(
    some_rows,
    some_rows,
    st.lists(st.integers(1, 14), min_size=1, max_size=8),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.lists(st.integers(95, 130), min_size=1, max_size=4),
)
def test_counts_are_of_shape_entity_action_window_also_when_those_repeat(
    older: list[Row], newer: list[Row], entities: list[int], types: list[int], starts: list[int]
) -> None:
    windows = [Window(start, 128) for start in starts]
    counts = count_actions(
        settled(*older),
        rows(*newer),
        entities=np.array(entities, np.uint64),
        types=np.array(types, np.uint8),
        windows=windows,
    )
    plain = [Counter((row[0], row[2]) for row in inside(older + newer, of)) for of in windows]
    expected = [[[of[entity, kind] for of in plain] for kind in types] for entity in entities]
    assert counts.tolist() == expected


def test_a_count_stops_at_the_largest_uint16() -> None:
    many = Rows(np.full(70_000, 5, np.uint64), np.full(70_000, 110, np.uint32), np.full(70_000, 3, np.uint8))
    counts = count_actions(
        Settled(many, start_bucket=0, truncated=False),
        NO_ROWS,
        entities=np.array([5, 6], np.uint64),
        types=np.array([3], np.uint8),
        windows=[Window(100, 120)],
    )
    assert counts.tolist() == [[[65_535]], [[0]]]


def test_a_cut_seen_set_keeps_the_newest_and_says_so() -> None:
    older = [(entity, 100 + entity, 1) for entity in range(1, 11)]
    found = seen(settled(*older), rows((1, 120, 1), (11, 121, 1)), Window(100, 200), limit=4)
    assert found.ids.tolist() == [11, 1, 10, 9]
    assert found.truncated


def test_rows_that_were_not_read_make_a_seen_set_truncated_when_the_window_reaches_them() -> None:
    cut = settled((1, 110, 1), (2, 120, 1), truncated=True)
    assert seen(cut, NO_ROWS, Window(100, 200), limit=9).truncated
    assert not seen(cut, NO_ROWS, Window(115, 200), limit=9).truncated


def test_a_user_without_rows_has_seen_nothing() -> None:
    assert seen(NOTHING, NO_ROWS, Window(0, 200), limit=9).ids.dtype == np.uint64
    assert seen(NOTHING, NO_ROWS, Window(0, 200), limit=9).ids.size == 0
