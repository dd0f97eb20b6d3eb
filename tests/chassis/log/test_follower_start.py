"""What a follower refuses to start from, because waiting would not cure it."""

from __future__ import annotations

from services.chassis.errors import FeedmeshError
from services.chassis.log.follower import FollowerConfig
from services.chassis.log.offsets import ForeignLog
from tests.chassis.log.follower_bench import WAIT_S, Bench, WeatheredLog
from tests.chassis.log.support import (
    record,
)


def _dies_with(bench: Bench, error: type[FeedmeshError], why: str) -> None:
    assert bench.died.wait(WAIT_S)
    assert isinstance(bench.fatal[0], error)
    assert why in str(bench.fatal[0])


def test_a_store_of_another_log_is_refused(bench: Bench) -> None:
    bench.start().apply(record(1))
    bench.close()
    bench.log = WeatheredLog(log_id="another")
    bench.start()
    _dies_with(bench, ForeignLog, "follows log 'memory', this is log 'another'")


def test_an_empty_store_follows_a_trimmed_log_when_told_to(bench: Bench) -> None:
    bench.log.trim(bench.publish(record(1, key=1)))
    bench.config = FollowerConfig(begin_trimmed=True, poll_ms=10)
    bench.start().apply(record(2, key=2))
    assert bench.view.kept == [2]


def test_stopping_twice_and_before_the_log_came_is_fine(bench: Bench) -> None:
    bench.log.away.set()
    bench.start()
    bench.follower.stop()
    bench.follower.stop()
    assert bench.fatal == []
