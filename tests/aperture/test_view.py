"""The way of rows: memory, redo log, tails, frozen buckets; nothing lost, nothing twice, at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.aperture.store import BUCKETS, HISTORY, META, REDO
from services.chassis.errors import ConfigFaults, CorruptValue
from tests.aperture.whole import DAY_S, NOW_S, Aperture, acted, forget, shown

DAY = NOW_S // DAY_S
Make = Callable[..., Aperture]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    opened: list[Aperture] = []

    def one(**config: Any) -> Aperture:
        opened.append(Aperture(tmp_path / f"db{len(opened)}", **config))
        return opened[-1]

    yield one
    for aperture in opened:
        aperture.store.close()


def keys(aperture: Aperture, family: str) -> int:
    return len(list(aperture.store.scan(family)))


SPILL_AT_ONCE = {"lane_pieces_max": 1, "freeze_after_hours": 0}


def test_rows_are_read_from_memory_at_once(make: Make) -> None:
    aperture = make()
    aperture.follow(shown(1, [10, 11]), acted(1, 10, type=4))
    assert aperture.rows(1) == [(NOW_S, 10, 1), (NOW_S, 10, 4), (NOW_S, 11, 1)]
    assert keys(aperture, HISTORY) == 0


def test_a_crash_loses_nothing_that_was_committed_and_keeps_nothing_that_was_not(make: Make) -> None:
    aperture = make()
    aperture.follow(shown(1, [10, 11]), shown(2, [20]))
    aperture.follow(acted(1, 12))
    aperture.follow(acted(1, 13), commit=False)
    aperture.crash()
    assert [row[1] for row in aperture.rows(1)] == [10, 11, 12]
    assert [row[1] for row in aperture.rows(2)] == [20]


def test_a_redo_entry_after_a_crash_does_not_overwrite_one_from_before(make: Make) -> None:
    aperture = make()
    for pin in range(1, 5):
        aperture.follow(acted(1, pin))
        aperture.crash()
    assert [row[1] for row in aperture.rows(1)] == [1, 2, 3, 4]


def test_a_full_lane_goes_to_tails_and_its_redo_log_goes(make: Make) -> None:
    aperture = make(lane_pieces_max=3)
    aperture.follow(*(acted(user, 1) for user in range(1, 81)))
    assert keys(aperture, REDO) < 16
    assert keys(aperture, HISTORY) > 20
    for _ in range(2):
        assert all(len(aperture.rows(user)) == 1 for user in range(1, 81))
        aperture.crash()


def test_a_spilled_row_is_counted_once_before_and_after_memory_lets_go(make: Make) -> None:
    aperture = make(lane_pieces_max=1)
    aperture.follow(acted(1, 10), acted(1, 11, time_s=NOW_S - DAY_S))
    assert aperture.parts(1) == [(DAY - 1, False), (DAY, False)]
    assert len(aperture.rows(1)) == 2
    aperture.follow()
    assert aperture.mutable.size_bytes == 0
    assert len(aperture.rows(1)) == 2
    aperture.crash()
    assert len(aperture.rows(1)) == 2


def test_a_spill_that_is_not_committed_hides_nothing(make: Make) -> None:
    aperture = make(lane_pieces_max=1)
    aperture.follow(acted(1, 10), acted(1, 11, time_s=NOW_S - DAY_S), commit=False)
    assert len(aperture.rows(1)) == 2


def test_a_cached_user_is_read_anew_after_a_spill(make: Make) -> None:
    aperture = make(lane_pieces_max=1)
    for pin in range(1, 8):
        aperture.follow(acted(1, pin), acted(1, pin + 100, time_s=NOW_S - pin * DAY_S))
        assert len(aperture.rows(1)) == 2 * pin


def test_a_longer_window_than_the_cached_one_is_read_from_the_store(make: Make) -> None:
    aperture = make(lane_pieces_max=1)
    aperture.follow(acted(1, 1), acted(1, 2, time_s=NOW_S - 40 * DAY_S))
    aperture.follow()
    assert len(aperture.read(1, start_s=NOW_S - DAY_S)[0].rows) == 1
    assert len(aperture.read(1, start_s=NOW_S - 41 * DAY_S)[0].rows) == 2
    hits = aperture.metrics.cache.labels("hit")._value.get()
    aperture.read(1, start_s=NOW_S - DAY_S)
    assert aperture.metrics.cache.labels("hit")._value.get() == hits + 1


def test_a_closed_bucket_is_frozen_and_answers_the_same(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE)
    aperture.follow(shown(1, [3, 1, 2]), acted(1, 2, time_s=NOW_S + 60))
    before = aperture.rows(1)
    aperture.follow(acted(9, 1, time_s=NOW_S + DAY_S))
    aperture.settle()
    assert aperture.parts(1) == [(DAY, True)]
    assert aperture.rows(1) == before
    aperture.crash()
    assert aperture.rows(1) == before


def test_a_bucket_stays_open_until_its_time_of_grace_has_passed(make: Make) -> None:
    aperture = make(lane_pieces_max=1, freeze_after_hours=6)
    aperture.follow(shown(1, [1]), shown(1, [1], time_s=NOW_S - DAY_S))
    aperture.follow(acted(9, 1, time_s=(DAY + 1) * DAY_S + 5 * 3600))
    aperture.settle()
    assert aperture.parts(1) == [(DAY - 1, True), (DAY, False)]


def test_late_rows_lie_beside_the_frozen_part_and_are_merged_into_it(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE)
    aperture.follow(shown(1, [1]), shown(1, [9], time_s=NOW_S - 3 * DAY_S))
    aperture.follow(acted(9, 1, time_s=NOW_S + DAY_S))
    aperture.settle()
    aperture.follow(shown(1, [2]), shown(1, [8], time_s=NOW_S - 3 * DAY_S))
    assert (DAY, False) in aperture.parts(1)
    assert (DAY, True) in aperture.parts(1)
    assert [row[1] for row in aperture.rows(1)] == [8, 9, 1, 2]
    aperture.settle()
    assert aperture.parts(1) == [(DAY - 3, True), (DAY, True)]
    assert [row[1] for row in aperture.rows(1)] == [8, 9, 1, 2]


def test_the_freezer_works_in_slices(make: Make) -> None:
    aperture = make(lane_pieces_max=1, freeze_after_hours=0, freeze_buckets_max=2)
    users = range(1, 31)
    aperture.follow(*(shown(user, [1]) for user in users), *(shown(user, [2]) for user in users))
    for _ in range(20):
        aperture.follow()
    frozen = aperture.metrics.frozen._value
    aperture.follow(acted(99, 1, time_s=NOW_S + DAY_S))
    steps = []
    while aperture.view.upkeep_waits:
        before = frozen.get()
        aperture.keep_up()
        steps.append(frozen.get() - before)
    assert max(steps) == 2
    assert sum(steps) == len(users)


def test_the_freezer_gets_its_slice_where_records_never_cease(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE, freeze_every_batches=3, freeze_buckets_max=1)
    aperture.follow(shown(1, [1]), shown(1, [9], time_s=NOW_S - 3 * DAY_S))
    for batch in range(9):
        aperture.follow(acted(2, 1, time_s=NOW_S + DAY_S + batch))
    assert aperture.metrics.frozen._value.get() == 2
    assert aperture.parts(1) == [(DAY - 3, True), (DAY, True)]


def test_retention_drops_whole_buckets_frozen_or_not(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE, retention_days=10)
    aperture.follow(shown(1, [1]), shown(1, [2], time_s=NOW_S - DAY_S))
    aperture.follow(acted(9, 1, time_s=NOW_S + 5 * DAY_S))
    aperture.settle()
    aperture.follow(acted(9, 2, time_s=NOW_S + 11 * DAY_S))
    aperture.settle()
    assert aperture.parts(1) == []
    user_1 = (1).to_bytes(8, "big")
    assert not [key for key, _ in aperture.store.scan(BUCKETS) if key.endswith(user_1)]


def test_rows_past_retention_are_refused_and_counted(make: Make) -> None:
    aperture = make(retention_days=10)
    aperture.follow(acted(1, 1))
    aperture.follow(acted(1, 2, time_s=NOW_S - 11 * DAY_S), acted(1, 3, time_s=NOW_S - 9 * DAY_S))
    assert [row[1] for row in aperture.rows(1)] == [3, 1]
    assert aperture.metrics.rows_expired._value.get() == 1


def test_a_forgotten_user_is_gone_from_memory_and_store_and_lists(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE)
    aperture.follow(shown(1, [1]), shown(1, [2], time_s=NOW_S - 5 * DAY_S))
    aperture.follow(acted(1, 3, time_s=NOW_S + DAY_S))
    aperture.settle()
    aperture.follow(acted(1, 4, time_s=NOW_S + DAY_S))
    assert len(aperture.rows(1)) == 4
    aperture.follow(forget(1))
    assert aperture.rows(1) == []
    aperture.settle()
    assert aperture.rows(1) == []
    user_1 = (1).to_bytes(8, "big")
    for family in (HISTORY, BUCKETS, META):
        assert not [key for key, _ in aperture.store.scan(family) if user_1 in key], family
    assert keys(aperture, REDO) == 0


def test_a_forgotten_user_may_come_back_in_the_same_batch(make: Make) -> None:
    aperture = make()
    aperture.follow(acted(1, 1))
    aperture.follow(acted(1, 2), forget(1), acted(1, 3))
    for _ in range(2):
        assert [row[1] for row in aperture.rows(1)] == [3]
        aperture.crash()


def test_what_a_forgotten_user_does_later_is_frozen_all_the_same(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE)
    aperture.follow(acted(1, 1), acted(1, 2, time_s=NOW_S - DAY_S))
    aperture.follow(forget(1), acted(1, 3), acted(1, 4, time_s=NOW_S - DAY_S))
    aperture.settle()
    aperture.follow(acted(9, 1, time_s=NOW_S + DAY_S))
    aperture.settle()
    assert aperture.parts(1) == [(DAY - 1, True), (DAY, True)]
    assert [row[1] for row in aperture.rows(1)] == [4, 3]


def test_forgetting_before_the_commit_hides_the_stored_rows_at_once(make: Make) -> None:
    aperture = make(lane_pieces_max=1)
    aperture.follow(acted(1, 1), acted(1, 2, time_s=NOW_S - DAY_S))
    aperture.follow()
    assert len(aperture.rows(1)) == 2
    aperture.follow(forget(1), commit=False)
    assert aperture.rows(1) == []


def test_memory_stays_under_its_limit(make: Make) -> None:
    aperture = make(mutable_bytes_max=1 << 20, lane_bytes_max=16 << 20)
    for step in range(40):
        aperture.follow(*(shown(user, range(1, 201), time_s=NOW_S + step) for user in range(1, 21)))
    aperture.follow()
    assert aperture.mutable.size_bytes <= 1 << 20
    assert len(aperture.rows(7)) == 40 * 200


def test_a_damaged_frozen_bucket_is_an_error_to_readers_and_does_not_stop_the_follower(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE)
    aperture.follow(acted(1, 1), acted(1, 2, time_s=NOW_S - DAY_S))
    aperture.follow(acted(9, 1, time_s=NOW_S + DAY_S))
    aperture.settle()
    batch = aperture.store.batch()
    for key, value in aperture.store.scan(HISTORY):
        batch.put(HISTORY, key, value[:-1] + b"\xff")
    aperture.store.write(batch)
    aperture.crash()
    with pytest.raises(CorruptValue):
        aperture.rows(1)
    aperture.follow(acted(1, 3), acted(1, 4, time_s=NOW_S - DAY_S))
    aperture.settle()
    assert aperture.metrics.corrupt._value.get() == 1
    assert aperture.metrics.not_frozen.labels("corrupt_value")._value.get() >= 1


def test_a_bucket_too_large_for_a_batch_stays_as_tails_until_retention(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE, freeze_bytes_max=1_024, retention_days=10)
    aperture.follow(shown(1, range(1, 101)), acted(1, 1, time_s=NOW_S - DAY_S))
    aperture.follow(acted(9, 1, time_s=NOW_S + DAY_S))
    aperture.settle()
    assert aperture.parts(1) == [(DAY - 1, True), (DAY, False)]
    assert len(aperture.rows(1)) == 101
    aperture.follow(acted(9, 1, time_s=NOW_S + 12 * DAY_S))
    aperture.settle()
    assert aperture.parts(1) == []


def test_a_bucket_of_very_many_tails_is_frozen_with_few_entries(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE)
    for pin in range(1, 101):
        aperture.follow(acted(1, 2 * pin), acted(1, 2 * pin + 1, time_s=NOW_S - DAY_S))
    expected = aperture.rows(1)
    aperture.follow(acted(9, 1, time_s=NOW_S + DAY_S))
    tails = aperture.parts(1).count((DAY, False))
    assert tails > 64
    batch = aperture.store.batch()
    aperture.view.apply([], batch)
    assert len(batch) < tails
    aperture.store.write(batch)
    aperture.settle()
    assert aperture.parts(1).count((DAY, True)) == 1
    assert aperture.parts(1).count((DAY, False)) == 0
    assert aperture.rows(1) == expected


def test_a_user_with_more_rows_than_a_read_takes_is_cut_at_the_old_end(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE, user_rows_max=1_000)
    for day in range(5):
        aperture.follow(shown(1, range(1, 501), time_s=NOW_S + day * DAY_S), acted(1, 1, time_s=NOW_S))
        aperture.follow()
    settled, _ = aperture.read(1)
    assert settled.truncated
    assert 1_000 <= len(settled.rows) <= 1_501
    assert settled.newest_s == NOW_S + 4 * DAY_S


def test_another_bucket_length_than_the_stores_is_refused(make: Make) -> None:
    aperture = make(bucket_hours=24)
    aperture.config = type(aperture.config)(bucket_hours=12)
    with pytest.raises(ConfigFaults, match="bucket_hours"):
        aperture.open()


def test_a_shorter_bucket_works_alike(make: Make) -> None:
    aperture = make(**SPILL_AT_ONCE, bucket_hours=1)
    for hour in range(6):
        aperture.follow(acted(1, hour + 1, time_s=NOW_S + hour * 3600))
    aperture.settle()
    assert [row[1] for row in aperture.rows(1)] == [1, 2, 3, 4, 5, 6]
    assert sum(frozen for _, frozen in aperture.parts(1)) >= 4
