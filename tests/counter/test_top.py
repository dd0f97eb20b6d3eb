"""Claims about the greatest, and about how long they are remembered."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.counter.top import Top, TopCache, greatest


@given(
    values=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), max_size=40),
    count=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_the_greatest_are_those_of_a_full_sort_with_ties_by_entity(
    values: list[float], count: int, seed: int
) -> None:
    entities = np.random.default_rng(seed).permutation(len(values)).astype(np.uint64) + np.uint64(1)
    top = greatest(entities, np.array(values, np.float32), count=count)
    pairs = sorted(zip(entities.tolist(), values, strict=True), key=lambda pair: (-pair[1], pair[0]))
    expected = [pair for pair in pairs if pair[1] > 0][:count]
    assert list(zip(top.entities.tolist(), top.values.tolist(), strict=True)) == expected


def top_of(*entities: int) -> Top:
    return Top(np.array(entities, np.uint64), np.ones(len(entities), np.float32))


def test_a_top_is_kept_for_its_time() -> None:
    cache = TopCache(keep_ms=1_000, entries_max=4)
    first, second = top_of(1), top_of(2)
    assert cache.get(("saves", 0), lambda: first, monotonic_s=10.0) == (first, False)
    assert cache.get(("saves", 0), lambda: second, monotonic_s=10.999) == (first, True)
    assert cache.get(("saves", 0), lambda: second, monotonic_s=11.0) == (second, False)
    assert cache.get(("saves", 5), lambda: first, monotonic_s=11.0) == (first, False)


def test_more_tops_than_there_is_room_for_push_out_the_oldest() -> None:
    cache = TopCache(keep_ms=1_000, entries_max=2)
    for name in "abc":
        cache.get((name, 0), lambda: top_of(1), monotonic_s=0.0)
    assert [cache.get((name, 0), lambda: top_of(2), monotonic_s=0.0)[1] for name in "cba"] == [
        True,
        True,
        False,
    ]


def test_requests_for_one_top_share_one_scan() -> None:
    cache = TopCache(keep_ms=1_000, entries_max=2)
    started, go_on = threading.Event(), threading.Event()
    scans: list[str] = []

    def scan(name: str) -> Top:
        scans.append(name)
        started.set()
        assert go_on.wait(10)
        return top_of(1)

    def ask(name: str) -> None:
        cache.get(("saves", 0), lambda: scan(name), monotonic_s=0.0)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("first", "second")]
    threads[0].start()
    assert started.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert scans == ["first"]
