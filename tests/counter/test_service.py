"""Claims about the RPCs. The servicer asks nothing of its context, so it is called without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedmesh.counter.v1 import counter_pb2
from services.chassis.errors import (
    BadRequest,
    FeedmeshError,
    InvalidColumns,
    InvalidId,
    LimitExceeded,
    WrongShard,
)
from services.chassis.shards.owned import OwnedShards
from services.counter.config import CounterConfig, DeclaredCounter
from services.counter.counters import UnknownCounter
from tests.counter.counting import HOUR_MS, NOW_MS, Counter, counted, entities_of, open_counter

CONTEXT: Any = None


def pack(*entities: int) -> bytes:
    return np.array(entities, "<u8").tobytes()


def matrix(counter: Counter, /, **fields: Any) -> list[list[float]]:
    answer = counter.servicer.GetCounts(counter_pb2.GetCountsRequest(**fields), CONTEXT)
    rows: list[list[float]] = (
        np.frombuffer(answer.counts_f16, "<f2").reshape(-1, answer.counter_count).tolist()
    )
    return rows


def top(counter: Counter, /, **fields: Any) -> list[tuple[int, float]]:
    answer = counter.servicer.GetTop(counter_pb2.GetTopRequest(**fields), CONTEXT)
    values = np.frombuffer(answer.values_f32, "<f4").tolist()
    return list(zip(entities_of(answer.entities_u64), values, strict=True))


def test_counts_come_as_one_matrix_in_the_order_asked_for(counter: Counter) -> None:
    counter.follow(counted(5, 6, action="save"), counted(5, action="click"))
    assert matrix(counter, entities_u64=pack(6, 9, 5, 6), counters=["clicks", "saves"]) == [
        [0, 1],
        [0, 0],
        [1, 1],
        [0, 1],
    ]


def test_without_names_all_counters_come_in_declared_order(counter: Counter) -> None:
    counter.follow(counted(5, action="save"))
    names = counter.servicer.ListCounters(counter_pb2.ListCountersRequest(), CONTEXT).names
    (row,) = matrix(counter, entities_u64=pack(5))
    assert list(names) == [declared.name for declared in CounterConfig().counters]
    assert {name: count for name, count in zip(names, row, strict=True) if count} == {
        "saves": 1,
        "popularity": 3,
    }


def test_decay_is_for_the_time_asked_for_or_for_now(counter: Counter) -> None:
    counter.follow(counted(5, action="save", time_ms=NOW_MS))
    counter.clock.advance_ms(72 * HOUR_MS)
    asked = {"entities_u64": pack(5), "counters": ["popularity"]}
    assert matrix(counter, **asked) == [[1.5]]
    assert matrix(counter, **asked, now_ms=NOW_MS) == [[3]]


def test_windows_are_for_the_time_asked_for_or_for_now_in_matrix_and_top(tmp_path: Path) -> None:
    day = DeclaredCounter(name="day", kind="windowed", actions={"save": 1}, window_hours=24)
    counter = open_counter(tmp_path, config=CounterConfig(counters=(*CounterConfig().counters, day)))
    counter.follow(counted(5, 5, 6, action="save", time_ms=NOW_MS))
    asked = {"entities_u64": pack(5, 6, 7), "counters": ["day", "saves"]}
    assert matrix(counter, **asked) == [[2, 2], [1, 1], [0, 0]]
    assert matrix(counter, **asked, now_ms=NOW_MS + 24 * HOUR_MS) == [[0, 2], [0, 1], [0, 0]]
    assert top(counter, counter="day") == [(5, 2), (6, 1)]
    counter.clock.advance_ms(24 * HOUR_MS)
    assert top(counter, counter="day") == []
    assert matrix(counter, **asked) == [[0, 2], [0, 1], [0, 0]]
    assert matrix(counter, **asked, now_ms=NOW_MS) == [[2, 2], [1, 1], [0, 0]]
    counter.raw.close()


def test_an_empty_request_has_an_empty_answer(counter: Counter) -> None:
    assert matrix(counter) == []


def test_the_greatest_come_first_with_ties_by_entity(counter: Counter) -> None:
    counter.follow(counted(9, 7, 8, 3, action="save"), counted(8, action="save"), counted(4, action="click"))
    assert top(counter, counter="saves") == [(8, 2), (3, 1), (7, 1), (9, 1)]
    assert top(counter, counter="saves", limit=2) == [(8, 2), (3, 1)]
    assert top(counter, counter="hides") == []


def test_a_top_is_as_old_as_it_may_be_whatever_its_limit(counter: Counter) -> None:
    counter.follow(counted(1, action="save"))
    assert top(counter, counter="saves") == [(1, 1)]
    counter.follow(counted(2, 2, action="save"))
    counter.clock.advance_ms(4_999)
    assert top(counter, counter="saves", limit=9) == [(1, 1)]
    counter.clock.advance_ms(1)
    assert top(counter, counter="saves", limit=1) == [(2, 2)]
    assert counter.registry.get_sample_value("feedmesh_counter_tops_total", {"source": "cache"}) == 1


def test_a_top_for_a_given_time_is_not_that_of_now(counter: Counter) -> None:
    counter.follow(counted(1, action="save", time_ms=NOW_MS))
    assert top(counter, counter="popularity") == [(1, 3)]
    assert top(counter, counter="popularity", now_ms=NOW_MS + 72 * HOUR_MS) == [(1, 1.5)]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"entities_u64": pack(5, 0)}, InvalidId, id="entity 0"),
        pytest.param({"entities_u64": b"123"}, InvalidColumns, id="ragged"),
        pytest.param({"entities_u64": pack(*range(1, 50_002))}, LimitExceeded, id="too many entities"),
        pytest.param({"entities_u64": pack(5), "counters": ["likes"]}, UnknownCounter, id="unknown counter"),
        pytest.param(
            {"entities_u64": pack(5), "counters": ["saves"] * 65}, LimitExceeded, id="many counters"
        ),
        pytest.param({"entities_u64": pack(5), "now_ms": -1}, BadRequest, id="negative time"),
    ],
)
def test_requests_for_counts_that_make_no_sense_are_refused(
    counter: Counter, fields: dict[str, Any], error: type[FeedmeshError]
) -> None:
    with pytest.raises(error):
        matrix(counter, **fields)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({}, UnknownCounter, id="no counter"),
        pytest.param({"counter": "saves", "limit": 10_001}, LimitExceeded, id="too many"),
        pytest.param({"counter": "saves", "now_ms": -1}, BadRequest, id="negative time"),
    ],
)
def test_requests_for_the_top_that_make_no_sense_are_refused(
    counter: Counter, fields: dict[str, Any], error: type[FeedmeshError]
) -> None:
    with pytest.raises(error):
        top(counter, **fields)


def test_entities_of_other_hosts_are_refused(tmp_path: Path) -> None:
    owned = OwnedShards(8, np.arange(8) == OwnedShards.everything(8).shard_of(1))
    other = next(id for id in range(2, 100) if not owned.owns_one(id))
    counter = open_counter(tmp_path, owned=owned)
    assert len(matrix(counter, entities_u64=pack(1))) == 1
    with pytest.raises(WrongShard):
        matrix(counter, entities_u64=pack(1, other))
    counter.raw.close()
