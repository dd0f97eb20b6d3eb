"""Which record makes which rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.aperture.ingest import Forgotten, Seen
from services.aperture.rows import ActionType, unpack_rows
from services.chassis.errors import PoisonRecord
from tests.aperture.whole import NOW_S, Aperture, acted, as_tuples, forget, record, shown


@pytest.fixture(scope="module")
def aperture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aperture]:
    folder: Path = tmp_path_factory.mktemp("aperture")
    opened = Aperture(folder / "db")
    yield opened
    opened.store.close()


def event(**body: object) -> record_pb2.Record:
    return record(event_pb2.Event(**body), user=1, time_s=NOW_S)  # type: ignore[arg-type]


def hide(kind: int, *, undo: bool = False) -> record_pb2.Record:
    return event(hide=event_pb2.Hide(user=1, kind=kind, id=7, undo=undo))  # type: ignore[arg-type]


SAVE = event(save_pin=event_pb2.SavePin(pin=7, board=8, user=1))


@pytest.mark.parametrize(
    ("one", "made"),
    [
        pytest.param(
            shown(1, [7, 8], type=6), [(NOW_S, 7, 6), (NOW_S, 8, 6)], id="a row for each served pin"
        ),
        pytest.param(acted(1, 7, type=2), [(NOW_S, 7, 2)], id="an action"),
        pytest.param(SAVE, [(NOW_S, 7, ActionType.SAVE)], id="a save"),
        pytest.param(hide(type_pb2.OBJECT_KIND_PIN), [(NOW_S, 7, ActionType.HIDE)], id="a hidden pin"),
    ],
)
def test_a_record_becomes_rows(
    aperture: Aperture, one: record_pb2.Record, made: list[tuple[int, int, int]]
) -> None:
    change = aperture.view.decode(one)
    assert isinstance(change, Seen)
    assert (change.user, change.time_s) == (1, NOW_S)
    assert as_tuples(unpack_rows(change.data)) == made


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(event(remove_pin=event_pb2.RemovePin(pin=7, board=8, user=1)), id="a removed pin"),
        pytest.param(hide(type_pb2.OBJECT_KIND_PIN, undo=True), id="a hide taken back"),
        pytest.param(hide(type_pb2.OBJECT_KIND_BOARD), id="a hidden board"),
    ],
)
def test_a_record_that_adds_nothing_seen_makes_no_row(aperture: Aperture, one: record_pb2.Record) -> None:
    assert aperture.view.decode(one) is None


def test_a_forgotten_user_is_a_change(aperture: Aperture) -> None:
    assert aperture.view.decode(forget(1)) == Forgotten(1)


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(event(), id="no body"),
        pytest.param(record_pb2.Record(key=1, time_ms=1_000, counts=record_pb2.Counts()), id="counts"),
        pytest.param(acted(1, 0), id="no pin"),
        pytest.param(acted(0, 1), id="no user"),
        pytest.param(acted(1, 1, type=0), id="no action type"),
        pytest.param(acted(1, 1, type=300), id="an action type past uint8"),
        pytest.param(shown(1, [1], type=4), id="impressions of saves"),
        pytest.param(shown(1, []), id="no pins"),
        pytest.param(shown(1, range(1, 1_002)), id="too many pins"),
        pytest.param(shown(1, [1, 0]), id="a pin of 0"),
        pytest.param(acted(1, 1, time_s=0), id="no time"),
        pytest.param(acted(1, 1, time_s=1 << 32), id="a time past uint32"),
        pytest.param(event(put_board=event_pb2.PutBoard(board=1)), id="another topic's event"),
        pytest.param(
            record(event_pb2.Event(forget_user=event_pb2.ForgetUser(user=2)), user=1, time_s=NOW_S),
            id="another user's key",
        ),
    ],
)
def test_a_record_without_sense_is_poison(aperture: Aperture, one: record_pb2.Record) -> None:
    with pytest.raises(PoisonRecord):
        aperture.view.decode(one)
