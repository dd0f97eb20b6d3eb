"""The publisher of impressions: pages travel together, count once, and are known until acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry

from feedmesh.log.v1 import event_pb2
from services.chassis.errors import BadRequest, Unavailable
from services.feedgen.config import ImpressionsConfig
from services.feedgen.impressions import WAITING_PINS_MAX, ImpressionPublisher
from services.feedgen.metrics import FeedgenMetrics

USER = 7
LONG_MS = 5_000
"""Longer than any test: what is published before was in a hurry."""


class Log:
    """Takes Publish calls; the first ones end as `faults` say, and none ends before `open` is set."""

    def __init__(self) -> None:
        self.calls: list[list[event_pb2.Event]] = []
        self.faults: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()

    async def publish(self, events: Sequence[event_pb2.Event], timeout_s: float) -> bytes:
        self.calls.append(list(events))
        await self.open.wait()
        if self.faults:
            raise self.faults.pop(0)
        return b"token"


def run(test: Callable[[ImpressionPublisher, Log], Awaitable[None]], **config: int) -> None:
    async def main() -> None:
        log = Log()
        settings = ImpressionsConfig(retry_ms_max=1, **config)
        publisher = ImpressionPublisher(log.publish, settings, FeedgenMetrics(CollectorRegistry()))
        publisher.start()
        await asyncio.wait_for(test(publisher, log), 10)
        log.open.set()
        await publisher.stop()

    asyncio.run(main())


def add(publisher: ImpressionPublisher, *pins: int, user: int = USER) -> None:
    publisher.add(user=user, pins=pins, boards=[9] * len(pins), time_ms=1_000)


async def until(met: Callable[[], bool]) -> None:
    while not met():
        await asyncio.sleep(0.001)


def test_pages_that_come_together_are_one_publish() -> None:
    async def test(publisher: ImpressionPublisher, log: Log) -> None:
        for pin in (1, 2, 3):
            add(publisher, pin)
            await asyncio.sleep(0)
        await until(lambda: bool(log.calls))
        assert [event.impressions.pins[0] for event in log.calls[0]] == [1, 2, 3]
        assert len({event.id for event in log.calls[0]}) == 3

    run(test, gather_ms=20)


def test_a_full_batch_does_not_wait_for_company() -> None:
    async def test(publisher: ImpressionPublisher, log: Log) -> None:
        for pin in (1, 2):
            add(publisher, pin)
        await until(lambda: bool(log.calls))
        assert len(log.calls[0]) == 2

    run(test, gather_ms=LONG_MS, batch_max=2)


def test_stopping_publishes_what_waits_for_company() -> None:
    async def test(publisher: ImpressionPublisher, log: Log) -> None:
        add(publisher, 1)
        await asyncio.sleep(0)
        await publisher.stop()
        assert [len(call) for call in log.calls] == [1]

    run(test, gather_ms=LONG_MS)


def test_a_page_waits_until_it_is_acknowledged() -> None:
    async def test(publisher: ImpressionPublisher, log: Log) -> None:
        log.open.clear()
        log.faults = [Unavailable("the log is away")]
        add(publisher, 1, 2)
        add(publisher, 3)
        add(publisher, 4, user=USER + 1)
        assert publisher.waiting(USER) == [1, 2, 3]
        await until(lambda: bool(log.calls))
        assert publisher.waiting(USER) == [1, 2, 3]
        log.open.set()
        await until(lambda: len(log.calls) == 2)
        assert log.calls[0] == log.calls[1]
        await until(lambda: not publisher.waiting(USER))
        assert publisher.waiting(USER + 1) == []

    run(test, gather_ms=0)


def test_a_page_that_is_refused_for_good_waits_no_longer() -> None:
    async def test(publisher: ImpressionPublisher, log: Log) -> None:
        log.faults = [BadRequest("no")]
        add(publisher, 1)
        await until(lambda: bool(log.calls) and not publisher.waiting(USER))

    run(test, gather_ms=0)


def test_what_waits_of_a_user_is_bounded_to_the_latest() -> None:
    async def test(publisher: ImpressionPublisher, log: Log) -> None:
        log.open.clear()
        pins = range(1, WAITING_PINS_MAX + 11)
        for pin in pins:
            add(publisher, pin)
        assert publisher.waiting(USER) == list(pins)[-WAITING_PINS_MAX:]

    run(test, gather_ms=0)
