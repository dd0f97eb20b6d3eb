"""Claims about the row cache: against a dictionary, in flight, full, and read while it is written."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.rockstore.row_cache import PLACE_BYTES, RowCache, Written
from services.rockstore.row_kernels import WAYS
from services.rockstore.schema import GONE_MS, FeatureRows, Kind, Schema

SCHEMA = Schema(Kind.PIN, 1, ("a", "b"), (0.5, -1.0), ("x",))
ROW_BYTES = 2 * 4 + 8 + PLACE_BYTES
NOW_MS = 1_000


def cache(*, sets: int = 64) -> RowCache:
    return RowCache(SCHEMA, cache_bytes=sets * WAYS * ROW_BYTES)


def u64(*ids: int) -> NDArray[np.uint64]:
    return np.array(ids, np.uint64)


def rows_of(values: Sequence[int | None], *, gone_ms: int = 0) -> FeatureRows:
    """Row (v, -v | v) for each value; None: absent."""
    numbers = np.array([0 if value is None else value for value in values], np.int64)
    absent = np.array([value is None for value in values], np.bool_)
    return FeatureRows(
        features=np.stack([numbers, -numbers], axis=1).astype(np.float32),
        ids=numbers.astype(np.uint64)[:, None],
        present=(~absent).astype(np.uint8),
        unreadable=np.zeros(len(values), np.bool_),
        gone_ms=np.where(absent, GONE_MS, gone_ms),
    )


def write(to: RowCache, values: Mapping[int, int | None], *, generation: int = 0, newest: int = 1) -> None:
    rows = rows_of(list(values.values()))
    marks = np.full(len(values), newest, np.uint8)
    to.write(Written(u64(*values), rows, marks), generation=generation)


def known(of: RowCache, *ids: int, now_ms: int = NOW_MS, generation: int = 0) -> dict[int, int | None]:
    """Value by id, None where the cache says absent; ids that it does not know are left out."""
    found = of.gather(u64(*ids), now_ms=now_ms, generation=generation)
    missed = set(found.missed.tolist())
    answer: dict[int, int | None] = {}
    for row, id in enumerate(ids):
        if row in missed:
            continue
        value = int(found.ids[row, 0])
        expected = [value, -value] if found.present[row] else list(SCHEMA.defaults)
        assert found.features[row].tolist() == expected
        answer[id] = value if found.present[row] else None
    return answer


def test_what_is_filled_is_known_and_the_rest_is_missed_in_order() -> None:
    held = cache()
    held.fill(u64(5, 7), rows_of([50, None]), epoch=0, generation=0)
    found = held.gather(u64(9, 7, 8, 5), now_ms=NOW_MS, generation=0)
    assert found.missed.tolist() == [0, 2]
    assert known(held, 9, 7, 8, 5) == {7: None, 5: 50}
    assert len(held) == 2
    assert held.size_bytes == 2 * ROW_BYTES


def test_a_row_is_absent_from_the_millisecond_of_its_expiry() -> None:
    held = cache()
    held.fill(u64(5), rows_of([50], gone_ms=NOW_MS), epoch=0, generation=0)
    assert known(held, 5, now_ms=NOW_MS - 1) == {5: 50}
    assert known(held, 5, now_ms=NOW_MS) == {5: None}


def test_nothing_fits_a_cache_of_no_bytes() -> None:
    held = RowCache(SCHEMA, cache_bytes=0)
    held.fill(u64(5), rows_of([50]), epoch=0, generation=0)
    write(held, {6: 60})
    assert known(held, 5, 6) == {}
    assert (len(held), held.size_bytes) == (0, 0)


def test_unreadable_rows_are_not_kept() -> None:
    held = cache()
    rows = rows_of([None, 60])
    rows.unreadable[0] = True
    held.fill(u64(5, 6), rows, epoch=0, generation=0)
    assert known(held, 5, 6) == {6: 60}


@pytest.mark.parametrize("when", ["before the batch", "while it is in flight"])
def test_a_look_up_that_may_have_seen_the_old_row_does_not_fill(when: str) -> None:
    """The id is unknown again when the look-up ends: as if it had been evicted in between."""
    held = cache()
    if when == "before the batch":
        epoch = held.gather(u64(5), now_ms=NOW_MS, generation=0).epoch
        write(held, {5: 51}, newest=0)
    else:
        write(held, {5: 51}, newest=0)
        epoch = held.gather(u64(5), now_ms=NOW_MS, generation=0).epoch
    held.fill(u64(5), rows_of([50]), epoch=epoch, generation=0)
    assert known(held, 5) == {}
    held.write(None, generation=0)  # The batch is in the store now; the look-up is still of before.
    held.fill(u64(5), rows_of([50]), epoch=epoch, generation=0)
    assert known(held, 5) == {}


def test_a_look_up_after_the_batch_was_stored_fills() -> None:
    held = cache()
    write(held, {5: 51}, newest=0)
    held.write(None, generation=0)
    epoch = held.gather(u64(5), now_ms=NOW_MS, generation=0).epoch
    held.fill(u64(5), rows_of([51]), epoch=epoch, generation=0)
    assert known(held, 5) == {5: 51}


def test_an_id_of_two_batches_in_a_row_stays_in_flight() -> None:
    held = cache()
    write(held, {5: 51}, newest=0)
    write(held, {5: 52}, newest=0)
    epoch = held.gather(u64(5), now_ms=NOW_MS, generation=0).epoch
    held.fill(u64(5), rows_of([51]), epoch=epoch, generation=0)
    assert known(held, 5) == {}


def test_rows_of_one_generation_are_not_answered_to_a_read_of_another() -> None:
    held = cache()
    held.fill(u64(5), rows_of([50]), epoch=0, generation=0)
    held.clear(generation=2)
    assert known(held, 5, generation=2) == {}
    held.fill(u64(5), rows_of([50]), epoch=0, generation=0)  # Began before the swap.
    write(held, {6: 60}, generation=0)  # Judged by the version of the load before.
    assert known(held, 5, 6, generation=2) == {}
    held.fill(u64(5), rows_of([52]), epoch=0, generation=2)
    assert known(held, 5, generation=2) == {5: 52}
    assert known(held, 5, generation=0) == {}


def test_rows_that_were_read_stay_when_others_come() -> None:
    evicted: list[int] = []
    held = RowCache(SCHEMA, cache_bytes=WAYS * ROW_BYTES, evicted=evicted.append)
    first = list(range(1, WAYS + 1))
    held.fill(u64(*first), rows_of(first), epoch=0, generation=0)
    read = first[: WAYS // 2]
    known(held, *read)
    others = [100 + number for number in range(WAYS - len(read))]
    held.fill(u64(*others), rows_of(others), epoch=0, generation=0)
    assert known(held, *first, *others) == {id: id for id in read + others}
    assert sum(evicted) == len(others)
    assert len(held) == held.capacity == WAYS


def test_a_cache_that_is_three_quarters_full_has_hardly_evicted() -> None:
    held = cache(sets=4_096)
    ids = np.random.default_rng(3).choice(1 << 62, held.capacity * 3 // 4).astype(np.uint64) + np.uint64(1)
    held.fill(ids, rows_of([1] * len(ids)), epoch=0, generation=0)
    assert len(held) > 0.98 * len(ids)


IDS = st.lists(st.integers(1, 40), min_size=1, max_size=12, unique=True)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), IDS),
        st.tuples(st.just("delete"), IDS),
        st.tuples(st.just("begin read"), IDS),
        st.tuples(st.just("end read"), st.just([0])),
        st.tuples(st.just("store"), st.just([0])),
        st.tuples(st.just("swap"), st.just([0])),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps=STEPS)
def test_in_whatever_order_reads_and_batches_meet_no_answer_is_old(
    steps: list[tuple[str, list[int]]],
) -> None:
    """A batch is applied, then stored; a read looks up at its beginning, and fills at its end."""
    held = RowCache(SCHEMA, cache_bytes=WAYS * ROW_BYTES)  # One set of 16 places for 40 ids: evictions.
    applied: dict[int, int | None] = {}
    stored: dict[int, int | None] = {}
    reading: list[tuple[list[int], FeatureRows, int, int]] = []
    generation, value = 0, 0
    for step, ids in steps:
        if step in ("write", "delete"):
            stored = dict(applied)
            value += 1
            batch = dict.fromkeys(ids, None if step == "delete" else value)
            write(held, batch, generation=generation)
            applied.update(batch)
        elif step == "begin read":
            epoch = held.gather(u64(*ids), now_ms=NOW_MS, generation=generation).epoch
            reading.append((ids, rows_of([stored.get(id) for id in ids]), epoch, generation))
        elif step == "end read" and reading:
            looked_up, rows, epoch, of = reading.pop(0)
            held.fill(u64(*looked_up), rows, epoch=epoch, generation=of)
        elif step == "store":
            stored = dict(applied)
        elif step == "swap":
            generation += 1
            held.clear(generation=generation)
        answers = known(held, *range(1, 41), generation=generation)
        assert answers == {id: applied.get(id) for id in answers}
        assert len(held) == len(answers)


def test_a_reader_beside_the_writer_sees_whole_rows_that_never_go_back() -> None:
    held = cache(sets=1)
    ids = list(range(1, 31))
    done = threading.Event()
    faults: list[str] = []

    def read() -> None:
        last = dict.fromkeys(ids, 0)
        while not done.is_set():
            try:
                answers = known(held, *ids)
            except AssertionError as fault:
                faults.append(str(fault))
                return
            for id, value in answers.items():
                if value is None or value < last[id]:
                    faults.append(f"{id} went from {last[id]} to {value}")
                    return
                last[id] = value

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for value in range(1, 300):
        write(held, {id: value for id in ids if (id + value) % 3})
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []
