"""The view: which record feeds what, and that a batch leaves the store as the records say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import PoisonRecord
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store
from services.realpin.declaration import ActionType, default_signals
from services.realpin.ingest import Acted, Forgotten, RealPinView, Shown
from services.realpin.metrics import RealPinMetrics
from services.realpin.signals import SignalSet
from services.realpin.state_codec import decode
from services.realpin.store import SIGNALS, SignalStore, families

NOW = 1_700_000_000_000
DECLARED = SignalSet.from_config(default_signals())
OWNED = OwnedShards.everything(64)
USER = 42


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "db", families()) as opened:
        yield opened


def view_of(store: Store, *, states_max: int = 100) -> RealPinView:
    metrics = RealPinMetrics(CollectorRegistry())
    return RealPinView(
        signals=DECLARED, store=SignalStore(store, OWNED), states_max=states_max, metrics=metrics
    )


def record(event: event_pb2.Event, key: int = USER, time_ms: int = NOW) -> record_pb2.Record:
    return record_pb2.Record(
        record_id=1, key=key, role=record_pb2.ROLE_SOURCE, time_ms=time_ms, version=1, event=event
    )


def saved(pin: int, *, user: int = USER, time_ms: int = NOW) -> record_pb2.Record:
    save = event_pb2.SavePin(pin=pin, board=7, user=user, interests=[5, 5, 6], owner=9)
    return record(event_pb2.Event(save_pin=save), key=user, time_ms=time_ms)


def impressions(count: int, user: int = USER) -> record_pb2.Record:
    shown = event_pb2.Impressions(user=user, pins=range(1, count + 1), type=type_pb2.ACTION_TYPE_IMPRESSION)
    return record(event_pb2.Event(impressions=shown), key=user)


def forget(user: int = USER) -> record_pb2.Record:
    return record(event_pb2.Event(forget_user=event_pb2.ForgetUser(user=user)), key=user)


def follow(store: Store, view: RealPinView, *records: record_pb2.Record) -> None:
    changes = [change for one in records if (change := view.decode(one)) is not None]
    batch = store.batch()
    view.apply(changes, batch)
    store.write(batch)


def read(store: Store, user: int = USER) -> dict[str, dict[int, float]]:
    blob = SignalStore(store, OWNED).get(user)
    state = DECLARED.empty() if blob is None else decode(DECLARED, blob)
    return {
        signal.name: dict(zip(signal.ids.tolist(), signal.values.tolist(), strict=True))
        for signal in DECLARED.read(state, NOW)
    }


def hide(kind: int, *, undo: bool = False) -> record_pb2.Record:
    return record(event_pb2.Event(hide=event_pb2.Hide(user=USER, kind=kind, id=7, undo=undo)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "change"),
    [
        pytest.param(saved(1), Acted(USER, NOW, ActionType.SAVE, 1, 7, 9, (5, 6)), id="a save"),
        pytest.param(
            impressions(3), Shown(USER, NOW, 3, ActionType.IMPRESSION), id="impressions are counted"
        ),
        pytest.param(
            hide(type_pb2.OBJECT_KIND_BOARD), Acted(USER, NOW, ActionType.HIDE, board=7), id="a hidden board"
        ),
        pytest.param(
            hide(type_pb2.OBJECT_KIND_USER), Acted(USER, NOW, ActionType.HIDE, owner=7), id="a hidden owner"
        ),
        pytest.param(
            hide(type_pb2.OBJECT_KIND_PIN), Acted(USER, NOW, ActionType.HIDE, pin=7), id="a hidden pin"
        ),
        pytest.param(hide(type_pb2.OBJECT_KIND_PIN, undo=True), None, id="a hide taken back"),
        pytest.param(
            record(event_pb2.Event(remove_pin=event_pb2.RemovePin(pin=1, board=2, user=USER))),
            None,
            id="a removed pin",
        ),
        pytest.param(forget(), Forgotten(USER), id="a forgotten user"),
    ],
)
def test_a_record_becomes_its_change(store: Store, one: record_pb2.Record, change: object) -> None:
    assert view_of(store).decode(one) == change


def action(**fields: object) -> event_pb2.Event:
    return event_pb2.Event(action=event_pb2.Action(**{"user": USER, "pin": 1, "type": 3, **fields}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(record(event_pb2.Event()), id="no body"),
        pytest.param(record_pb2.Record(key=USER, time_ms=NOW, counts=record_pb2.Counts()), id="counts"),
        pytest.param(record(action(pin=0)), id="no pin"),
        pytest.param(record(action(type=0)), id="no action type"),
        pytest.param(record(action(type=99)), id="an unknown action type"),
        pytest.param(record(action(interests=range(1, 18))), id="too many interests"),
        pytest.param(record(action(), key=43), id="another user's key"),
        pytest.param(record(action(), time_ms=0), id="no time"),
        pytest.param(record(action(), time_ms=1 << 60), id="a time past uint32 seconds"),
        pytest.param(impressions(0), id="no pins"),
        pytest.param(hide(type_pb2.OBJECT_KIND_INTEREST), id="a hidden interest"),
        pytest.param(
            record(event_pb2.Event(put_board=event_pb2.PutBoard(board=1))), id="another topic's event"
        ),
    ],
)
def test_a_record_without_sense_is_poison(store: Store, one: record_pb2.Record) -> None:
    with pytest.raises(PoisonRecord):
        view_of(store).decode(one)


def test_a_batch_feeds_every_signal_it_should(store: Store) -> None:
    follow(store, view_of(store), saved(1), impressions(20))
    assert read(store) == {
        "recent_pins": {1: 1.0},
        "interest_weight": {5: 1.0, 6: 1.0},
        "board_weight": {7: 1.0},
        "owner_weight": {9: 1.0},
        "actions_1d": {1: 20.0, 4: 1.0},
        "actions_7d": {1: 20.0, 4: 1.0},
        "actions_30d": {1: 20.0, 4: 1.0},
    }


def test_each_user_is_written_once_per_batch(store: Store) -> None:
    view = view_of(store)
    batch = store.batch()
    changes = [view.decode(saved(pin, user=user)) for pin in range(1, 20) for user in (1, 2)]
    view.apply([change for change in changes if change is not None], batch)
    assert len(batch) == 2


def test_a_restarted_view_goes_on_from_the_store(store: Store) -> None:
    follow(store, view_of(store), saved(1))
    follow(store, view_of(store), saved(2))
    assert read(store)["owner_weight"] == {9: 2.0}


def test_users_beyond_the_cache_lose_nothing(store: Store) -> None:
    view = view_of(store, states_max=1)
    for _ in range(3):
        follow(store, view, *(saved(1, user=user) for user in (1, 2, 3)))
    assert [read(store, user)["board_weight"] for user in (1, 2, 3)] == [{7: 3.0}] * 3


@pytest.mark.parametrize(
    ("records", "left"),
    [
        pytest.param([saved(1), forget()], {}, id="saved, then forgotten"),
        pytest.param([saved(1), forget(), saved(2)], {2: 1.0}, id="and came back"),
        pytest.param([forget()], {}, id="never known"),
    ],
)
def test_forgetting_keeps_the_order_of_the_log(
    store: Store, records: list[record_pb2.Record], left: dict[int, float]
) -> None:
    view = view_of(store)
    follow(store, view, saved(9))
    follow(store, view, *records)
    assert read(store)["recent_pins"] == left
    assert len(list(store.scan(SIGNALS))) == bool(left)


def test_a_damaged_state_begins_anew_and_does_not_stop_the_follower(store: Store) -> None:
    batch = store.batch()
    SignalStore(store, OWNED).put(batch, USER, b"not a state")
    store.write(batch)
    follow(store, view_of(store), saved(1))
    assert read(store)["recent_pins"] == {1: 1.0}


def test_an_uncommitted_batch_is_not_read(store: Store) -> None:
    view: RealPinView = view_of(store)
    decode_one: Callable[[record_pb2.Record], object] = view.decode
    view.apply([decode_one(saved(1))], store.batch())  # type: ignore[list-item]
    assert read(store)["recent_pins"] == {}
