"""Which hosts are asked last, and for how long."""

from __future__ import annotations

import pytest

from services.chassis import errors
from services.chassis.clock import FakeClock
from services.chassis.process import ChannelConfig
from services.chassis.shards.health import HostHealth, another_may_answer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> HostHealth:
    return HostHealth(ChannelConfig(unhealthy_ms=1_000, timeouts_in_a_row_max=3), clock)


def test_an_unavailable_host_is_asked_last_for_a_while(health: HostHealth, clock: FakeClock) -> None:
    health.failed("a:1", errors.Draining("stopping"))
    assert health.unhealthy() == {"a:1"}
    clock.advance_ms(999)
    assert health.unhealthy() == {"a:1"}
    clock.advance_ms(1)
    assert health.unhealthy() == frozenset()


def test_a_host_that_has_lost_everything_is_asked_last(health: HostHealth) -> None:
    health.failed("a:1", errors.ShardLost("gone", lost="all"))
    assert health.unhealthy() == {"a:1"}


def test_an_answer_makes_a_host_healthy_at_once(health: HostHealth) -> None:
    health.failed("a:1", errors.Unavailable("down"))
    health.answered("a:1")
    assert health.unhealthy() == frozenset()


def test_timeouts_count_only_in_a_row(health: HostHealth) -> None:
    late = errors.TooLate("late")
    for _ in range(2):
        health.failed("a:1", late)
    health.answered("a:1")
    for _ in range(2):
        health.failed("a:1", late)
    assert health.unhealthy() == frozenset()
    health.failed("a:1", late)
    assert health.unhealthy() == {"a:1"}


@pytest.mark.parametrize(
    "error",
    [
        errors.StaleReplica("behind"),
        errors.ShardLost("gone", lost="16:3"),
        errors.ShardLost("gone"),
        errors.NotFound("no"),
        errors.QueueFull("full"),
        errors.WrongShard("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_that_do_not_speak_of_the_host_leave_it_healthy(
    health: HostHealth, error: errors.FeedmeshError
) -> None:
    health.failed("a:1", error)
    assert health.unhealthy() == frozenset()


@pytest.mark.parametrize(
    ("error", "idempotent", "again"),
    [
        (errors.Unavailable("reset"), True, True),
        (errors.Unavailable("reset"), False, False),
        (errors.Draining("stopping"), False, True),
        (errors.NotReady("starting"), False, True),
        (errors.StaleReplica("behind"), True, True),
        (errors.WrongShard("moved"), False, True),
        (errors.QueueFull("full"), True, False),
        (errors.TooLate("late"), True, False),
        (errors.Internal("bug"), True, False),
    ],
    ids=[
        "reset, idempotent",
        "reset, not idempotent",
        "draining",
        "starting",
        "behind",
        "moved",
        "full",
        "late",
        "bug",
    ],
)
def test_another_replica_is_asked_only_when_it_may_help(
    error: errors.FeedmeshError, idempotent: bool, again: bool
) -> None:
    assert another_may_answer(error, idempotent=idempotent) is again
