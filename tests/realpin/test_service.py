"""The servicer, called as the server calls it: columns, checks at the door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from feedmesh.realpin.v1 import realpin_pb2
from services.chassis.clock import FakeClock
from services.chassis.errors import BadRequest, CorruptValue, InvalidId, LimitExceeded, WrongShard
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store
from services.realpin.declaration import ActionType, default_signals
from services.realpin.metrics import RealPinMetrics
from services.realpin.service import RealPinServicer
from services.realpin.signals import SignalSet
from services.realpin.state_codec import encode
from services.realpin.store import SignalStore, families

NOW = 1_700_000_000_000
DECLARED = SignalSet.from_config(default_signals())
EVERYTHING = OwnedShards.everything(64)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "db", families()) as opened:
        state = DECLARED.empty()
        DECLARED.act(state, NOW - 168 * 3_600_000, ActionType.SAVE, 11, 22, 33, (44,))
        batch = opened.batch()
        SignalStore(opened, EVERYTHING).put(batch, 7, encode(DECLARED, state))
        SignalStore(opened, EVERYTHING).put(batch, 8, b"damaged")
        opened.write(batch)
        yield opened


def servicer(store: Store, owned: OwnedShards = EVERYTHING) -> RealPinServicer:
    return RealPinServicer(
        signals=DECLARED,
        store=SignalStore(store, owned),
        owned=owned,
        clock=FakeClock(NOW),
        metrics=RealPinMetrics(CollectorRegistry()),
    )


def get(store: Store, **fields: object) -> realpin_pb2.GetSignalsResponse:
    return servicer(store).GetSignals(realpin_pb2.GetSignalsRequest(**fields), None)  # type: ignore[arg-type]


def test_all_signals_come_in_the_order_of_the_declaration(store: Store) -> None:
    signals = get(store, user=7).signals
    assert [signal.name for signal in signals] == list(DECLARED.names)
    interest = signals[1]
    assert interest.kind == realpin_pb2.SIGNAL_KIND_DECAYED
    assert np.frombuffer(interest.ids_u64, "<u8").tolist() == [44]
    assert np.frombuffer(interest.values_f32, "<f4").tolist() == [0.5]
    assert np.frombuffer(interest.times_u32, "<u4").tolist() == [NOW // 1000 - 168 * 3600]


def test_named_signals_come_once_each_in_the_order_of_the_declaration(store: Store) -> None:
    answer = get(store, user=7, names=["board_weight", "recent_pins", "board_weight"])
    assert [signal.name for signal in answer.signals] == ["recent_pins", "board_weight"]
    assert all(signal.ids_u64 for signal in answer.signals)


def test_decay_is_computed_for_the_time_asked(store: Store) -> None:
    answer = get(store, user=7, names=["interest_weight"], now_ms=NOW + 168 * 3_600_000)
    assert np.frombuffer(answer.signals[0].values_f32, "<f4").tolist() == [0.25]


def test_a_user_without_any_action_has_empty_signals(store: Store) -> None:
    signals = get(store, user=9).signals
    assert len(signals) == len(DECLARED.names)
    assert not any(signal.ids_u64 or signal.values_f32 or signal.times_u32 for signal in signals)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"user": 0}, InvalidId, id="user 0"),
        pytest.param({"user": 7, "names": ["nobody"]}, BadRequest, id="unknown name"),
        pytest.param({"user": 7, "names": ["recent_pins"] * 8}, LimitExceeded, id="too many names"),
        pytest.param({"user": 7, "now_ms": -1}, BadRequest, id="a negative time"),
        pytest.param({"user": 7, "now_ms": 1 << 62}, BadRequest, id="a time past all times"),
        pytest.param({"user": 8}, CorruptValue, id="a damaged state"),
    ],
)
def test_a_bad_request_is_refused(store: Store, fields: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        get(store, **fields)


def test_another_hosts_user_is_refused(store: Store) -> None:
    mask = np.ones(64, np.bool_)
    mask[EVERYTHING.shard_of(7)] = False
    with pytest.raises(WrongShard):
        servicer(store, OwnedShards(64, mask)).GetSignals(realpin_pb2.GetSignalsRequest(user=7), None)


def test_the_declared_signals_are_listed(store: Store) -> None:
    answer = servicer(store).ListSignals(realpin_pb2.ListSignalsRequest(), None)
    assert tuple(answer.names) == DECLARED.names
    assert answer.kinds[0] == realpin_pb2.SIGNAL_KIND_LAST
    assert answer.kinds[-1] == realpin_pb2.SIGNAL_KIND_WINDOWED
