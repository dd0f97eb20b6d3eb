"""Which shown pins count as engaged with."""

from __future__ import annotations

import numpy as np
import pytest

from services.cli.train.labels import Deeds, engaged
from services.realpin.declaration import ActionType

WINDOW_MS = 1_000
Deed = tuple[int, int, ActionType, int]
SAVE, CLICK, CLOSEUP, HIDE = ActionType.SAVE, ActionType.CLICK, ActionType.CLOSEUP, ActionType.HIDE


def labels_of(shown: list[tuple[int, int, int]], deeds: list[Deed]) -> list[float]:
    """Labels of (user, pin, time) rows."""
    noted = Deeds()
    for deed in deeds:
        noted.add(*deed)
    users, pins, times = zip(*shown, strict=True)
    found: list[float] = engaged(
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
