"""Time as an argument: who needs the clock is handed one, so tests decide what time it is.

`now_ms` is the wall clock (milliseconds since 1970, may jump); `monotonic` is for measuring and waiting.
The domain takes `now_ms` as a plain integer and never imports this file.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What every component that needs the time is given."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never backwards."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never backwards."""
        return time.monotonic()


class FakeClock:
    """A clock that stands still until a test moves it. Not for use across threads without a lock."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970, as the test has set them."""
        return self._now_ms

    def monotonic(self) -> float:
        """Seconds since this clock was made, as the test has advanced it."""
        return self._monotonic_ms / 1000

    def advance_ms(self, ms: int) -> None:
        """Move both clocks forward by `ms`."""
        if ms < 0:
            raise ValueError(f"a clock does not go back: advance_ms({ms})")
        self._now_ms += ms
        self._monotonic_ms += ms
