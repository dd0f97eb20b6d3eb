"""Claims about what the log leaves in table and store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import CorruptValue, PoisonRecord
from services.chassis.shards.owned import OwnedShards
from services.counter.config import CounterConfig, DeclaredCounter
from services.counter.counters import ACTIONS
from services.counter.store import ROWS
from tests.counter.counting import HOUR_MS, NOW_MS, Counter, counted, open_counter, restarted


@pytest.mark.parametrize(
    ("action", "name"),
    [(action, f"{action}s") for action in ACTIONS if action != "served"] + [("served", "served")],
)
def test_each_action_is_counted_by_its_counter(counter: Counter, action: str, name: str) -> None:
    counter.follow(counted(5, action=action), counted(5, 6, action=action))
    named = dict(zip(counter.counters.names, counter.counts(5), strict=True))
    del named["popularity"]
    assert named.pop(name) == 2
    assert not any(named.values())
    assert counter.counts(6, name) == [1]


def test_popularity_decays_by_the_time_of_the_records(counter: Counter) -> None:
    counter.follow(
        counted(5, action="save", time_ms=NOW_MS), counted(5, action="click", time_ms=NOW_MS - 72 * HOUR_MS)
    )
    assert counter.counts(5, "popularity", now_ms=NOW_MS) == [3.5]
    assert counter.counts(5, "popularity", now_ms=NOW_MS + 72 * HOUR_MS) == [1.75]


def test_an_entity_packed_twice_counts_twice(counter: Counter) -> None:
    counter.follow(counted(5, 5, 6, action="save"))
    assert counter.counts(5, "saves") == [2]


def test_each_changed_row_is_written_once_per_batch(counter: Counter) -> None:
    counter.follow(*(counted(5, 6, action=action) for action in ("save", "click", "hide")))
    assert len(list(counter.raw.scan(ROWS))) == 2
    assert counter.registry.get_sample_value("feedmesh_counter_rows_written_total") == 2
    assert counter.registry.get_sample_value("feedmesh_counter_increments_total", {"action": "save"}) == 2
    assert counter.registry.get_sample_value("feedmesh_counter_entities") == 2


def test_counts_survive_a_restart_to_the_last_bit(tmp_path: Path) -> None:
    counter = open_counter(tmp_path)
    rng = np.random.default_rng(1)
    for batch in range(3):
        counter.follow(
            *(
                counted(*rng.integers(1, 500, 40).tolist(), action=action, time_ms=NOW_MS + 7 * batch)
                for action in ACTIONS
            )
        )
    before = [counter.counts(entity, now_ms=NOW_MS + HOUR_MS) for entity in range(1, 501)]
    again = restarted(counter, tmp_path)
    assert again.table.entity_count == counter.table.entity_count > 300
    assert [again.counts(entity, now_ms=NOW_MS + HOUR_MS) for entity in range(1, 501)] == before
    again.follow(counted(1, action="save"))
    assert again.counts(1, "saves")[0] == counter.counts(1, "saves")[0] + 1
    again.raw.close()


def declared(*counters: tuple[str, dict[Any, float]]) -> CounterConfig:
    return CounterConfig(counters=tuple(DeclaredCounter(name=n, actions=actions) for n, actions in counters))


SAVES, CLICKS, HIDES = ("saves", {"save": 1.0}), ("clicks", {"click": 1.0}), ("hides", {"hide": 1.0})


def test_an_added_counter_starts_at_zero_and_the_others_go_on(tmp_path: Path) -> None:
    counter = open_counter(tmp_path, config=declared(SAVES, CLICKS))
    counter.follow(counted(5, 6, action="save"), counted(5, action="click"))
    counter = restarted(counter, tmp_path, config=declared(HIDES, CLICKS, SAVES))
    assert counter.counts(5) == [0, 1, 1]
    counter.follow(counted(5, action="hide"))
    counter = restarted(counter, tmp_path, config=declared(HIDES, CLICKS, SAVES))
    assert (counter.counts(5), counter.counts(6)) == ([1, 1, 1], [0, 0, 1])
    counter.raw.close()


def test_a_dropped_counter_that_comes_back_is_zero_in_written_and_unwritten_rows(tmp_path: Path) -> None:
    counter = open_counter(tmp_path, config=declared(SAVES, CLICKS))
    counter.follow(counted(5, 6, action="click"))
    counter = restarted(counter, tmp_path, config=declared(SAVES))
    counter.follow(counted(5, action="save"))
    counter = restarted(counter, tmp_path, config=declared(SAVES, CLICKS))
    assert (counter.counts(5), counter.counts(6)) == ([1, 0], [0, 0])
    counter.raw.close()


def test_entities_of_other_shards_in_a_packed_record_are_passed_over(tmp_path: Path) -> None:
    everything = OwnedShards.everything(8)
    owned = OwnedShards(8, np.arange(8) == everything.shard_of(5))
    other = next(id for id in range(6, 100) if not owned.owns_one(id))
    counter = open_counter(tmp_path, owned=owned)
    counter.follow(counted(other, 5, action="save"))
    counter.follow(counted(other, action="save"))
    assert (counter.counts(5, "saves"), counter.counts(other, "saves")) == ([1], [0])
    assert counter.table.entity_count == len(list(counter.raw.scan(ROWS))) == 1
    counter.raw.close()


def test_rows_of_shards_that_moved_away_are_not_loaded(tmp_path: Path) -> None:
    counter = open_counter(tmp_path)
    counter.follow(counted(*range(1, 101), action="save"))
    counter.raw.close()
    owned = OwnedShards(8, np.arange(8) < 3)
    counter = open_counter(tmp_path, owned=owned)
    ids = np.arange(1, 101, dtype=np.uint64)
    assert counter.table.entity_count == int(owned.owns(ids).sum())
    counter.raw.close()


@pytest.mark.parametrize("value", [b"", b"\x01\0\0\0" + bytes(7), b"\x09\0\0\0" + bytes(36)])
def test_a_row_that_cannot_be_read_stops_the_start(tmp_path: Path, value: bytes) -> None:
    counter = open_counter(tmp_path)
    batch = counter.raw.batch()
    batch.put(ROWS, bytes(9) + b"\x05", value)
    counter.raw.write(batch)
    counter.raw.close()
    with pytest.raises(CorruptValue, match="00000000000000000005"):
        open_counter(tmp_path)


def test_fewer_shards_than_the_rows_were_written_for_stop_the_start(tmp_path: Path) -> None:
    counter = open_counter(tmp_path)
    counter.follow(counted(*range(1, 101), action="save"))
    counter.raw.close()
    with pytest.raises(CorruptValue, match="num_shards"):
        open_counter(tmp_path, owned=OwnedShards.everything(4))


def test_a_full_table_is_told_by_a_metric(tmp_path: Path) -> None:
    counter = open_counter(tmp_path, config=CounterConfig(entities_max=2))
    counter.follow(counted(1, 2, 3, 4, action="save"))
    assert counter.registry.get_sample_value("feedmesh_counter_refused_total") == 2
    assert counter.table.entity_count == len(list(counter.raw.scan(ROWS))) == 2
    counter.raw.close()


def test_actions_that_no_counter_counts_are_passed_over(tmp_path: Path) -> None:
    counter = open_counter(tmp_path, config=declared(SAVES))
    assert counter.view.decode(counted(5, action="click")) is None
    counter.raw.close()


def event_record(event: event_pb2.Event, key: int) -> record_pb2.Record:
    return record_pb2.Record(record_id=1, key=key, role=record_pb2.ROLE_COUNTS, time_ms=NOW_MS, event=event)


SAVE = event_pb2.Event(save_pin=event_pb2.SavePin(pin=5, board=6, user=7))
REMOVE = event_pb2.Event(remove_pin=event_pb2.RemovePin(pin=5, board=6, user=7))
CLICK = event_pb2.Event(action=event_pb2.Action(pin=5, user=7, type=type_pb2.ACTION_TYPE_CLICK))


def test_whole_events_count_as_packed_ones_do(counter: Counter) -> None:
    counter.follow(event_record(SAVE, 5), event_record(REMOVE, 5), event_record(CLICK, 5))
    assert counter.counts(5, "saves", "clicks") == [1, 1]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        pytest.param(counted(action="save"), "no entity", id="no entity"),
        pytest.param(counted(5, 0, action="save"), "entity 0", id="entity 0"),
        pytest.param(event_record(SAVE, 9), "key 9", id="another key"),
        pytest.param(
            event_record(event_pb2.Event(action=event_pb2.Action(pin=5)), 5), "action 0", id="no action"
        ),
        pytest.param(
            record_pb2.Record(key=5, counts=record_pb2.Counts(entities=[5], type=77)),  # type: ignore[arg-type]
            "action 77",
            id="action of a newer writer",
        ),
    ],
)
def test_records_that_make_no_sense_are_poison(
    counter: Counter, record: record_pb2.Record, says: str
) -> None:
    with pytest.raises(PoisonRecord, match=says):
        counter.view.decode(record)


def test_one_batch_may_change_more_rows_than_a_slice_holds(tmp_path: Path) -> None:
    counter = open_counter(tmp_path, config=CounterConfig(add_slice=7, entities_initial=1))
    entities: Sequence[int] = range(1, 101)
    counter.follow(counted(*entities, action="save"), counted(*entities, action="save"))
    assert all(counter.counts(entity, "saves") == [2] for entity in entities)
    assert len(list(counter.raw.scan(ROWS))) == 100
    counter.raw.close()
