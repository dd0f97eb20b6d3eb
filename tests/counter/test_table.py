"""Claims about the table in memory: against dictionaries, full, growing, and read while it is written."""

from __future__ import annotations

import threading
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.ids import mix64_array
from services.counter.counters import ACTIONS, CounterKind, Counters, CounterSpec
from services.counter.table import CounterTable, Rows, TableLimits

HALF_LIFE_MS = 1_000
COUNTERS = Counters(
    [
        CounterSpec("saves", CounterKind.TOTAL, {"save": 1}),
        CounterSpec("hot", CounterKind.DECAYED, {"save": 3, "hide": -2}, half_life_ms=HALF_LIFE_MS),
        CounterSpec("acts", CounterKind.TOTAL, {"save": 2, "hide": 5}),
        CounterSpec("new", CounterKind.WINDOWED, {"save": 1}, window_ms=2_000, window_slots=2),
    ]
)
SAVE, HIDE = ACTIONS["save"], ACTIONS["hide"]


def table(**limits: int) -> CounterTable:
    return CounterTable(COUNTERS, TableLimits(**{"entities_max": 10_000, "entities_initial": 1, **limits}))


def add(to: CounterTable, *increments: tuple[int, int, int]) -> tuple[Rows, int]:
    entities, actions, times = zip(*increments, strict=True)
    return to.add(np.array(entities, np.uint64), np.array(actions, np.uint8), np.array(times, np.int64))


def counts(of: CounterTable, *entities: int, now_ms: int = 0, name: str | None = None) -> list[list[float]]:
    asked = np.array(entities, np.uint64)
    asked.flags.writeable = False
    columns = COUNTERS.columns([name] if name else COUNTERS.names)
    found: list[list[float]] = of.counts(asked, columns, now_ms=now_ms)[0].tolist()
    return found


INCREMENTS = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from([SAVE, HIDE]), st.integers(0, 5_000)),
    min_size=1,
    max_size=80,
)


@settings(deadline=None)
@given(increments=INCREMENTS, add_slice=st.integers(1, 20))
def test_counts_are_the_sums_of_a_dictionary(increments: list[tuple[int, int, int]], add_slice: int) -> None:
    """In any order of time: late events decay as if they had come in time."""
    counted = table(add_slice=add_slice)
    rows, refused_count = add(counted, *increments)
    saves: dict[int, int] = defaultdict(int)
    acts: dict[int, int] = defaultdict(int)
    hot: dict[int, float] = defaultdict(float)
    for entity, action, time_ms in increments:
        saves[entity] += action == SAVE
        acts[entity] += 2 if action == SAVE else 5
        hot[entity] += (3 if action == SAVE else -2) * 2 ** (-(6_000 - time_ms) / HALF_LIFE_MS)
    assert refused_count == 0
    assert counted.entity_count == len(acts)
    assert sorted(rows.entities.tolist()) == sorted(acts)
    for entity in range(1, 31):
        found = counts(counted, entity, now_ms=6_000)[0]
        assert found[0] == saves[entity]
        assert found[2] == acts[entity]
        assert found[1] == pytest.approx(max(hot[entity], 0), rel=2e-3, abs=1e-4)


def test_a_decayed_counter_halves_every_half_life() -> None:
    counted = table()
    add(counted, (7, SAVE, 1_000))
    assert [counts(counted, 7, now_ms=at, name="hot")[0][0] for at in (1_000, 2_000, 3_000, 2**50)] == [
        *(3, 1.5, 0.75),
        0,
    ]


def test_events_after_the_time_asked_for_count_in_full() -> None:
    counted = table()
    add(counted, (7, SAVE, 1_000))
    assert counts(counted, 7, now_ms=1, name="hot") == [[3]]


def test_a_decayed_counter_below_zero_is_answered_as_zero_and_kept_as_it_is() -> None:
    counted = table()
    add(counted, (7, HIDE, 0))
    assert counts(counted, 7, name="hot") == [[0]]
    add(counted, (7, SAVE, 0))
    assert counts(counted, 7, name="hot") == [[1]]


def test_answers_are_clipped_where_float16_ends_and_totals_stop_at_their_greatest() -> None:
    counted = table()
    full = Rows(
        np.array([7], np.uint64), np.zeros(1, np.int64), np.array([[65_520, 2**32 - 3]], np.uint32),
        np.array([[1e9]], np.float32), np.array([[40_000, 25_530]], np.uint16),
    )  # fmt: skip
    assert counted.load(full) == 0
    rows, _ = add(counted, (7, SAVE, 0), (7, SAVE, 0))
    assert counts(counted, 7) == [[65_504] * 4]
    assert rows.totals.tolist() == [[65_522, 2**32 - 1]]


def test_unknown_entities_have_zeros() -> None:
    counted = table()
    add(counted, (7, SAVE, 0))
    assert counts(counted, 8, 7, 2**64 - 1) == [[0] * 4, [1, 3, 2, 1], [0] * 4]


def test_a_full_table_refuses_new_entities_and_counts_on_for_known_ones() -> None:
    counted = table(entities_max=3)
    _, refused_count = add(counted, *((entity, SAVE, 0) for entity in (1, 2, 3, 4, 1, 5, 4)))
    assert refused_count == 3
    assert counted.entity_count == 3
    assert counts(counted, 1, 2, 3, 4, 5, name="saves") == [[2], [1], [1], [0], [0]]
    loaded = Rows(
        np.array([9], np.uint64),
        np.zeros(1, np.int64),
        np.zeros((1, 2), np.uint32),
        np.zeros((1, 1), np.float32),
        np.zeros((1, 2), np.uint16),
    )
    assert counted.load(loaded) == 1


def test_ids_of_one_shard_do_not_crowd() -> None:
    """All ids of one of 64 shards share the lower bits of their hash; growth finds every one again."""
    ids = np.arange(1, 400_000, dtype=np.uint64)
    ids = ids[mix64_array(ids) % np.uint64(64) == 5]
    counted = table(entities_max=100_000, add_slice=700)
    counted.add(ids, np.full(len(ids), SAVE, np.uint8), np.zeros(len(ids), np.int64))
    ids.flags.writeable = False
    found, found_count = counted.counts(ids, COUNTERS.columns(["saves"]), now_ms=0)
    assert found_count == len(ids) == counted.entity_count
    assert (found == 1).all()
    slots = np.flatnonzero(counted._table.slot_keys)
    longest = int(np.diff(np.flatnonzero(np.diff(slots) > 1)).max())
    assert longest < 60, "runs of taken slots stay short at half load"


def test_a_column_is_read_in_slices_with_the_time_asked_for() -> None:
    counted = table(scan_slice=3)
    add(counted, *((entity, SAVE, 0) for entity in range(1, 11)))
    entities, values = counted.column(int(COUNTERS.columns(["hot"])[0]), now_ms=HALF_LIFE_MS)
    assert entities.tolist() == list(range(1, 11))
    assert values.tolist() == [1.5] * 10


def test_a_shared_request_has_the_bits_of_one_that_is_not() -> None:
    alone, shared = table(read_threads=0), table(read_threads=3, part_entities=100)
    rng = np.random.default_rng(5)
    entities = rng.integers(1, 3_000, 5_000).astype(np.uint64)
    actions = rng.choice([SAVE, HIDE], 5_000).astype(np.uint8)
    times_ms = rng.integers(0, 9_000, 5_000)
    alone.add(entities, actions, times_ms)
    shared.add(entities, actions, times_ms)
    columns = COUNTERS.columns(COUNTERS.names)
    for size in (0, 1, 99, 100, 199, 200, 201, 1_999):
        asked = rng.integers(1, 4_000, size).astype(np.uint64)
        asked.flags.writeable = False
        expected, found_count = alone.counts(asked, columns, now_ms=9_500)
        answer, shared_found_count = shared.counts(asked, columns, now_ms=9_500)
        assert found_count == shared_found_count
        assert answer.shape == (size, len(columns))
        assert answer.tobytes() == expected.tobytes()
    shared.close()
    assert shared.counts(asked, columns, now_ms=9_500)[0].tobytes() == expected.tobytes()


def test_readers_never_see_half_of_an_increment() -> None:
    """Each save adds 1 to `saves` and 2 to `acts` in one step, while the table grows under the reader."""
    counted = table(add_slice=64, read_threads=1, part_entities=1_000)
    columns = COUNTERS.columns(["saves", "acts"])
    asked = np.arange(1, 3_001, dtype=np.uint64)
    asked.flags.writeable = False
    done = threading.Event()
    torn: list[object] = []

    def read() -> None:
        while True:
            last = done.is_set()
            found = counted.counts(asked, columns, now_ms=0)[0].astype(np.int64)
            if (found[:, 0] * 2 != found[:, 1]).any():
                torn.append(found)
            if last:
                return

    reader = threading.Thread(target=read)
    reader.start()
    entities = np.arange(1, 3_001, dtype=np.uint64)
    for _ in range(30):
        counted.add(entities, np.full(3_000, SAVE, np.uint8), np.zeros(3_000, np.int64))
    done.set()
    reader.join()
    assert not torn
    assert counts(counted, 3_000, name="saves") == [[30]]
