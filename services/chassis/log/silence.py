"""For how long a follower has not heard from its log, over the tails that it opens one after another.

Views go on serving when the log is away; what is measured here lets their answers say so. A new tail knows
nothing of the log yet, so what its predecessor heard counts until it does. The follower's thread tells, any
thread asks, without a lock. A log that is heard and a view that is behind it is not silence, it is lag.
"""

from __future__ import annotations

import math

from services.chassis.clock import Clock
from services.chassis.log.log import Tail


class Silence:
    """Counts from when it was made until the log is first heard of."""

    def __init__(self, clock: Clock, *, stale_after_ms: int) -> None:
        self._clock = clock
        self._stale_after_s = stale_after_ms / 1000
        self._tail: Tail | None = None
        self._heard = clock.monotonic()
        self._fresh_until = -math.inf

    @property
    def seconds(self) -> float:
        """Since the log was last known to be heard; of its partitions, the one heard of least recently."""
        silent_s = self._clock.monotonic() - self._heard
        tail = self._tail
        return max(0.0, silent_s if tail is None else min(silent_s, tail.silent_s))

    def stale_ms(self) -> int:
        """0 while the silence is shorter than `stale_after_ms`, else its length.

        For every call: `seconds` is asked for again only when the answer could have changed, because silence
        grows no faster than time. Two threads at once compute the same twice, no more.
        """
        now = self._clock.monotonic()
        if now < self._fresh_until:
            return 0
        silent_s = self.seconds
        if silent_s < self._stale_after_s:
            self._fresh_until = now + self._stale_after_s - silent_s
            return 0
        return round(silent_s * 1000)

    def broken(self) -> None:
        """The log was heard of just now, by other means than a tail; also the begin of the count."""
        self._heard = self._clock.monotonic()

    def listen(self, tail: Tail) -> None:
        """From now on `tail` knows."""
        self._tail = tail

    def listen_no_more(self) -> None:
        """The tail is given up: keep what it knew."""
        tail = self._tail
        if tail is not None:
            self._heard = max(self._heard, self._clock.monotonic() - tail.silent_s)
            self._tail = None

    def end(self) -> None:
        """There is nothing to hear: no silence from now on."""
        self.listen_no_more()
        self._heard = math.inf
