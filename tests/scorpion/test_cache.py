"""One flight per pin, a bound in rows, and a bound in age."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from services.chassis.clock import FakeClock
from services.chassis.errors import Unavailable
from services.scorpion.cache import FetchedRows, Found, RowCache, row_bytes
from services.scorpion.features import FeatureList, StaticRows
from services.scorpion.metrics import ScorpionMetrics

TTL_MS = 10_000
PATIENCE_S = 30.0


class Stores:
    """Rows whose values are made of the pin; remembers what was asked for."""

    def __init__(self, features: FeatureList) -> None:
        self._features = features
        self.asked: list[list[int]] = []
        self.silent: set[int] = set()
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def fetch(self, pins: NDArray[np.uint64]) -> FetchedRows:
        self.asked.append(pins.tolist())
        if self.gate is not None:
            assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        answered = np.array([pin not in self.silent for pin in pins.tolist()])
        values = np.repeat(pins.astype(np.float32), self._features.static_width).reshape(pins.size, -1)
        ids = np.repeat(pins, len(self._features.id_columns)).reshape(pins.size, -1)
        values[~answered] = np.nan
        return FetchedRows(StaticRows(values, ids), answered)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def stores(features: FeatureList) -> Stores:
    return Stores(features)


def make(features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, *, rows: int = 100) -> RowCache:
    return RowCache(
        features, cache_bytes=rows * row_bytes(features), ttl_ms=TTL_MS, clock=clock, metrics=metrics
    )


def get(cache: RowCache, stores: Stores, *pins: int, wait_s: float = PATIENCE_S) -> Found:
    return cache.get(np.array(pins, dtype=np.uint64), stores.fetch, wait_s=wait_s)


def first_column(found: Found) -> list[float]:
    column: list[float] = found.rows.values[:, 0].tolist()
    return column


def test_rows_are_aligned_with_the_pins_whether_cached_or_not(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock)
    get(cache, stores, 3, 5)
    found = get(cache, stores, 5, 4, 3, 4)
    assert first_column(found) == [5, 4, 3, 4]
    assert found.rows.ids[:, 0].tolist() == [5, 4, 3, 4]
    assert (found.hit_count, found.defaulted_count) == (2, 0)
    assert stores.asked == [[3, 5], [4]]


def test_rows_are_copies_that_a_later_eviction_does_not_change(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock, rows=1)
    get(cache, stores, 1)
    found = get(cache, stores, 1)
    get(cache, stores, 2)
    assert first_column(found) == [1]


def test_least_recently_used_row_makes_room(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock, rows=3)
    get(cache, stores, 1, 2, 3)
    get(cache, stores, 1)
    get(cache, stores, 4)
    stores.asked.clear()
    assert get(cache, stores, 1, 3, 4).hit_count == 3
    assert get(cache, stores, 2).hit_count == 0
    assert stores.asked == [[2]]
    assert len(cache) == cache.capacity == 3
    assert metrics.cache_evictions._value.get() == 2


def test_request_larger_than_the_cache_is_answered_whole_and_leaves_it_consistent(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock, rows=3)
    get(cache, stores, 100)
    assert first_column(get(cache, stores, *range(1, 11))) == list(range(1, 11))
    assert len(cache) == 3
    found = get(cache, stores, 8, 9, 10)
    assert (found.hit_count, first_column(found)) == (3, [8, 9, 10])


def test_cache_without_memory_keeps_nothing_and_still_answers(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock, rows=0)
    assert first_column(get(cache, stores, 1)) == [1]
    assert get(cache, stores, 1).hit_count == 0


def test_row_is_fetched_again_after_its_time(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock, rows=2)
    get(cache, stores, 1, 2)
    clock.advance_ms(TTL_MS - 1)
    assert get(cache, stores, 1, 2).hit_count == 2
    clock.advance_ms(1)
    assert get(cache, stores, 1, 2).hit_count == 0
    assert get(cache, stores, 1, 2).hit_count == 2
    assert len(stores.asked) == 2
    assert metrics.cache_evictions._value.get() == 0


def test_pin_that_no_store_answered_for_is_defaulted_and_not_kept(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock)
    stores.silent = {2}
    found = get(cache, stores, 1, 2)
    assert found.defaulted_count == 1
    assert np.isnan(found.rows.values[1]).all()
    stores.silent = set()
    again = get(cache, stores, 1, 2)
    assert (again.hit_count, again.defaulted_count) == (1, 0)
    assert metrics.cache_defaulted._value.get() == 1


def crowd(
    cache: RowCache, stores: Stores, metrics: ScorpionMetrics, *, pins: list[int], threads: int
) -> list[Found | Exception]:
    """`threads` look-ups at once: the fetch ends only when all the others wait for it."""
    stores.gate = threading.Event()

    def one(_: int) -> Found | Exception:
        try:
            return get(cache, stores, *pins)
        except Unavailable as fault:
            return fault

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(one, number) for number in range(threads)]
        turn = threading.Event()
        while metrics.cache_waits._value.get() < (threads - 1) * len(pins):
            turn.wait(0.001)
        stores.gate.set()
        return [future.result(PATIENCE_S) for future in running]


def test_hundred_threads_that_miss_one_pin_make_one_fetch(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock)
    results = crowd(cache, stores, metrics, pins=[7, 8], threads=100)
    assert stores.asked == [[7, 8]]
    assert all(isinstance(found, Found) and first_column(found) == [7, 8] for found in results)
    assert get(cache, stores, 7, 8).hit_count == 2


def test_waiters_get_their_rows_even_when_the_cache_keeps_none(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock, rows=0)
    results = crowd(cache, stores, metrics, pins=[7], threads=10)
    assert all(isinstance(found, Found) and found.defaulted_count == 0 for found in results)


def test_failed_fetch_wakes_all_waiters_with_defaults(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock)
    stores.error = Unavailable("down")
    results = crowd(cache, stores, metrics, pins=[7], threads=100)
    found = [result for result in results if isinstance(result, Found)]
    assert len(found) == 99
    assert all(one.defaulted_count == 1 and np.isnan(one.rows.values).all() for one in found)
    stores.error = None
    assert get(cache, stores, 7).defaulted_count == 0


def test_waiter_gives_up_when_its_time_is_over(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock)
    stores.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(get, cache, stores, 7)
        while not stores.asked:
            threading.Event().wait(0.001)
        assert get(cache, stores, 7, wait_s=0.0).defaulted_count == 1
        stores.gate.set()
        assert flying.result(PATIENCE_S).defaulted_count == 0


def test_request_fetches_its_own_misses_and_waits_only_for_the_shared_ones(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock)
    other = Stores(features)
    stores.gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        flying = pool.submit(get, cache, stores, 1, 2)
        while not stores.asked:
            threading.Event().wait(0.001)
        mixed = pool.submit(get, cache, other, 2, 3)
        while not other.asked:
            threading.Event().wait(0.001)
        stores.gate.set()
        assert first_column(flying.result(PATIENCE_S)) == [1, 2]
        assert first_column(mixed.result(PATIENCE_S)) == [2, 3]
    assert other.asked == [[3]]


def test_many_threads_over_a_small_cache_always_see_the_rows_of_their_pins(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock, rows=20)

    def reads(seed: int) -> bool:
        draw = np.random.default_rng(seed)
        for _ in range(40):
            pins = draw.integers(1, 60, 15).astype(np.uint64)
            found = cache.get(pins, stores.fetch, wait_s=PATIENCE_S)
            if not (found.rows.values == pins[:, None]).all() or not (found.rows.ids == pins[:, None]).all():
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(reads, range(8)))
    assert len(cache) == 20
