"""Claims about windowed counters on disk: restarts, kill -9, changed lists, stores of earlier versions."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store
from services.counter.config import DEFAULT_COUNTERS, CounterConfig, DeclaredCounter
from services.counter.store import FAMILIES, LAYOUTS_KEY, ROWS, SYSTEM
from tests.counter.count_for_ever import ENTITIES, WINDOWED_CONFIG, batch_of
from tests.counter.counting import HOUR_MS, NOW_MS, Counter, counted, open_counter, restarted


def windowed(name: str, hours: float = 24, slots: int = 12, **actions: float) -> DeclaredCounter:
    weights: dict[Any, float] = dict(actions)
    return DeclaredCounter(
        name=name, kind="windowed", actions=weights, window_hours=hours, window_slots=slots
    )


DAY = windowed("day", save=1)
WEEK = windowed("week", hours=168, slots=7, save=1, click=2)
SAVES = DeclaredCounter(name="saves", actions={"save": 1})


def declared(*counters: DeclaredCounter) -> CounterConfig:
    return CounterConfig(counters=counters)


def test_windows_survive_a_restart_with_their_slots(tmp_path: Path) -> None:
    config = declared(DAY, SAVES, WEEK)
    counter = open_counter(tmp_path, config=config)
    rng = np.random.default_rng(3)
    for hours in (0, 3, -20, 30, 29, -200):
        counter.follow(
            counted(*rng.integers(1, 50, 40).tolist(), action="save", time_ms=NOW_MS + hours * HOUR_MS),
            counted(*rng.integers(1, 50, 40).tolist(), action="click", time_ms=NOW_MS + hours * HOUR_MS),
        )
    times_ms = [NOW_MS + hours * HOUR_MS for hours in (30, 31, 40, 53, 54, 190)]
    before = [[counter.counts(entity, now_ms=at) for at in times_ms] for entity in range(1, 51)]
    assert len({tuple(row) for rows in before for row in rows}) > 50
    again = restarted(counter, tmp_path, config=config)
    assert [[again.counts(entity, now_ms=at) for at in times_ms] for entity in range(1, 51)] == before
    again.raw.close()


def test_windows_go_on_when_the_list_around_them_changes(tmp_path: Path) -> None:
    counter = open_counter(tmp_path, config=declared(WEEK, DAY))
    counter.follow(counted(5, 6, action="save"), counted(5, action="click", time_ms=NOW_MS - 30 * HOUR_MS))
    counter = restarted(counter, tmp_path, config=declared(DAY, SAVES, WEEK))
    assert counter.counts(5) == [1, 0, 3]
    counter.follow(counted(5, action="save", time_ms=NOW_MS + HOUR_MS))
    counter = restarted(counter, tmp_path, config=declared(DAY))
    assert (counter.counts(5, now_ms=NOW_MS + HOUR_MS), counter.counts(6)) == ([2], [1])
    assert counter.counts(5, now_ms=NOW_MS + 30 * HOUR_MS) == [0]
    counter.raw.close()


def test_another_window_starts_at_zero_and_what_was_dropped_does_not_come_back(tmp_path: Path) -> None:
    counter = open_counter(tmp_path, config=declared(DAY, SAVES))
    counter.follow(counted(5, 6, action="save"))
    counter = restarted(counter, tmp_path, config=declared(windowed("day", hours=48, save=1), SAVES))
    assert counter.counts(5) == [0, 1]
    counter.follow(counted(5, action="save"))
    assert counter.counts(5) == [1, 2]
    counter = restarted(counter, tmp_path, config=declared(DAY, SAVES))
    assert (counter.counts(5), counter.counts(6)) == ([0, 2], [0, 1])
    counter.raw.close()


# As the version before windows wrote it: seven columns, no slots in the list of layouts.
EARLIER_LAYOUTS = b"""[{"number": 1, "columns": [
 {"name": "served", "kind": "total", "identity": 1}, {"name": "impressions", "kind": "total", "identity": 2},
 {"name": "closeups", "kind": "total", "identity": 3}, {"name": "clicks", "kind": "total", "identity": 4},
 {"name": "saves", "kind": "total", "identity": 5}, {"name": "hides", "kind": "total", "identity": 6},
 {"name": "popularity", "kind": "decayed", "identity": 7}]}]"""


def earlier_store(path: Path) -> None:
    shard = OwnedShards.everything(8).shard_of(5)
    with Store(path, FAMILIES) as store:
        batch = store.batch()
        batch.put(SYSTEM, LAYOUTS_KEY, EARLIER_LAYOUTS)
        batch.put(
            ROWS, struct.pack(">HQ", shard, 5), struct.pack("<Iq6If", 1, NOW_MS, 10, 20, 30, 40, 50, 60, 2.5)
        )
        store.write(batch)


def test_a_store_of_the_version_before_windows_is_read_and_not_rewritten(tmp_path: Path) -> None:
    earlier_store(tmp_path)
    counter = open_counter(tmp_path)
    assert counter.counts(5) == [10, 20, 30, 40, 50, 60, 2.5]
    assert counter.raw.get(SYSTEM, LAYOUTS_KEY) == EARLIER_LAYOUTS
    counter.raw.close()


def test_windows_are_added_to_a_store_of_the_version_before_them(tmp_path: Path) -> None:
    earlier_store(tmp_path)
    config = declared(DAY, *DEFAULT_COUNTERS)
    counter = open_counter(tmp_path, config=config)
    assert counter.counts(5) == [0, 10, 20, 30, 40, 50, 60, 2.5]
    counter.follow(counted(5, action="save"))
    counter = restarted(counter, tmp_path, config=config)
    assert counter.counts(5) == [1, 10, 20, 30, 40, 51, 60, 5.5]
    counter.raw.close()


@pytest.mark.mesh
@pytest.mark.parametrize("acknowledged_count", [1, 30, 77])
def test_kill_9_keeps_every_acknowledged_batch_whole_in_totals_and_windows(
    tmp_path: Path, acknowledged_count: int
) -> None:
    command = [sys.executable, "-m", "tests.counter.count_for_ever", str(tmp_path / "killed")]
    counting = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert counting.stdout is not None
    for _ in range(acknowledged_count):
        assert counting.stdout.readline()
    counting.kill()
    printed_count = acknowledged_count + len(counting.stdout.read().splitlines())
    assert counting.wait() == -signal.SIGKILL
    found = open_counter(tmp_path / "killed", config=WINDOWED_CONFIG)
    written_count = _saves_of_entity_1(found)
    assert written_count in {printed_count, printed_count + 1}
    expected = open_counter(tmp_path / "expected", config=WINDOWED_CONFIG)
    for number in range(written_count):
        expected.follow(*batch_of(number))
    for now_ms in (NOW_MS, NOW_MS + HOUR_MS, NOW_MS + written_count * HOUR_MS):
        for entity in range(1, ENTITIES + 1):
            assert found.counts(entity, now_ms=now_ms) == expected.counts(entity, now_ms=now_ms)
    found.raw.close()
    expected.raw.close()


def _saves_of_entity_1(counter: Counter) -> int:
    """To the last one, which float16 would round above 2,048."""
    column = int(counter.counters.columns(["saves"])[0])
    entities, values = counter.table.column(column, now_ms=NOW_MS)
    return int(values[entities == 1][0])
