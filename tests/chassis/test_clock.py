"""The fake clock behaves as the real one, but stands still."""

from __future__ import annotations

import pytest

from services.chassis.clock import FakeClock, SystemClock


def test_fake_clock_moves_both_times_and_only_when_told() -> None:
    clock = FakeClock(now_ms=1_000)
    before = clock.monotonic()
    clock.advance_ms(250)
    assert (clock.now_ms(), clock.monotonic() - before) == (1_250, 0.25)


def test_fake_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        FakeClock().advance_ms(-1)


def test_system_clock_counts_milliseconds_since_1970() -> None:
    assert 1_700_000_000_000 < SystemClock().now_ms() < 10_000_000_000_000
