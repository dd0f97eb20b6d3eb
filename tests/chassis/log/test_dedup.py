"""The window of recent ids against the plainest statement of it: a list of the last ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.log.dedup import RecentIds
from services.chassis.storage.store import Store
from tests.chassis.log.support import VIEW_FAMILIES

PLACES = [("pins", 0), ("pins", 7), ("graph", 0)]
# Few different ids, so that they repeat; some whose home slots collide or wrap around in a small table.
IDS = st.integers(min_value=0, max_value=12) | st.sampled_from([15, 31, 47, 63, (1 << 64) - 1])
ROWS = st.integers(min_value=0, max_value=len(PLACES) - 1)


def _admit(recent: RecentIds, rows: Sequence[int], ids: Sequence[int]) -> list[bool]:
    fresh = recent.admit(np.array(rows, dtype=np.int64), np.array(ids, dtype=np.uint64))
    return [bool(one) for one in fresh]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(ROWS, IDS), max_size=300), st.integers(min_value=1, max_value=9))
def test_an_id_is_fresh_unless_it_is_among_the_last_of_its_partition(
    steps: list[tuple[int, int]], window: int
) -> None:
    recent = RecentIds(PLACES, window=window)
    last: list[list[int]] = [[] for _ in PLACES]
    for row, id in steps:
        # 0 marks a free slot, so 0 and 1 are one id here.
        known = max(id, 1)
        expected = known not in last[row]
        if expected:
            last[row] = [*last[row], known][-window:]
        assert _admit(recent, [row], [id]) == [expected]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(ROWS, IDS), max_size=200))
def test_one_call_and_many_calls_agree(steps: list[tuple[int, int]]) -> None:
    together = _admit(RecentIds(PLACES, window=5), [r for r, _ in steps], [i for _, i in steps])
    recent = RecentIds(PLACES, window=5)
    assert together == [_admit(recent, [row], [id])[0] for row, id in steps]


@pytest.mark.parametrize("batch_size", [1, 3, 40], ids=["single records", "a few", "more than the window"])
def test_the_window_comes_back_from_the_store_as_it_was(tmp_path: Path, batch_size: int) -> None:
    ids = [n * 7919 % 101 + 2 for n in range(120)]
    with Store(tmp_path, VIEW_FAMILIES) as store:
        recent = RecentIds(PLACES, window=16)
        for start in range(0, len(ids), batch_size):
            part = np.array(ids[start : start + batch_size], dtype=np.uint64)
            fresh = recent.admit(np.ones(part.size, dtype=np.int64), part)
            batch = store.batch()
            recent.save(batch, row=1, ids=part[fresh], next_offset=start + part.size)
            store.write(batch)
        loaded = RecentIds(PLACES, window=16)
        loaded.load(store)
        assert _admit(loaded, [1] * 103, range(103)) == _admit(recent, [1] * 103, range(103))


def test_rows_that_younger_ones_cover_are_deleted(tmp_path: Path) -> None:
    with Store(tmp_path, VIEW_FAMILIES) as store:
        recent = RecentIds(PLACES, window=10)
        for offset in range(200):
            batch = store.batch()
            ids = np.array([offset + 2], dtype=np.uint64)
            recent.admit(np.zeros(1, dtype=np.int64), ids)
            recent.save(batch, row=0, ids=ids, next_offset=offset + 1)
            store.write(batch)
        assert sum(1 for _ in store.scan("system")) == 10


def test_partitions_whose_names_begin_alike_do_not_mix(tmp_path: Path) -> None:
    places = [("pins", 0), ("pins|", 0), ("pinsx", 0)]
    with Store(tmp_path, VIEW_FAMILIES) as store:
        recent, batch = RecentIds(places, window=10), store.batch()
        for row in range(3):
            ids = np.array([row + 5], dtype=np.uint64)
            recent.admit(np.full(1, row, dtype=np.int64), ids)
            recent.save(batch, row=row, ids=ids, next_offset=1)
        store.write(batch)
        loaded = RecentIds(places, window=10)
        loaded.load(store)
        assert _admit(loaded, [0, 1, 2], [5, 6, 7]) == [False, False, False]
        assert _admit(loaded, [0, 1, 2], [6, 7, 5]) == [True, True, True]
