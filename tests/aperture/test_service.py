"""The servicer, called as the server calls it: columns, filters, checks at the door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from feedmesh.aperture.v1 import aperture_pb2
from services.aperture.service import ApertureServicer
from services.chassis.clock import FakeClock
from services.chassis.columns.bloom import BloomFilter
from services.chassis.columns.packed import pack_u64
from services.chassis.errors import (
    BadRequest,
    InvalidColumns,
    InvalidId,
    LimitExceeded,
    UnknownEnum,
    WrongShard,
)
from services.chassis.shards.owned import OwnedShards
from tests.aperture.whole import DAY_S, NOW_S, NUM_SHARDS, OWNED, Aperture, acted, shown

CLICK, SAVE = 3, 4
IDS = aperture_pb2.SEEN_FORMAT_IDS


@pytest.fixture
def aperture(tmp_path: Path) -> Iterator[Aperture]:
    opened = Aperture(tmp_path / "db", lane_pieces_max=1, freeze_after_hours=0, seen_pins_max=1_000)
    opened.follow(shown(1, [10, 11], time_s=NOW_S - 20 * DAY_S), acted(1, 20, time_s=NOW_S - 3 * DAY_S))
    opened.follow(acted(1, 10, time_s=NOW_S - 3600), acted(1, 10, type=SAVE, time_s=NOW_S - 60))
    opened.settle()
    opened.follow(acted(1, 30, time_s=NOW_S + 200), acted(2, 40, time_s=NOW_S - 100 * DAY_S))
    yield opened
    opened.store.close()


def servicer(aperture: Aperture, owned: OwnedShards = OWNED) -> ApertureServicer:
    return ApertureServicer(
        reader=aperture.reader,
        owned=owned,
        clock=FakeClock(NOW_S * 1000),
        config=aperture.config,
        metrics=aperture.metrics,
    )


def seen(aperture: Aperture, **fields: object) -> aperture_pb2.GetSeenResponse:
    return servicer(aperture).GetSeen(aperture_pb2.GetSeenRequest(**fields), None)  # type: ignore[arg-type]


def history(aperture: Aperture, **fields: object) -> aperture_pb2.GetHistoryResponse:
    return servicer(aperture).GetHistory(aperture_pb2.GetHistoryRequest(**fields), None)  # type: ignore[arg-type]


def counts(aperture: Aperture, **fields: object) -> list[int]:
    request = aperture_pb2.CountActionsRequest(**fields)  # type: ignore[arg-type]
    answer = servicer(aperture).CountActions(request, None)
    return [int(count) for count in np.frombuffer(answer.counts_u16, "<u2")]


def u64(data: bytes) -> list[int]:
    return [int(id) for id in np.frombuffer(data, "<u8")]


@pytest.mark.parametrize(
    ("fields", "pins"),
    [
        pytest.param({}, [10, 11, 20, 30], id="90 days, and what another clock dates ahead"),
        pytest.param({"window_days": 7}, [10, 20, 30], id="7 days"),
        pytest.param({"window_days": 1}, [10, 30], id="1 day"),
        pytest.param({"now_ms": NOW_S * 1000}, [10, 11, 20], id="a window that ends now"),
        pytest.param({"now_ms": (NOW_S - 2 * DAY_S) * 1000, "window_days": 2}, [20], id="the past"),
    ],
)
def test_the_seen_set_as_ids_is_ascending(
    aperture: Aperture, fields: dict[str, object], pins: list[int]
) -> None:
    answer = seen(aperture, user=1, format=IDS, **fields)
    assert u64(answer.pins_u64) == pins
    assert answer.pin_count == len(pins)
    assert not answer.truncated
    assert not answer.HasField("bloom")


def test_the_seen_set_as_a_filter_holds_every_pin(aperture: Aperture) -> None:
    answer = seen(aperture, user=1)
    bloom = BloomFilter.from_parts(
        bits=answer.bloom.bits, hash_count=answer.bloom.hash_count, seed=answer.bloom.seed
    )
    assert bloom.contains_many(np.array([10, 11, 20, 30], np.uint64)).all()
    assert not bloom.contains_many(np.arange(1_000, 1_100, dtype=np.uint64)).all()
    assert (answer.bloom.item_count, answer.pin_count, answer.pins_u64) == (4, 4, b"")


def test_a_seen_set_over_the_limit_is_cut_and_says_so(aperture: Aperture) -> None:
    aperture.follow(*(shown(1, range(n, n + 1_000), time_s=NOW_S - n) for n in (1_000, 2_000)))
    answer = seen(aperture, user=1, format=IDS)
    assert answer.truncated
    assert answer.pin_count == 1_000
    assert {10, 30} <= set(u64(answer.pins_u64))
    assert aperture.metrics.seen_truncated._value.get() == 1


def test_an_unknown_user_has_seen_nothing(aperture: Aperture) -> None:
    answer = seen(aperture, user=99)
    assert answer.pin_count == 0
    assert answer.bloom.hash_count >= 1


def test_history_is_newest_first_as_aligned_columns(aperture: Aperture) -> None:
    answer = history(aperture, user=1, types=[CLICK, SAVE])
    assert u64(answer.pins_u64) == [30, 10, 10, 20]
    assert np.frombuffer(answer.times_u32, "<u4").tolist() == [
        NOW_S + 200,
        NOW_S - 60,
        NOW_S - 3600,
        NOW_S - 3 * DAY_S,
    ]
    assert list(answer.types_u8) == [CLICK, SAVE, CLICK, CLICK]
    assert u64(history(aperture, user=1, limit=2).pins_u64) == [30, 10]


def test_counts_are_row_major_over_the_default_windows(aperture: Aperture) -> None:
    packed = pack_u64(np.array([10, 20, 99], np.uint64))
    assert counts(aperture, user=1, entities_u64=packed, types=[CLICK, SAVE]) == [
        *(1, 1, 1, 1, 1, 1),
        *(0, 1, 1, 0, 0, 0),
        *(0, 0, 0, 0, 0, 0),
    ]


def test_rows_past_retention_are_not_answered_even_when_they_are_still_stored(aperture: Aperture) -> None:
    aperture.config = type(aperture.config)(retention_days=99)
    assert u64(seen(aperture, user=2, window_days=366, format=IDS).pins_u64) == []


E10 = pack_u64(np.array([10], np.uint64))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"user": 0}, InvalidId, id="user 0"),
        pytest.param({"user": 1, "window_days": 367}, BadRequest, id="too long a window"),
        pytest.param({"user": 1, "false_positive_rate": 0.5}, BadRequest, id="too high a rate"),
        pytest.param({"user": 1, "false_positive_rate": -0.01}, BadRequest, id="a negative rate"),
        pytest.param({"user": 1, "false_positive_rate": float("nan")}, BadRequest, id="a rate of NaN"),
        pytest.param({"user": 1, "format": 9}, UnknownEnum, id="an unknown format"),
        pytest.param({"user": 1, "now_ms": -1}, BadRequest, id="a negative time"),
    ],
)
def test_a_bad_request_for_the_seen_set_is_refused(
    aperture: Aperture, fields: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        seen(aperture, **fields)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"user": 1, "limit": 10_001}, LimitExceeded, id="too long a page"),
        pytest.param({"user": 1, "types": [0]}, UnknownEnum, id="an unspecified action"),
        pytest.param({"user": 1, "types": [1] * 9}, LimitExceeded, id="too many actions"),
    ],
)
def test_a_bad_request_for_history_is_refused(
    aperture: Aperture, fields: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        history(aperture, **fields)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"entities_u64": b"1234"}, InvalidColumns, id="ragged entities"),
        pytest.param({"entities_u64": b""}, InvalidColumns, id="no entities"),
        pytest.param({"entities_u64": bytes(8)}, InvalidId, id="an entity of 0"),
        pytest.param({"entities_u64": E10 * 10_001}, LimitExceeded, id="too many entities"),
        pytest.param({"entities_u64": E10, "types": []}, BadRequest, id="no actions"),
        pytest.param({"entities_u64": E10, "window_days": [0]}, BadRequest, id="a window of 0 days"),
        pytest.param({"entities_u64": E10, "window_days": [1] * 9}, LimitExceeded, id="too many windows"),
    ],
)
def test_a_bad_request_for_counts_is_refused(
    aperture: Aperture, fields: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        counts(aperture, **{"user": 1, "types": [CLICK], **fields})


def test_another_hosts_user_is_refused(aperture: Aperture) -> None:
    mask = np.ones(NUM_SHARDS, np.bool_)
    mask[OWNED.shard_of(1)] = False
    with pytest.raises(WrongShard):
        servicer(aperture, OwnedShards(NUM_SHARDS, mask)).GetSeen(aperture_pb2.GetSeenRequest(user=1), None)
