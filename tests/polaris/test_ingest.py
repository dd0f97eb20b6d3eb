"""Claims about what the log leaves in memory and in the store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmesh.log.v1 import event_pb2, record_pb2
from services.chassis.columns.packed import unpack_f32, unpack_u32
from services.chassis.errors import CorruptValue, PoisonRecord
from services.polaris.config import PolarisConfig
from services.polaris.store import PINS
from tests.polaris.world import DAY_MS, NOW_MS, Polaris, delete_board, put_board, record, remove, save


def test_pins_lie_by_light_score(polaris: Polaris) -> None:
    polaris.follow(
        save(1, 10, quality=0.5, time_ms=NOW_MS - 15 * DAY_MS),
        save(1, 11, quality=0.2),
        save(1, 12, quality=0.9, time_ms=NOW_MS - 14 * DAY_MS),
    )
    assert polaris.pins(1) == [12, 10, 11]


def test_a_save_without_quality_has_the_default(polaris: Polaris) -> None:
    polaris.follow(save(1, 10, quality=0.0))
    assert unpack_f32(polaris.list_pins(1).qualities_f32).tolist() == pytest.approx([0.5])


def test_the_latest_save_of_a_pin_counts_in_any_order(polaris: Polaris) -> None:
    early, late = save(1, 10, quality=0.9, time_ms=NOW_MS - DAY_MS), save(1, 10, quality=0.3)
    for board_records in ([early, late], [late, early]):
        polaris.follow(*board_records)
        listed = polaris.list_pins(1)
        assert unpack_u32(listed.saved_at_u32).tolist() == [NOW_MS // 1000]
        assert unpack_f32(listed.qualities_f32).tolist() == pytest.approx([0.3])
        polaris.follow(remove(1, 10))
        assert polaris.pins(1) == []


def test_removed_pins_and_deleted_boards_are_gone_after_a_restart_too(polaris: Polaris) -> None:
    polaris.follow(put_board(1, owner=5), save(1, 10), save(1, 11), save(2, 20), save(2, 1 << 63))
    polaris.follow(remove(1, 10), delete_board(2))
    for _ in range(2):
        assert polaris.pins(1) == [11]
        assert polaris.pins(2) == []
        assert polaris.list_pins(1).owner == 5
        polaris.restart()


def test_a_deleted_board_that_is_saved_to_begins_anew(polaris: Polaris) -> None:
    polaris.follow(put_board(1, owner=5), save(1, 10), delete_board(1), save(1, 11))
    for _ in range(2):
        assert polaris.pins(1) == [11]
        assert polaris.list_pins(1).owner == 0
        polaris.restart()


def test_what_falls_off_a_full_board_leaves_the_store(tmp_path: Path) -> None:
    polaris = Polaris(tmp_path, config=PolarisConfig(pins_per_board_max=2))
    polaris.follow(*(save(1, pin, quality=pin / 10) for pin in range(1, 6)), save(1, 9, quality=0.01))
    assert polaris.pins(1) == [5, 4]
    assert polaris.metric("pins_lost_total", limit="list") == 4
    polaris.restart(config=PolarisConfig())
    assert polaris.pins(1) == [5, 4]
    polaris.close()


def test_the_process_limit_takes_pins_of_the_longest_boards(tmp_path: Path) -> None:
    polaris = Polaris(tmp_path, config=PolarisConfig(pins_max=10, shrink_pins=1))
    polaris.follow(*(save(1, pin, quality=pin / 100) for pin in range(1, 12)), save(2, 50))
    assert polaris.pins(1) == [11, 10, 9, 8, 7, 6, 5, 4]
    assert polaris.pins(2) == [50]
    assert polaris.metric("pins_lost_total", limit="process") == 3
    assert len(list(polaris.database.scan(PINS))) == polaris.arena.pin_count == 9
    polaris.close()


def test_half_life_and_epoch_may_change_at_a_restart(polaris: Polaris) -> None:
    polaris.follow(save(1, 10, quality=0.9, time_ms=NOW_MS - 10 * DAY_MS), save(1, 11, quality=0.5))
    assert polaris.pins(1) == [10, 11]
    polaris.restart(config=PolarisConfig(half_life_s=86_400.0, epoch_s=0))
    assert polaris.pins(1) == [11, 10]


saves = st.builds(
    save,
    st.integers(1, 4),
    st.integers(1, 12),
    quality=st.sampled_from([0.1, 0.5, 1.0]),
    time_ms=st.integers(0, 5).map(lambda day: NOW_MS - day * DAY_MS),
)
any_record = st.one_of(
    saves, saves, saves,
    st.builds(remove, st.integers(1, 4), st.integers(1, 12)),
    st.builds(put_board, st.integers(1, 4), owner=st.integers(1, 3)),
    st.builds(delete_board, st.integers(1, 4)),
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(batches=st.lists(st.lists(any_record, max_size=30), max_size=4))
def test_a_restart_gives_the_same_boards(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[record_pb2.Record]]
) -> None:
    config = PolarisConfig(pins_per_board_max=5, pins_max=14, shrink_pins=1, slice_records=3)
    polaris = Polaris(tmp_path_factory.mktemp("polaris"), config=config)
    for batch in batches:
        polaris.follow(*batch)
    before = [polaris.list_pins(board) for board in range(1, 5)]
    known = polaris.arena.board_count
    polaris.restart()
    after = [polaris.list_pins(board) for board in range(1, 5)]
    # Pins of equal keys may lie in another order.
    assert [
        sorted(each.pins_u64[at : at + 8] for at in range(0, len(each.pins_u64), 8)) for each in before
    ] == [sorted(each.pins_u64[at : at + 8] for at in range(0, len(each.pins_u64), 8)) for each in after]
    assert [each.owner for each in before] == [each.owner for each in after]
    assert known == polaris.arena.board_count
    polaris.close()


def bad(event: event_pb2.Event, **changes: int) -> record_pb2.Record:
    made = record(event, key=1)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


SAVE = event_pb2.SavePin(pin=3, board=1, user=7)


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param(bad(event_pb2.Event(save_pin=SAVE), role=record_pb2.ROLE_SOURCE), id="another role"),
        pytest.param(bad(event_pb2.Event(save_pin=SAVE), key=2), id="under another board's key"),
        pytest.param(bad(event_pb2.Event(save_pin=SAVE), time_ms=0), id="no time"),
        pytest.param(bad(event_pb2.Event(save_pin=SAVE), time_ms=1 << 45), id="time past uint32"),
        pytest.param(save(1, 0), id="pin 0"),
        pytest.param(remove(1, 0), id="removal of pin 0"),
        pytest.param(save(0, 3), id="board 0"),
        pytest.param(save(1, 3, quality=1.5), id="quality over 1"),
        pytest.param(save(1, 3, quality=-0.5), id="negative quality"),
        pytest.param(save(1, 3, quality=float("nan")), id="quality that is no number"),
        pytest.param(put_board(1, owner=0), id="board without owner"),
    ],
)
def test_nonsense_is_poison(polaris: Polaris, poison: record_pb2.Record) -> None:
    with pytest.raises(PoisonRecord):
        polaris.view.decode(poison)


def test_events_of_others_are_passed_over(polaris: Polaris) -> None:
    event = event_pb2.Event(forget_user=event_pb2.ForgetUser(user=1))
    assert polaris.view.decode(record(event, key=1)) is None
    assert polaris.view.decode(record_pb2.Record(key=1, counts=record_pb2.Counts(entities=[1]))) is None


def test_a_value_of_a_wrong_length_is_corrupt(polaris: Polaris) -> None:
    batch = polaris.database.batch()
    batch.put(PINS, b"\0" * 18, b"short")
    polaris.database.write(batch)
    with pytest.raises(CorruptValue):
        polaris.restart()


def test_a_batch_that_could_outgrow_the_store_is_a_fault_of_the_config() -> None:
    config = PolarisConfig()
    follower = dataclasses.replace(config.follower, batch_records_max=9_000)
    with pytest.raises(ValueError, match="batch_records_max"):
        PolarisConfig(follower=follower)
