"""One flight per pin, a bound in rows, and a bound in age."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from services.chassis.clock import FakeClock
from services.chassis.errors import Unavailable
from services.chassis.log.token import Token
from services.scorpion.cache import Ask, Found, RowCache
from services.scorpion.covers import ANY, Accepted, Covers
from services.scorpion.features import FeatureList, FetchedRows, RowKind, StaticRows
from services.scorpion.forest import Forest
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.models import Model
from services.scorpion.slab import row_bytes
from tests.scorpion.synthetic import Trained

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


@pytest.fixture(scope="module")
def model(trained: Trained) -> Model:
    return Model("v1", Forest(trained.model.text), trained.features)


@pytest.fixture(autouse=True)
def _blocks_are_checked(model: Model) -> Iterator[None]:
    """Every look-up of these tests reads the model's bytes, too, and compares them with the values."""
    CHECKED.append(model)
    yield
    CHECKED.pop()


CHECKED: list[Model] = []


def make(features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, *, rows: int = 100) -> RowCache:
    columns = features.kinds[0]
    return RowCache(
        features,
        columns,
        cache_bytes=rows * row_bytes(columns),
        ttl_ms=TTL_MS,
        clock=clock,
        metrics=metrics,
    )


def get(
    cache: RowCache, stores: Stores, *pins: int, wait_s: float = PATIENCE_S, accepted: Accepted = ANY
) -> Found:
    model = CHECKED[-1]
    part = model.row_parts[RowKind.PIN]
    blocks = model.forest.blocks(len(pins))
    ids = np.array(pins, dtype=np.uint64)
    found = cache.get(Ask(ids, stores.fetch, wait_s, accepted, part, blocks, values=True))
    wanted = blocks.copy()
    part.scatter(part.bin(found.values), np.arange(len(pins), dtype=np.int32), wanted)
    np.testing.assert_array_equal(blocks, wanted)
    return found


def first_column(found: Found) -> list[float]:
    """The feature `quality`, which is the pin's number as `Stores` has it."""
    column: list[float] = found.values[:, 0].tolist()
    return column


def is_unknown(found: Found, row: int) -> bool:
    return (
        bool(found.missing[row].all())
        and bool(np.isnan(found.fetched_s[row]))
        and found.values[row, 0] == 0.5
    )


def counted(metrics: ScorpionMetrics, name: str) -> float:
    value: float = getattr(metrics.cache("pin"), name)._value.get()
    return value


def test_rows_are_aligned_with_the_pins_whether_cached_or_not(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock)
    get(cache, stores, 3, 5)
    found = get(cache, stores, 5, 4, 3, 4)
    assert first_column(found) == [5, 4, 3, 4]
    assert found.id_columns[:, 0].tolist() == [5, 4, 3, 4]
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
    assert counted(metrics, "evictions") == 2


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
    assert counted(metrics, "evictions") == 0


def test_pin_that_no_store_answered_for_is_defaulted_and_not_kept(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock)
    stores.silent = {2}
    found = get(cache, stores, 1, 2)
    assert found.defaulted_count == 1
    assert is_unknown(found, 1)
    stores.silent = set()
    again = get(cache, stores, 1, 2)
    assert (again.hit_count, again.defaulted_count) == (1, 0)
    assert counted(metrics, "defaulted") == 1


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
        while counted(metrics, "waits") < (threads - 1) * len(pins):
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
    assert all(one.defaulted_count == 1 and is_unknown(one, 0) for one in found)
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
            pins = draw.integers(1, 60, 15)
            found = get(cache, stores, *pins.tolist())
            if first_column(found) != pins.tolist() or not (found.id_columns == pins[:, None]).all():
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(reads, range(8)))
    assert len(cache) == 20


def test_id_0_is_nobody_and_asks_nobody(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache = make(features, metrics, clock)
    found = get(cache, stores, 0, 4, 0)
    assert is_unknown(found, 0)
    assert is_unknown(found, 2)
    assert stores.asked == [[4]]
    assert found.defaulted_count == 0


def test_a_resident_model_reads_rows_that_were_cached_before_and_after_it_came(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores, model: Model
) -> None:
    cache = make(features, metrics, clock, rows=2_000)
    part = model.row_parts[RowKind.PIN]
    get(cache, stores, *range(1, 1_200))
    assert cache.prepare(part)
    get(cache, stores, *range(600, 1_500))
    assert get(cache, stores, *range(1, 1_500)).hit_count == 1_499
    cache.retire(part)
    assert get(cache, stores, *range(1, 1_500)).hit_count == 1_499


def test_no_more_models_are_resident_than_there_is_memory_for(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, trained: Trained
) -> None:
    cache = make(features, metrics, clock)
    parts = [
        Model(name, Forest(trained.model.text), features).row_parts[RowKind.PIN] for name in ("a", "b", "c")
    ]
    assert [cache.prepare(part) for part in parts] == [True, True, False]
    cache.retire(parts[0])
    assert cache.prepare(parts[2])


def test_a_model_that_comes_while_threads_read_and_evict_sees_the_right_rows(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores, model: Model
) -> None:
    cache = make(features, metrics, clock, rows=700)
    part = model.row_parts[RowKind.PIN]
    stop = threading.Event()

    def reads(seed: int) -> int:
        draw = np.random.default_rng(seed)
        count = 0
        while not stop.is_set() or count < 5:
            # `get` compares the bytes with the values.
            get(cache, stores, *draw.integers(1, 1_000, 50).tolist())
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(reads, seed) for seed in range(4)]
        for _ in range(30):
            assert cache.prepare(part)
            cache.retire(part)
        stop.set()
        assert all(future.result(PATIENCE_S) >= 5 for future in reading)


def token(**offsets: int) -> bytes:
    return Token("log", {(topic, 3): offset for topic, offset in offsets.items()}).encode()


def test_a_token_uses_only_rows_that_were_fetched_with_what_it_covers(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache, covers = make(features, metrics, clock), Covers()
    get(cache, stores, 1, 2)
    first, later = covers.accepted(token(objects=10)), covers.accepted(token(objects=11))
    assert get(cache, stores, 1, accepted=first).hit_count == 0
    assert get(cache, stores, 1, accepted=first).hit_count == 1
    assert get(cache, stores, 1, accepted=later).hit_count == 0
    first = covers.accepted(token(objects=10))
    assert get(cache, stores, 1, accepted=first).hit_count == 1, "what covers more will do"
    assert get(cache, stores, 1, 2).hit_count == 2, "without a token any row will do"
    assert get(cache, stores, 1, accepted=covers.accepted(token(counts=1))).hit_count == 0
    assert covers.accepted(token(graph=5)) is ANY, "a topic that no row is made from"


def test_a_token_does_not_join_a_flight_from_before_it(
    features: FeatureList, metrics: ScorpionMetrics, clock: FakeClock, stores: Stores
) -> None:
    cache, other = make(features, metrics, clock), Stores(features)
    stores.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(get, cache, stores, 7)
        while not stores.asked:
            threading.Event().wait(0.001)
        accepted = Covers().accepted(token(objects=4))
        assert get(cache, other, 7, accepted=accepted).defaulted_count == 0
        assert other.asked == [[7]]
        stores.gate.set()
        flying.result(PATIENCE_S)
    # The older flight landed last; its row must not pass for one that the token covers.
    assert get(cache, other, 7, accepted=accepted).hit_count == 0
