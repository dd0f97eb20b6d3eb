"""For how long a follower has not heard from the log, and from when on answers say so."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
import pytest

from services.chassis.clock import FakeClock
from services.chassis.log.log import Chunk
from services.chassis.log.silence import Silence
from services.chassis.shards.owned import OwnedShards
from tests.chassis.log.follower_bench import WAIT_S, Bench
from tests.chassis.log.support import record


class Ear:
    """A tail that has been silent for as long as a test says."""

    def __init__(self, silent_s: float = math.inf) -> None:
        self._silent_s = silent_s
        self.asked = 0

    @property
    def silent_s(self) -> float:
        self.asked += 1
        return self._silent_s

    @silent_s.setter
    def silent_s(self, seconds: float) -> None:
        self._silent_s = seconds

    def poll(self, *, timeout_ms: int) -> list[Chunk]:
        return []

    def close(self) -> None: ...


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def silence(clock: FakeClock) -> Silence:
    return Silence(clock, stale_after_ms=2_000)


def test_before_the_first_contact_silence_counts_from_the_start(silence: Silence, clock: FakeClock) -> None:
    clock.advance_ms(2_500)
    assert silence.seconds == 2.5
    assert silence.stale_ms() == 2_500


def test_a_tail_that_hears_is_believed(silence: Silence, clock: FakeClock) -> None:
    clock.advance_ms(60_000)
    silence.listen(Ear(0.5))
    assert silence.seconds == 0.5
    assert silence.stale_ms() == 0


def test_a_tail_that_was_opened_in_vain_does_not_end_the_silence(silence: Silence, clock: FakeClock) -> None:
    silence.listen(Ear(1.0))
    clock.advance_ms(3_000)
    silence.listen_no_more()
    for _ in range(3):
        silence.listen(Ear())
        clock.advance_ms(1_000)
        silence.listen_no_more()
    assert silence.seconds == 4.0


def test_answers_are_marked_from_the_threshold_on_and_no_longer_when_it_is_over(
    silence: Silence, clock: FakeClock
) -> None:
    ear = Ear(0.0)
    silence.listen(ear)
    marks = []
    for silent_s in (0.0, 1.0, 1.9, 2.0, 2.1, 0.0):
        clock.advance_ms(1_000)
        ear.silent_s = silent_s
        marks.append(silence.stale_ms())
    # At 1.9 s the answer of 1.0 s ago still holds.
    assert marks == [0, 0, 0, 2_000, 2_100, 0]


def test_while_all_is_well_the_tail_is_not_asked_at_every_call(silence: Silence, clock: FakeClock) -> None:
    ear = Ear(0.5)
    silence.listen(ear)
    for _ in range(1_000):
        silence.stale_ms()
        clock.advance_ms(1)
    assert ear.asked == 1


def test_where_there_is_nothing_to_hear_there_is_no_silence(silence: Silence, clock: FakeClock) -> None:
    clock.advance_ms(9_000)
    silence.end()
    clock.advance_ms(9_000)
    assert silence.seconds == 0
    assert silence.stale_ms() == 0


def _wait_until(true: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S * 1000)):
        if true():
            return
        threading.Event().wait(0.001)
    raise AssertionError("did not come true in time")


def test_a_follower_whose_log_is_away_says_for_how_long(bench: Bench) -> None:
    bench.start().apply(record(1))
    bench.clock.advance_ms(10_000)
    assert bench.follower.log_silent_s == 0
    bench.log.away.set()
    retries = bench.metric("log_retries_total")
    _wait_until(lambda: bench.metric("log_retries_total") > retries)
    bench.clock.advance_ms(3_000)
    assert bench.follower.log_silent_s == 3
    assert bench.follower.stale_ms() == 3_000
    assert bench.metric("log_silent_seconds") == 3
    bench.log.away.clear()
    bench.apply(record(2))
    assert bench.follower.stale_ms() == 0


def test_a_follower_that_never_reached_its_log_counts_from_its_start(bench: Bench) -> None:
    bench.log.away.set()
    bench.open()
    bench.clock.advance_ms(60_000)
    bench.follower.start()
    bench.clock.advance_ms(5_000)
    assert bench.follower.log_silent_s == 5


def test_a_follower_passes_on_what_its_tail_has_not_heard(bench: Bench) -> None:
    bench.start().apply(record(1))
    bench.clock.advance_ms(60_000)
    bench.log.silent_s = 2.25
    assert bench.follower.stale_ms() == 2_250


def test_a_host_without_shards_is_never_stale(bench: Bench) -> None:
    bench.owned = OwnedShards(8, np.zeros(8, dtype=np.bool_))
    bench.start()
    _wait_until(bench.follower.caught_up)
    bench.follower.stop()
    bench.clock.advance_ms(60_000)
    assert bench.follower.stale_ms() == 0
