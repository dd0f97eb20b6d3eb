"""`router.py` for asyncio, and hedging: the orchestrator's fan-out.

A hedge asks a second replica when the first has not answered after `hedge_ms`, takes the first answer and
cancels the other. It is here and not in gRPC's service config, because the C core ignores hedgingPolicy.
Only idempotent methods are hedged, and only where one other host serves all of the rows.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import FeedmeshError
from services.chassis.rpc.aio_channel import AioChannels
from services.chassis.rpc.channel import too_late
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


class AioRouter:
    """Calls the hosts of a segment from one event loop; a cancelled call is cancelled on the servers."""

    def __init__(
        self, channels: AioChannels, choices: Choices, metrics: RouterMetrics, *, hedge_ms: int = 0
    ) -> None:
        self._channels = channels
        self._choices = choices
        self._metrics = metrics
        self._hedge_s = hedge_ms / 1000

    async def call(
        self,
        segment: str,
        ids: NDArray[np.uint64],
        method: Method[Request, Response],
        make_request: MakeRequest[Request],
        timeout_s: float | None = None,
        *,
        hedge_ms: int | None = None,
    ) -> list[HostAnswer[Response]]:
        """Ask the hosts of `ids`; each row is in exactly one answer. `hedge_ms` replaces the configured one.

        Raises ConfigFaults when the map has no such segment; failures are in the answers.
        """
        found = self._choices.segment(segment)
        shards = self._choices.shards_of(found, ids)
        return await self._run(found, shards, method, make_request, timeout_s=timeout_s, hedge_ms=hedge_ms)

    async def call_one(
        self,
        segment: str,
        id: int,
        method: Method[Request, Response],
        request: Request,
        timeout_s: float | None = None,
        *,
        hedge_ms: int | None = None,
    ) -> Response:
        """Ask the host of one id. Raises the error of the last replica tried."""
        found = self._choices.segment(segment)
        (answer,) = await self._run(
            found,
            self._choices.shard_of(found, id),
            method,
            lambda _: request,
            timeout_s=timeout_s,
            hedge_ms=hedge_ms,
        )
        response: Response = answer.get()
        return response

    async def call_all(
        self,
        segment: str,
        method: Method[Request, Response],
        make_request: MakeRequest[Request],
        timeout_s: float | None = None,
        *,
        hedge_ms: int | None = None,
    ) -> list[HostAnswer[Response]]:
        """Ask for every shard once; `rows` are shard numbers."""
        found = self._choices.segment(segment)
        shards = np.arange(found.num_shards, dtype=np.uint32)
        return await self._run(found, shards, method, make_request, timeout_s=timeout_s, hedge_ms=hedge_ms)

    async def _run(
        self,
        segment: Segment,
        shards: NDArray[np.uint32],
        method: Method[Any, Any],
        make_request: MakeRequest[Any],
        *,
        timeout_s: float | None,
        hedge_ms: int | None,
    ) -> list[HostAnswer[Any]]:
        calls = _Calls(
            self._channels,
            self._choices,
            self._metrics,
            segment,
            shards,
            method,
            make_request,
            deadline=self._choices.deadline(timeout_s),
            hedge_s=self._hedge_s if hedge_ms is None else hedge_ms / 1000,
        )
        return await calls.ask_each(self._choices.first(segment, shards), frozenset())


@dataclass(slots=True)
class _Calls:
    """One routed call."""

    channels: AioChannels
    choices: Choices
    metrics: RouterMetrics
    segment: Segment
    shards: NDArray[np.uint32]
    method: Method[Any, Any]
    make_request: MakeRequest[Any]
    deadline: float
    hedge_s: float

    async def ask_each(self, calls: list[HostRows], tried: frozenset[str]) -> list[HostAnswer[Any]]:
        if len(calls) == 1:
            return await self._ask(calls[0], tried)
        # A group: when one part raises (a make_request at fault), the others are cancelled.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(call, tried)) for call in calls]
        return [answer for task in tasks for answer in task.result()]

    async def _ask(self, call: HostRows, tried: frozenset[str]) -> list[HostAnswer[Any]]:
        asked = tried | {call.host.address}
        try:
            return [await self._hedged(call, asked)]
        except FeedmeshError as error:
            away, again = parted(error, call, self.shards)
            if again is None:
                return await self._fail_over(away, asked, error)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._ask(again, tried)),
                    group.create_task(self._fail_over(away, asked, error)),
                ]
            return [answer for task in tasks for answer in task.result()]

    async def _fail_over(
        self, call: HostRows, tried: frozenset[str], error: FeedmeshError
    ) -> list[HostAnswer[Any]]:
        answers: list[HostAnswer[Any]] = []
        left = call.rows
        if self.choices.again(error, self.segment, tried, idempotent=self.method.idempotent):
            calls, left = self.choices.next(self.segment, self.shards, left, tried)
            self.metrics.failovers.labels(self.segment.name).inc(len(calls))
            if calls:
                answers = await self.ask_each(calls, tried)
        if left.size:
            answers.append(HostAnswer(call.host, left, None, error))
        return answers

    async def _hedged(self, call: HostRows, tried: frozenset[str]) -> HostAnswer[Any]:
        second = self._second(call, tried)
        if second is None:
            return await self._send(call, tried)
        first = asyncio.create_task(self._send(call, tried))
        tasks = {first}
        try:
            done, _ = await asyncio.wait(tasks, timeout=self.hedge_s)
            if not done:
                tasks.add(asyncio.create_task(self._send(second, tried | {second.host.address})))
            winner = await _first_success(tasks)
            if len(tasks) > 1:
                name = "first" if winner is first else "second"
                self.metrics.hedges.labels(self.segment.name, name).inc()
            # Raises the first call's error when both failed: failover then knows which host it was.
            answer: HostAnswer[Any] = winner.result()
            return answer
        finally:
            for task in tasks:
                task.cancel()

    def _second(self, call: HostRows, tried: frozenset[str]) -> HostRows | None:
        if not (self.hedge_s > 0 and self.method.idempotent and self.segment.replicated):
            return None
        calls, left = self.choices.next(self.segment, self.shards, call.rows, tried)
        return calls[0] if len(calls) == 1 and not left.size else None

    async def _send(self, call: HostRows, tried: frozenset[str]) -> HostAnswer[Any]:
        address = call.host.address
        retry = self.choices.retry_in_channel(self.segment, tried, idempotent=self.method.idempotent)
        request = self.make_request(call.rows)
        timeout_s = self.deadline - time.monotonic()
        if timeout_s <= 0:
            raise too_late(address, self.method.path)
        try:
            response = await self.channels.call(
                address, self.method, request, timeout_s=timeout_s, retry=retry
            )
        except FeedmeshError as error:
            self.choices.health.failed(address, error)
            raise
        self.choices.health.answered(address)
        return HostAnswer(call.host, call.rows, response, None)


async def _first_success(tasks: set[asyncio.Task[Any]]) -> asyncio.Task[Any]:
    """The first task that ends well; one of the failed ones when none does."""
    running = set(tasks)
    failed: list[asyncio.Task[Any]] = []
    while running:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None:
                return task
            failed.append(task)
    return failed[0]
