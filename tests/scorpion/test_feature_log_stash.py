"""The stash: bounded, oldest out first, nothing given twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.clock import FakeClock
from services.scorpion.feature_stash import FeatureStash
from tests.scorpion.logged import stashed
from tests.scorpion.loop_metrics import LoopMetrics


@pytest.fixture
def loop() -> LoopMetrics:
    return LoopMetrics()


def stash_of(loop: LoopMetrics, clock: FakeClock, *, bytes_max: int = 1 << 20) -> FeatureStash:
    return FeatureStash(bytes_max=bytes_max, age_max_s=10.0, clock=clock, metrics=loop)


def pins(*ids: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(ids, np.uint64)


def test_rows_that_were_served_are_given_once_in_the_order_asked(loop: LoopMetrics) -> None:
    stash = stash_of(loop, FakeClock())
    stash.put(5, stashed([10, 20, 30, 40]))
    (taken,) = stash.take(5, pins(40, 99, 10), user=7)
    assert taken.asked.tolist() == [0, 2]
    assert taken.rows.pins.tolist() == [40, 10]
    assert taken.rows.boards.tolist() == [1_040, 1_010]
    assert taken.rows.features.tolist() == [[40, 80, 120], [10, 20, 30]]
    assert taken.rows.scores.tolist() == [10, 2.5]
    assert stash.take(5, pins(20), user=7) == []
    assert loop.value("feature_stash_bytes") == 0


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), max_size=40), st.lists(st.integers(1, 30), max_size=15, unique=True))
def test_every_pin_that_is_there_is_found_and_no_other(held: list[int], asked: list[int]) -> None:
    stash = stash_of(LoopMetrics(), FakeClock())
    stash.put(1, stashed(held))
    found = {pin for taken in stash.take(1, pins(*asked), user=7) for pin in taken.rows.pins.tolist()}
    assert found == set(held) & set(asked)


def test_a_host_that_scored_twice_for_one_request_gives_the_rows_of_both(loop: LoopMetrics) -> None:
    stash = stash_of(loop, FakeClock())
    stash.put(5, stashed([10, 20]))
    stash.put(5, stashed([20, 30]))
    taken = stash.take(5, pins(30, 20, 10), user=7)
    assert sorted(pin for part in taken for pin in part.rows.pins.tolist()) == [10, 20, 30]
    assert sorted(at for part in taken for at in part.asked.tolist()) == [0, 1, 2]


def test_unknown_columns_stay_unknown(loop: LoopMetrics) -> None:
    stash = stash_of(loop, FakeClock())
    stash.put(5, stashed([10, 20], bare=True))
    (taken,) = stash.take(5, pins(20), user=7)
    assert taken.rows.boards.size == 0
    assert taken.rows.pins.tolist() == [20]


def test_another_users_number_gives_nothing(loop: LoopMetrics) -> None:
    stash = stash_of(loop, FakeClock())
    stash.put(5, stashed([10], user=7))
    assert stash.take(5, pins(10), user=8) == []


def test_requests_that_nobody_asks_for_end_with_their_age(loop: LoopMetrics) -> None:
    clock = FakeClock()
    stash = stash_of(loop, clock)
    stash.put(1, stashed([10]))
    clock.advance_ms(6_000)
    stash.put(2, stashed([20]))
    clock.advance_ms(4_000)
    assert stash.take(1, pins(10), user=7) == []
    assert stash.take(2, pins(20), user=7)
    assert loop.value("feature_stash_dropped_total", reason="age") == 1
    assert loop.value("feature_stash_bytes") == 0


def test_the_oldest_make_room_and_the_bound_holds(loop: LoopMetrics) -> None:
    size = stashed([1, 2, 3]).size_bytes
    stash = stash_of(loop, FakeClock(), bytes_max=3 * size)
    for log_id in range(1, 6):
        stash.put(log_id, stashed([1, 2, 3]))
        assert loop.value("feature_stash_bytes") <= 3 * size
    assert [bool(stash.take(log_id, pins(1), user=7)) for log_id in range(1, 6)] == [
        False,
        False,
        *[True] * 3,
    ]
    assert loop.value("feature_stash_dropped_total", reason="room") == 2


def test_a_request_that_is_larger_than_the_stash_is_not_kept(loop: LoopMetrics) -> None:
    stash = stash_of(loop, FakeClock(), bytes_max=500)
    stash.put(1, stashed([1]))
    assert loop.value("feature_stash_bytes") == 0
    assert loop.value("feature_stash_dropped_total", reason="room") == 1


def test_put_copies_nothing_and_take_lets_the_matrix_go(loop: LoopMetrics) -> None:
    stash = stash_of(loop, FakeClock())
    request = stashed([10, 20])
    stash.put(1, request)
    (taken,) = stash.take(1, pins(10), user=7)
    assert not np.shares_memory(taken.rows.features, request.features)


def test_threads_take_each_request_once_and_leave_nothing_behind(loop: LoopMetrics) -> None:
    stash = stash_of(loop, FakeClock(), bytes_max=1 << 30)
    taken: list[int] = []

    def serve(thread: int) -> None:
        for number in range(1, 101):
            stash.put(thread * 1_000 + number, stashed([number]))
            # The neighbour's too: two that ask for one request must not both get it.
            for owner in (thread, (thread + 1) % 4):
                taken.extend(
                    owner * 1_000 + number
                    for part in stash.take(owner * 1_000 + number, pins(number), user=7)
                    for _ in part.asked
                )

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(serve, range(4)))
    assert sorted(taken) == sorted(thread * 1_000 + number for thread in range(4) for number in range(1, 101))
    assert loop.value("feature_stash_bytes") == 0
