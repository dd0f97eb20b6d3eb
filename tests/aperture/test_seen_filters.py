"""A filter that grew is the filter that would be made: the same bits, whatever came, whatever was asked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.aperture.history import NOTHING, Settled, Window, seen
from services.aperture.rows import concat, pack_rows, unpack_rows
from services.aperture.seen_filters import SeenFilters
from services.chassis.columns.bloom import BloomFilter

RATE = 0.01
Row = tuple[int, int]
"""(entity, second)."""
row = st.tuples(st.integers(1, 60), st.integers(1, 100))


def settled_of(rows: Sequence[Row]) -> Settled:
    parts = [unpack_rows(pack_rows([entity], time_s=time_s, action=1)) for entity, time_s in rows]
    return Settled(concat(parts).by_time(), start_bucket=0, truncated=False)


def packed_of(rows: Sequence[Row]) -> bytes:
    return b"".join(pack_rows([entity], time_s=time_s, action=1) for entity, time_s in rows)


def made(settled: Settled, packed: bytes, window: Window, *, rate: float = RATE) -> BloomFilter:
    found = seen(settled, unpack_rows(packed), window, limit=10_000)
    return BloomFilter.build(found.ids, rate)


def parts(bloom: BloomFilter) -> tuple[bytes, int, int, int]:
    return bloom.to_bytes(), bloom.hash_count, bloom.seed, bloom.item_count


@given(
    stored=st.lists(row, max_size=30),
    reads=st.lists(
        st.tuples(
            st.lists(row, max_size=8), st.integers(0, 100), st.integers(0, 100), st.sampled_from((0.01, 0.05))
        ),
        max_size=8,
    ),
)
def test_a_filter_that_grew_equals_one_that_is_made_of_all(
    stored: list[Row], reads: list[tuple[list[Row], int, int, float]]
) -> None:
    filters = SeenFilters(bytes_max=1 << 20, pins_max=10_000)
    settled, packed = settled_of(stored), b""
    for came, start_s, span_s, rate in reads:
        packed += packed_of(came)
        window = Window(start_s, start_s + span_s)
        answer = filters.of(1, settled, packed, window, rate=rate)
        assert parts(answer.bloom) == parts(made(settled, packed, window, rate=rate))


def test_a_filter_grows_past_the_size_it_was_made_with() -> None:
    filters = SeenFilters(bytes_max=1 << 20, pins_max=10_000)
    settled, window, packed = settled_of([(1, 10)]), Window(0, 100), b""
    sizes = set()
    for first in range(2, 402, 20):
        packed += pack_rows(range(first, first + 20), time_s=50, action=1)
        bloom = filters.of(1, settled, packed, window, rate=RATE).bloom
        assert parts(bloom) == parts(made(settled, packed, window))
        sizes.add(bloom.bit_count)
    assert len(sizes) > 1


def test_what_is_already_in_a_filter_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    filters = SeenFilters(bytes_max=1 << 20, pins_max=10_000)
    settled, window = settled_of([(1, 10), (2, 20)]), Window(5, 100)
    packed = packed_of([(3, 30)])
    filters.of(1, settled, packed, window, rate=RATE)
    monkeypatch.setattr(BloomFilter, "build", None)
    packed += packed_of([(4, 40), (2, 41)])
    assert filters.of(1, settled, packed, Window(6, 101), rate=RATE).bloom.item_count == 4
    monkeypatch.undo()
    # The settled row of second 10 leaves the window: anew.
    assert filters.of(1, settled, packed, Window(10, 105), rate=RATE).bloom.item_count == 3


def test_filters_of_other_rows_of_the_store_are_not_used() -> None:
    """A spill moves rows: what was in memory is settled then, in another object."""
    filters = SeenFilters(bytes_max=1 << 20, pins_max=10_000)
    window = Window(0, 100)
    filters.of(1, settled_of([(1, 10)]), packed_of([(2, 20)]), window, rate=RATE)
    spilled = settled_of([(1, 10), (2, 20), (3, 21)])
    assert parts(filters.of(1, spilled, b"", window, rate=RATE).bloom) == parts(made(spilled, b"", window))
    forgotten = packed_of([(9, 30)])
    assert filters.of(1, NOTHING, forgotten, window, rate=RATE).bloom.item_count == 1
    assert filters.of(1, NOTHING, packed_of([(8, 30)]), window, rate=RATE).bloom.contains(8)


def test_a_set_past_the_limit_is_cut_and_says_so() -> None:
    filters = SeenFilters(bytes_max=1 << 20, pins_max=3)
    settled, window = settled_of([(1, 10), (2, 11)]), Window(0, 100)
    assert not filters.of(1, settled, packed_of([(3, 30)]), window, rate=RATE).truncated
    answer = filters.of(1, settled, packed_of([(3, 30), (4, 31)]), window, rate=RATE)
    assert answer.truncated
    assert answer.bloom.item_count == 3


def test_the_cache_is_bounded_and_the_least_recently_used_goes_first() -> None:
    filters = SeenFilters(bytes_max=4_000, pins_max=10_000)
    window = Window(0, 100)
    for user in range(1, 20):
        filters.of(user, settled_of([(user, 10)]), b"", window, rate=RATE)
        assert filters.size_bytes <= 4_000
    assert filters.size_bytes > 0
