"""One call per host for many shards, in parallel, from a thread; failover within the same deadline.

`call` (many ids), `call_one` (one id, raises), `call_all` (every shard). Answers are partial by design: a
host that failed on its last replica is one `HostAnswer` with the error, beside the others' responses. The
asyncio twin, with hedging, is `aio.py`; what both share is `routing.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import FeedmeshError, TooLate
from services.chassis.rpc.channel import Channels, Pending, too_late
from services.chassis.rpc.method import Method
from services.chassis.shards.map import Segment
from services.chassis.shards.plan import HostRows
from services.chassis.shards.routing import (
    Choices,
    HostAnswer,
    MakeRequest,
    Request,
    Response,
    RouterMetrics,
    parted,
)


class Router:
    """Calls the hosts of a segment. Safe from any thread; blocks until the last answer or the deadline."""

    def __init__(self, channels: Channels, choices: Choices, metrics: RouterMetrics) -> None:
        self._channels = channels
        self._choices = choices
        self._metrics = metrics

    def call(
        self,
        segment: str,
        ids: NDArray[np.uint64],
        method: Method[Request, Response],
        make_request: MakeRequest[Request],
        timeout_s: float | None = None,
    ) -> list[HostAnswer[Response]]:
        """Ask the hosts of `ids`; each row is in exactly one answer. No ids, no calls.

        `make_request(rows)` makes the request for `ids[rows]`; after a failover it is called again, with
        fewer rows. Raises ConfigFaults when the map has no such segment; failures are in the answers.
        """
        found = self._choices.segment(segment)
        shards = self._choices.shards_of(found, ids)
        return _Calls(self, found, shards, method, make_request, timeout_s=timeout_s).run()

    def call_one(
        self,
        segment: str,
        id: int,
        method: Method[Request, Response],
        request: Request,
        timeout_s: float | None = None,
    ) -> Response:
        """Ask the host of one id. Raises the error of the last replica tried."""
        ids = np.array([id], np.uint64)
        (answer,) = self.call(segment, ids, method, lambda _: request, timeout_s)
        return answer.get()

    def call_all(
        self,
        segment: str,
        method: Method[Request, Response],
        make_request: MakeRequest[Request],
        timeout_s: float | None = None,
    ) -> list[HostAnswer[Response]]:
        """Ask for every shard once; `rows` are shard numbers."""
        found = self._choices.segment(segment)
        shards = np.arange(found.num_shards, dtype=np.uint32)
        return _Calls(self, found, shards, method, make_request, timeout_s=timeout_s).run()


@dataclass(frozen=True, slots=True)
class _Flight:
    """One call on its way, and the addresses that its rows were sent to, this one included."""

    call: HostRows
    tried: frozenset[str]
    outcome: Callable[[], Any]
    """The response; raises FeedmeshError."""


class _Calls:
    """One routed call: flights go out, landings are taken in order of arrival, failures fly again."""

    def __init__(
        self,
        router: Router,
        segment: Segment,
        shards: NDArray[np.uint32],
        method: Method[Any, Any],
        make_request: MakeRequest[Any],
        *,
        timeout_s: float | None,
    ) -> None:
        self._channels = router._channels
        self._choices = router._choices
        self._metrics = router._metrics
        self._segment = segment
        self._shards = shards
        self._method = method
        self._make_request = make_request
        self._deadline = self._choices.deadline(timeout_s)
        self._landed: SimpleQueue[_Flight] = SimpleQueue()
        self._flying = 0
        self._answers: list[HostAnswer[Any]] = []

    def run(self) -> list[HostAnswer[Any]]:
        self._send(self._choices.first(self._segment, self._shards), frozenset())
        while self._flying:
            flight = self._landed.get()
            self._flying -= 1
            self._take(flight)
        return self._answers

    def _send(self, calls: list[HostRows], tried: frozenset[str]) -> None:
        alone = len(calls) == 1 and not self._flying
        # All requests before the first call: a make_request that raises must not leave calls behind.
        for call, request in [(call, self._make_request(call.rows)) for call in calls]:
            self._fly(call, request, tried | {call.host.address}, alone=alone)

    def _fly(self, call: HostRows, request: Any, tried: frozenset[str], *, alone: bool) -> None:
        address = call.host.address
        timeout_s = self._deadline - time.monotonic()
        if timeout_s <= 0:
            self._answers.append(HostAnswer(call.host, call.rows, None, too_late(address, self._method.path)))
            return
        retry = self._choices.retry_in_channel(self._segment, tried, idempotent=self._method.idempotent)
        send = partial(
            self._channels.call if alone else self._channels.start,
            address,
            self._method,
            request,
            timeout_s=timeout_s,
            retry=retry,
        )
        self._flying += 1
        if alone:
            # Nothing to be parallel with: the call is made, and waited for, when it is taken.
            self._landed.put(_Flight(call, tried, send))
        else:
            self._launch(call, tried, send)

    def _launch(self, call: HostRows, tried: frozenset[str], send: Callable[[], Any]) -> None:
        try:
            pending: Pending[Any] = send()
        except TooLate as error:
            self._flying -= 1
            self._answers.append(HostAnswer(call.host, call.rows, None, error))
            return
        flight = _Flight(call, tried, pending.result)
        pending.on_done(lambda: self._landed.put(flight))

    def _take(self, flight: _Flight) -> None:
        host, rows = flight.call
        try:
            response = flight.outcome()
        except FeedmeshError as error:
            self._choices.health.failed(host.address, error)
            self._fail_over(flight, error)
        else:
            self._choices.health.answered(host.address)
            self._answers.append(HostAnswer(host, rows, response, None))

    def _fail_over(self, flight: _Flight, error: FeedmeshError) -> None:
        away, again = parted(error, flight.call, self._shards)
        if again is not None:
            self._send([again], flight.tried)
        left = away.rows
        if self._choices.again(error, self._segment, flight.tried, idempotent=self._method.idempotent):
            calls, left = self._choices.next(self._segment, self._shards, left, flight.tried)
            self._metrics.failovers.labels(self._segment.name).inc(len(calls))
            self._send(calls, flight.tried)
        if left.size:
            self._answers.append(HostAnswer(flight.call.host, left, None, error))
