"""The feature log's side of a page: the draw, the queue, and what is counted when nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.chassis.errors import Unavailable
from services.feedgen.answers import Explained, LoggedCounts, Objects, ServedPage
from services.feedgen.candidates import popular
from services.feedgen.cursor import Cursor
from services.feedgen.metrics import FeedgenMetrics
from services.feedgen.page import Ask, Page, Ranking, Source
from services.feedgen.served_log import ServedLog
from tests.feedgen.recipes import recipe

ASK = Ask(
    user=7,
    recipe=recipe("following"),
    page_size=3,
    cursor=Cursor(user=7, feed="following", session_ms=1),
    client_seen=np.empty(0, np.uint64),
    ranking=Ranking.MODEL,
    model="",
    display=frozenset(),
    log_id=99,
)


def page_of(scored: list[bool]) -> Page:
    count = len(scored)
    return Page(
        items=popular(np.arange(10, 10 + count, dtype=np.uint64), np.ones(count, np.float32)),
        scores=np.ones(count, np.float32),
        scored=np.array(scored, np.bool_),
        places=range(count),
        inserted=(),
        source=Source.RECIPE,
        sources=(),
        model="fake",
        objects=Objects({}),
        explained=Explained(),
        more=False,
    )


class Scorpion:
    """Keeps what it is told; can be away, at fault, or so slow that the test ends first."""

    def __init__(self) -> None:
        self.told: list[ServedPage] = []
        self.fault: Exception | None = None
        self.slow = False

    async def log_served(self, page: ServedPage, *, timeout_s: float) -> LoggedCounts:
        self.told.append(page)
        if self.slow:
            await asyncio.sleep(60)
        if self.fault is not None:
            raise self.fault
        return LoggedCounts(logged=len(page.pins) - 1, absent=1, failed=0)


class Bench:
    """A served log that runs while a test does, and its metrics."""

    def __init__(self, *, share: float = 1.0, queue_max: int = 2) -> None:
        self.scorpion = Scorpion()
        self.registry = CollectorRegistry()
        self.log = ServedLog(
            self.scorpion.log_served,
            share=share,
            queue_max=queue_max,
            timeout_s=1,
            metrics=FeedgenMetrics(self.registry),
        )

    def rows(self, outcome: str) -> float:
        name = "feedmesh_feedgen_feature_log_rows_total"
        return self.registry.get_sample_value(name, {"outcome": outcome}) or 0

    def add(self, scored: list[bool]) -> None:
        self.log.add(ASK, page_of(scored), request_id="abc", served_ms=5)

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            self.log.start()
            await test()
            await self.log.stop()

        asyncio.run(run())

    async def settle(self) -> None:
        """Let the task do what it can do without waiting."""
        for _ in range(10):
            await asyncio.sleep(0)


def test_what_the_model_scored_is_told_with_its_places() -> None:
    bench = Bench()

    async def test() -> None:
        bench.add([True, False, True])
        await bench.settle()

    bench.run(test)
    (told,) = bench.scorpion.told
    assert told.pins.tolist() == [10, 12]
    assert told.positions.tolist() == [0, 2]
    assert told.positions.dtype == np.uint16
    assert (told.log_id, told.user, told.request_id, told.served_ms) == (99, 7, "abc", 5)
    assert (bench.rows("logged"), bench.rows("absent")) == (1, 1)


def test_recipe_arms_and_places_between_insertions_are_told() -> None:
    bench = Bench()
    ask = replace(ASK, recipe=recipe("home"), arms=[("gaps", "wide"), ("walks", "paper")])
    page = replace(page_of([True, True, True]), places=[0, 2, 3])

    async def test() -> None:
        bench.log.add(ask, page, request_id="abc", served_ms=5)
        await bench.settle()

    bench.run(test)
    (told,) = bench.scorpion.told
    assert (told.feed, list(told.arms)) == ("home", ["gaps=wide", "walks=paper"])
    assert told.positions.tolist() == [0, 2, 3]


def test_page_without_the_models_scores_is_not_told() -> None:
    bench = Bench()

    async def test() -> None:
        bench.add([False, False])
        await bench.settle()

    bench.run(test)
    assert not bench.scorpion.told


@pytest.mark.parametrize("fault", [Unavailable("away"), ValueError("a fault of ours")], ids=["away", "ours"])
def test_a_page_that_is_not_taken_is_counted_not_tried_again_and_the_next_is_told(fault: Exception) -> None:
    bench = Bench()

    async def test() -> None:
        bench.scorpion.fault = fault
        bench.add([True, True])
        await bench.settle()
        bench.scorpion.fault = None
        bench.add([True, True])
        await bench.settle()

    bench.run(test)
    assert len(bench.scorpion.told) == 2
    assert (bench.rows("failed"), bench.rows("logged")) == (2, 1)


def test_pages_that_the_queue_has_no_room_for_are_dropped_and_those_left_at_the_end_too() -> None:
    bench = Bench(queue_max=2)

    async def test() -> None:
        bench.scorpion.slow = True
        bench.add([True])
        await bench.settle()
        for _ in range(3):
            bench.add([True])
        assert bench.rows("dropped") == 1

    bench.run(test)
    assert len(bench.scorpion.told) == 1
    assert (bench.rows("failed"), bench.rows("dropped")) == (1, 3)


def test_the_share_is_drawn_by_the_request_id_and_numbers_are_not() -> None:
    log = Bench(share=0.05).log
    ids = [f"{number:016x}" for number in range(20_000)]
    drawn = {id: log.log_id(id) for id in ids}
    taken = [id for id in ids if drawn[id]]
    assert len(taken) == pytest.approx(1_000, rel=0.15)
    again = Bench(share=0.05).log
    assert [id for id in ids if again.log_id(id)] == taken
    assert len({drawn[id] for id in taken}) == len(taken)
    assert log.log_id(taken[0]) != log.log_id(taken[0]), "one id sent twice is two pages"


@pytest.mark.parametrize(("share", "drawn"), [(0.0, 0), (1.0, 200)])
def test_none_and_all_are_shares_too(share: float, drawn: int) -> None:
    log = Bench(share=share).log
    assert sum(log.log_id(str(number)) != 0 for number in range(200)) == drawn
