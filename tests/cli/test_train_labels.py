"""Which shown pins count as engaged with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.cli.train.labels import GRADES, Deeds, engaged, graded
from services.realpin.declaration import ActionType

WINDOW_MS = 1_000
Deed = tuple[int, int, ActionType, int]
SAVE, CLICK, CLOSEUP, HIDE = ActionType.SAVE, ActionType.CLICK, ActionType.CLOSEUP, ActionType.HIDE


def labels_of(shown: list[tuple[int, int, int]], deeds: list[Deed]) -> list[float]:
    """Labels of (user, pin, time) rows."""
    return _labels(engaged, shown, deeds)


def grades_of(shown: list[tuple[int, int, int]], deeds: list[Deed]) -> list[float]:
    """Grades of (user, pin, time) rows."""
    return _labels(graded, shown, deeds)


def _labels(
    labelled: Callable[..., NDArray[np.float32]], shown: list[tuple[int, int, int]], deeds: list[Deed]
) -> list[float]:
    noted = Deeds()
    for deed in deeds:
        noted.add(*deed)
    users, pins, times = zip(*shown, strict=True)
    found: list[float] = labelled(
        users=np.array(users, np.uint64),
        pins=np.array(pins, np.uint64),
        times_ms=np.array(times, np.int64),
        deeds=noted,
        window_ms=WINDOW_MS,
    ).tolist()
    return found


@pytest.mark.parametrize("action", [SAVE, CLICK, CLOSEUP])
def test_an_engagement_within_the_window_is_a_positive(action: ActionType) -> None:
    assert labels_of([(1, 7, 100)], [(1, 7, action, 100 + WINDOW_MS)]) == [1.0]


@pytest.mark.parametrize(
    "deed",
    [
        pytest.param((1, 7, SAVE, 101 + WINDOW_MS), id="after the window"),
        pytest.param((1, 7, SAVE, 99), id="before it was shown"),
        pytest.param((2, 7, SAVE, 150), id="of another user"),
        pytest.param((1, 8, SAVE, 150), id="of another pin"),
        pytest.param((1, 7, HIDE, 150), id="a hide"),
        pytest.param((1, 7, ActionType.IMPRESSION, 150), id="an impression"),
    ],
)
def test_other_deeds_are_no_positive(deed: Deed) -> None:
    assert labels_of([(1, 7, 100)], [deed]) == [0.0]


def test_a_deed_belongs_to_the_last_time_the_pin_was_shown() -> None:
    assert labels_of([(1, 7, 100), (1, 7, 300)], [(1, 7, SAVE, 310)]) == [0.0, 1.0]


def test_a_hide_outweighs_an_engagement() -> None:
    assert labels_of([(1, 7, 100)], [(1, 7, HIDE, 120), (1, 7, SAVE, 130)]) == [0.0]


def test_a_deed_at_the_moment_of_showing_counts() -> None:
    assert labels_of([(1, 7, 100)], [(1, 7, CLICK, 100)]) == [1.0]


def test_rows_in_any_order_keep_their_labels() -> None:
    shown = [(2, 5, 300), (1, 7, 100), (1, 5, 200)]
    assert labels_of(shown, [(1, 5, SAVE, 210), (2, 5, CLICK, 299)]) == [0.0, 0.0, 1.0]


def test_a_save_says_more_than_a_click_than_a_closeup() -> None:
    shown = [(1, 5, 100), (1, 6, 100), (1, 7, 100), (1, 8, 100)]
    deeds = [(1, 5, CLOSEUP, 110), (1, 6, CLICK, 110), (1, 7, SAVE, 110)]
    assert grades_of(shown, deeds) == [1.0, 2.0, 3.0, 0.0]


def test_the_strongest_of_several_actions_counts() -> None:
    assert grades_of([(1, 7, 100)], [(1, 7, SAVE, 110), (1, 7, CLOSEUP, 120), (1, 7, CLICK, 130)]) == [3.0]


moments = st.integers(0, 30)
shows = st.lists(
    st.tuples(st.integers(1, 2), st.integers(1, 3), moments), min_size=1, max_size=12, unique=True
)
done = st.lists(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.sampled_from([SAVE, CLICK, CLOSEUP, HIDE]), moments),
    max_size=12,
)


@given(shown=shows, deeds=done)
def test_grades_are_those_of_looking_at_each_deed_by_itself(
    shown: list[tuple[int, int, int]], deeds: list[Deed]
) -> None:
    expected, hidden = dict.fromkeys(shown, 0.0), set()
    for user, pin, action, time_ms in deeds:
        before = [row for row in shown if row[:2] == (user, pin) and row[2] <= time_ms]
        if before:
            row = max(before, key=lambda row: row[2])
            expected[row] = max(expected[row], float(GRADES.get(action, 0)))
            hidden |= {row} if action == HIDE else set()
    assert grades_of(shown, deeds) == [0.0 if row in hidden else expected[row] for row in shown]
