"""Which of the two logs a training is from, and what it says of that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.cli.train.feature_rows import FeatureRows
from services.cli.train.pipeline import ROWS_ENOUGH, chosen_origin
from services.cli.train.times import span
from tests.cli.feature_logs import T0, page

DAY_MS = 86_400_000


def found(count: int, *, days: float = 10, other: int = 0) -> FeatureRows:
    rows = page(list(range(1, count + 1)))
    times = np.linspace(T0, T0 + days * DAY_MS, count).astype(np.int64)
    return FeatureRows(replace(rows, served_ms=times), other, ())


def test_enough_rows_are_trained_on() -> None:
    choice = chosen_origin(None, found(ROWS_ENOUGH), holdout_days=3)
    assert choice.origin == "features"
    assert f"{ROWS_ENOUGH:,} rows" in choice.reason


def test_few_rows_leave_it_to_the_event_log() -> None:
    choice = chosen_origin(None, found(20, other=7), holdout_days=3)
    assert choice.origin == "log"
    assert "20 rows" in choice.reason
    assert "7 of other features" in choice.reason


def test_rows_of_few_days_leave_it_to_the_event_log() -> None:
    choice = chosen_origin(None, found(ROWS_ENOUGH, days=5), holdout_days=3)
    assert choice.origin == "log"
    assert "5.0 days" in choice.reason


def test_no_rows_at_all_leave_it_to_the_event_log() -> None:
    assert chosen_origin(None, FeatureRows(None, 0, ()), holdout_days=3).origin == "log"


@pytest.mark.parametrize("asked", ["features", "log"])
def test_what_is_asked_for_is_taken(asked: str) -> None:
    assert chosen_origin(asked, found(20), holdout_days=3).origin == asked  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("length_ms", "text"),
    [
        (7_000, "7 seconds"),
        (119_000, "119 seconds"),
        (150_000, "2.5 minutes"),
        (36 * 3_600_000, "36.0 hours"),
        (3 * DAY_MS, "3.0 days"),
    ],
)
def test_spans_are_told_in_a_unit_that_fits(length_ms: int, text: str) -> None:
    assert span(length_ms) == text
