"""What a router remembers of its hosts: who answered UNAVAILABLE a moment ago, who keeps timing out.

Not the truth, a hint for the next plan: an unhealthy host is asked last, never not at all, and is asked
normally again after `unhealthy_ms`. A machine that has died shows as timeouts first (its connection has
not noticed yet), so several in a row count as well.
"""

from __future__ import annotations

import threading

from services.chassis.clock import Clock
from services.chassis.errors import (
    Draining,
    FeedmeshError,
    NotReady,
    ShardLost,
    StaleReplica,
    TooLate,
    Unavailable,
    WrongShard,
)
from services.chassis.process import ChannelConfig
from services.chassis.shards.lost import LOST, WHOLE_HOST


class HostHealth:
    """Safe from any thread. `unhealthy` is a set that is replaced, so readers need no lock."""

    def __init__(self, config: ChannelConfig, clock: Clock) -> None:
        self._unhealthy_s = config.unhealthy_ms / 1000
        self._timeouts_max = config.timeouts_in_a_row_max
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        self._timeouts: dict[str, int] = {}
        self._unhealthy: frozenset[str] = frozenset()
        self._next_return = float("inf")

    def unhealthy(self) -> frozenset[str]:
        """The addresses to ask last."""
        if self._clock.monotonic() >= self._next_return:
            with self._lock:
                self._refresh()
        return self._unhealthy

    def answered(self, address: str) -> None:
        """The host answered: with a response, or with an error of the request's own."""
        if address in self._until or address in self._timeouts:
            with self._lock:
                self._until.pop(address, None)
                self._timeouts.pop(address, None)
                self._refresh()

    def failed(self, address: str, error: FeedmeshError) -> None:
        """The host failed with `error`; errors that do not speak of the host's health count as answers."""
        if _of_some_rows(error):
            return
        if isinstance(error, TooLate):
            with self._lock:
                self._timeouts[address] = self._timeouts.get(address, 0) + 1
                if self._timeouts[address] >= self._timeouts_max:
                    self._ask_last(address)
        elif isinstance(error, Unavailable):
            with self._lock:
                self._ask_last(address)
        else:
            self.answered(address)

    def _ask_last(self, address: str) -> None:
        self._until[address] = self._clock.monotonic() + self._unhealthy_s
        self._refresh()

    def _refresh(self) -> None:
        now = self._clock.monotonic()
        for address in [address for address, until in self._until.items() if until <= now]:
            del self._until[address]
        self._next_return = min(self._until.values(), default=float("inf"))
        if self._until.keys() != self._unhealthy:
            self._unhealthy = frozenset(self._until)


def _of_some_rows(error: FeedmeshError) -> bool:
    """Whether the host refused what the call wanted, and would answer others."""
    if isinstance(error, ShardLost):
        return error.facts.get(LOST) != WHOLE_HOST
    return isinstance(error, StaleReplica)


def another_may_answer(error: FeedmeshError, *, idempotent: bool) -> bool:
    """Whether the next replica is worth asking: this one is down, behind, or (by an old map) not the owner.

    Not when it is full (asking more replicas spreads an overload) nor when time is up. A call that is not
    idempotent goes on only after a refusal at the door: a broken connection may hide that it was executed.
    """
    if not idempotent:
        return isinstance(error, (Draining, NotReady, ShardLost, WrongShard))
    return isinstance(error, (Unavailable, WrongShard))
